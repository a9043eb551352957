"""What a server takes in at most; beyond it, a request is refused and nothing else suffers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of one server.

    Attributes:
        body: bytes of one body.
        bodies: bytes of all bodies that are held at one time.
        body_seconds: from a request's first byte to the last one of its body.
        candidates: of one request; also pairs of one call.
        events: of one history.
        text: characters of one text.
        at_once: requests that are ranked at one time; what they ask shares forward passes.
        large: bytes of a body from which a request is large; large ones take half of ``at_once``.
        large_rows: candidates and events from which it is so too, as a request may bring ids alone.
        queue: requests that wait for their turn.
        seconds: the longest that a request may take, and its deadline where it names none.
    """

    body: int = 8 << 20
    bodies: int = 64 << 20
    body_seconds: float = 30.0
    candidates: int = 1000
    events: int = 2000
    text: int = 100_000
    at_once: int = 8
    large: int = 32 << 10
    large_rows: int = 300  # about what 32 KiB hold where each brings a few short fields
    queue: int = 64
    seconds: float = 60.0

    def is_large(self, size: int, rows: int) -> bool:
        """Whether a request is large.

        Args:
            size: bytes of its body.
            rows: its candidates and events, those that were looked up too.
        """
        return size >= self.large or rows >= self.large_rows
