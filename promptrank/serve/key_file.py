"""Keys that clients show: a file with one a line, compared in constant time."""

import hmac
from hashlib import sha256
from pathlib import Path

from promptrank.errors import InputError

SHORTEST = 16
"""Characters of a key; shorter ones can be guessed."""


class Keys:
    """The keys of a server; only their digests are kept."""

    def __init__(self, keys: list[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def __len__(self) -> int:
        return len(self._digests)

    def fit(self, authorization: str | None) -> bool:
        """Whether a header ``Authorization`` bears one of them; all are compared, always."""
        scheme, _, key = (authorization or "").partition(" ")
        shown = _digest(key.strip())
        same = [hmac.compare_digest(shown, digest) for digest in self._digests]
        return scheme.lower() == "bearer" and any(same)


def read_keys(path: Path) -> Keys:
    """The keys in a file: one a line; empty lines and those that begin with ``#`` do not count.

    Raises:
        InputError: the file cannot be read, has no key, or has one that is too short or no ASCII.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: the key file cannot be read ({error})") from None
    keys = []
    for number, line in enumerate(lines, 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if len(key) < SHORTEST or not key.isascii() or " " in key:
            raise InputError(
                f"{path}: line {number}: a key has at least {SHORTEST} characters of ASCII and no "
                "spaces; `python -c 'import secrets; print(secrets.token_urlsafe())'` makes one"
            )
        keys.append(key)
    if not keys:
        raise InputError(f"{path}: no key in it; write one a line")
    return Keys(keys)


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()
