"""Names of what lies elsewhere, as people give them: ``s3://bucket/key``, ``postgresql://...``.

An address never holds a secret: it stands in task files, manifests, messages and shells' histories.
Keys and passwords come from where the libraries of each place look for them.
"""

import os
import re
from pathlib import Path
from urllib.parse import parse_qsl

OBJECTS = ("s3", "gs")
"""Schemes of object stores that are read and written here."""
_DATABASES = ("postgresql", "postgres", "sqlite")
_ADDRESS = re.compile(
    r"(?P<scheme>sqlite(?=:)|[a-z][a-z0-9+.-]+(?=:/)):(?P<slashes>/*)(?P<rest>.*)",
    re.DOTALL | re.IGNORECASE,
)
"""Of any scheme: what is not known is refused, and not taken for a local path."""
_HOSTS = ("s3", "gs", "http", "https", "hf")
"""Schemes whose user and password end at the first slash."""
_SECRET = re.compile(
    r"(x-(amz|goog)-(signature|credential|security-token)|sig|signature|awsaccesskeyid"
    r"|googleaccessid|(ssl)?password|passwd|pwd|access_key(_id)?|secret(_(access_)?key)?|token"
    r"|session_token|sas|api_?key|access_token)",
    re.IGNORECASE,
)
POSTGRES_OPTIONS = (
    "application_name",
    "connect_timeout",
    "host",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
    "user",
)
"""Of a connection to Postgres, in its address; all others come from the environment."""


def address(name: str | Path) -> str | None:
    """The address that a name is; None for the path of a local file.

    ``s3:/bucket/key``, which a `Path` makes of ``s3://bucket/key``, is the same one. Schemes are
    of any name with two letters or more, and in any case: ``S3://bucket/key`` is the same too.
    """
    parts = _ADDRESS.fullmatch(os.fspath(name))
    if parts is None:
        return None
    scheme, slashes, rest = parts["scheme"].lower(), parts["slashes"], parts["rest"]
    if scheme == "sqlite":  # with slashes an absolute path, without a relative one
        return f"sqlite:///{rest}" if slashes else f"sqlite:{rest}"
    return f"{'postgresql' if scheme == 'postgres' else scheme}://{rest}"


def shown(name: str | Path) -> str:
    """A name as people write it: an address with both of its slashes, a path as it is."""
    return address(name) or str(name)


def scheme_of(name: str | Path) -> str | None:
    """``s3``, ``gs``, ``postgresql``, ``sqlite`` or another; None for a local path."""
    whole = address(name)
    return None if whole is None else whole.partition(":")[0]


def is_object(name: str | Path) -> bool:
    """Whether it names objects of a store that is read and written here."""
    return scheme_of(name) in OBJECTS


def is_database(name: str | Path) -> bool:
    """Whether it names a table of a database."""
    return scheme_of(name) in _DATABASES


def secret_in(name: str | Path) -> str | None:
    """What is wrong with an address that holds a key or a password, in words that do not tell it.

    None where nothing is.
    """
    whole = address(name)
    if whole is None or whole.startswith("sqlite:"):
        return None
    scheme, _, rest = whole.partition("://")
    bare, _, query = rest.partition("#")[0].partition("?")
    user = bare.partition("/")[0] if scheme in _HOSTS else bare
    before, at, _ = user.rpartition("@")
    if at and ":" in before:
        return f"a {scheme}:// address with a password or key in it; {_instead(scheme)}"
    given = parse_qsl(query, keep_blank_values=True)
    if any(_SECRET.fullmatch(key) for key, _ in given):
        return f"a {scheme}:// address that is signed, or holds a key; {_instead(scheme)}"
    if scheme == "postgresql" and any(key not in POSTGRES_OPTIONS for key, _ in given):
        return (
            "a postgresql:// address with an option that is not taken; known: "
            f"{', '.join(POSTGRES_OPTIONS)}; others come from the environment (PGPASSWORD, ...)"
        )
    return None


def _instead(scheme: str) -> str:
    if scheme == "postgresql":
        return "take it out, and set PGPASSWORD or write it into ~/.pgpass"
    if scheme.startswith("postgres"):
        return "take it out, write postgresql://, and set PGPASSWORD or write it into ~/.pgpass"
    if scheme == "s3":
        return "take it out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
    if scheme == "gs":
        return "take it out, and set GOOGLE_APPLICATION_CREDENTIALS"
    return "name the object itself (s3://..., gs://...), or download it and give its local path"
