"""Browsers that have shown a key: each holds a random token in a cookie, never the key itself."""

import secrets
import time
from collections.abc import Callable
from hashlib import sha256

from promptrank.serve.key_file import Keys

COOKIE = "promptrank_session"
SECONDS = 12 * 3600
"""How long a session lasts."""
_MOST = 1000


class Sessions:
    """Sessions of one server; they end with its process."""

    def __init__(self, keys: Keys, now: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._now = keys, now
        self._ends: dict[bytes, float] = {}  # digest of the token -> when it ends

    def begin(self, key: str) -> str | None:
        """A token for whoever shows a key of the server; None for another key.

        Keys are compared in constant time.
        """
        if not self._keys.fit(f"Bearer {key.strip()}"):
            return None
        token = secrets.token_urlsafe(32)
        self._ends = {each: end for each, end in self._ends.items() if end > self._now()}
        while len(self._ends) >= _MOST:
            del self._ends[next(iter(self._ends))]  # the oldest
        self._ends[_digest(token)] = self._now() + SECONDS
        return token

    def holds(self, token: str | None) -> bool:
        """Whether a token is one of ours and has not ended.

        What is looked up is a digest: how long that takes tells nothing about the token.
        """
        return self._ends.get(_digest(token or ""), 0.0) > self._now()

    def end(self, token: str | None) -> None:
        """Forget a token."""
        self._ends.pop(_digest(token or ""), None)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
