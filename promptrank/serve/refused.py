"""Why a request over HTTP has no answer: one error, which each shape words in its own way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from promptrank.errors import ErrorRow


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client is told.

    Attributes:
        status: of HTTP.
        reason: a stable snake_case word.
        message: what, where, what next.
        rows: the candidates' own errors, where nothing could be ranked.
        headers: such as ``Retry-After``.
    """

    status: int
    reason: str
    message: str
    rows: Sequence[ErrorRow] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """Ends a request with a refusal."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.message)


def refuse(
    status: int, reason: str, message: str, headers: Mapping[str, str] | None = None
) -> Refused:
    """The error of a refusal, to be raised."""
    return Refused(Refusal(status, reason, message, headers=headers or {}))
