"""What a labeller reads of a request: the words of its prompt, or else its fields."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.prompt.encode import Encoder
from promptrank.prompt.preview import Piece
from promptrank.records import Request

_FIELDS, _LONGEST = 16, 600
"""Fields of a record, and characters of one."""


@dataclass(frozen=True, slots=True)
class RequestTexts:
    """The texts of one request.

    Attributes:
        subject: whom or what candidates are for.
        events: of the history, oldest first.
        candidates: by id; those that cannot be shown are not there.
    """

    subject: str
    events: tuple[str, ...]
    candidates: Mapping[str, str]

    def shown(self, ids: Sequence[str]) -> str:
        """Digest of what somebody saw who judged these candidates."""
        return json_digest([self.subject, self.events, [self.candidates[c] for c in ids]])[:16]


def texts_of(request: Request, encoder: Encoder | None) -> RequestTexts:
    """A request as its prompt words it, within the task's budget: what the model reads, no more."""
    made = _of_prompt(request, encoder) if encoder is not None else None
    return made if made is not None else _of_fields(request)


def _of_prompt(request: Request, encoder: Encoder) -> RequestTexts | None:
    preview = encoder.preview(request)
    if not preview.candidates:
        return None
    events = [_joined(event) for event in preview.events]
    return RequestTexts(
        _joined(piece for piece in preview.prefix if piece.kind == "subject"),
        tuple(event for event in events if event),
        {each.candidate_id: _joined(each.pieces) for each in preview.candidates},
    )


def _joined(pieces: Iterator[Piece] | Sequence[Piece]) -> str:
    return "".join(piece.text for piece in pieces).strip()


def _of_fields(request: Request) -> RequestTexts:
    subject = request.subject
    whom = [subject.member, subject.query, subject.source.fields if subject.source else None]
    events = [
        "\n".join([*([event.action] if event.action else []), *_lines(event.item.fields)])
        for event in request.history
    ]
    return RequestTexts(
        "\n".join(line for fields in whom if fields for line in _lines(fields)),
        tuple(events),
        {
            c.candidate_id: "\n".join(_lines(c.item.fields)) or c.item.item_id
            for c in request.candidates
        },
    )


def _lines(fields: Mapping[str, Any]) -> Iterator[str]:
    given = [(name, str(value)) for name, value in fields.items() if value not in (None, "")]
    for name, value in given[:_FIELDS]:
        yield f"{name}: {value if len(value) <= _LONGEST else value[: _LONGEST - 1] + '…'}"
