"""What object stores answer who has no keys, or not the right ones, and what to do about it."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pyarrow as pa

_NO_TOKEN = "Could not create a OAuth2 access token"
_REFUSED = {
    "s3": re.compile(
        r"ACCESS_?DENIED|INVALID_?ACCESS_?KEY_?ID|SIGNATURE_?DOES_?NOT_?MATCH|EXPIRED_?TOKEN"
        r"|INVALID_?TOKEN|(NO|PARTIAL)_?CREDENTIALS(ERROR)?",
        re.IGNORECASE,
    ),
    "gs": re.compile(rf"{_NO_TOKEN}|UNAUTHENTICATED|PERMISSION_DENIED"),
}
"""By scheme: what Arrow and boto3 say."""
_WHERE = {
    "s3": "in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in a profile (AWS_PROFILE), and with "
    "the machine's role",
    "gs": "in the file that GOOGLE_APPLICATION_CREDENTIALS names, where `gcloud auth "
    "application-default login` puts them, and with the machine's account",
}
_NAMES = re.compile(r"'[^']*'")  # of objects, which may be called anything
_WHY = re.compile(r"underlying error message was: (.+?)(?: error_info=|$)")
_PATIENCE = timedelta(seconds=5)  # Google's client takes it twice: for the token, and the request


def refusal(name: str, text: str) -> str | None:
    """What is wrong with the keys for an address, in words; None where it is something else.

    Args:
        text: what the library said.
    """
    scheme = name.partition("://")[0]
    sign = _REFUSED[scheme].search(_NAMES.sub("", text))
    if sign is None:
        return None
    if sign.group() == _NO_TOKEN:
        why = _WHY.search(text)
        told = f"no keys are found for it ({why.group(1)[:120]})" if why else "no keys are found"
    else:
        told = f"the store refuses it ({sign.group()}): no keys, or keys that may not do it"
    return f"{name}: {told}; keys are looked for {_WHERE[scheme]}"


def check_google_keys(bucket: str) -> None:
    """End soon where there are no keys.

    Without a file of keys, only the account of a machine of Google's is left. Such a machine
    answers at once; elsewhere Google's client would ask for it again and again, for minutes.

    Raises:
        OSError: nobody answers.
    """
    from pyarrow import fs

    if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") or _login().is_file():
        return
    try:
        fs.GcsFileSystem(retry_time_limit=_PATIENCE).get_file_info(bucket)
    except (OSError, pa.ArrowException) as error:  # with an account, what is wrong shows later
        if _NO_TOKEN in str(error):
            raise


def _login() -> Path:
    return Path.home() / ".config/gcloud/application_default_credentials.json"
