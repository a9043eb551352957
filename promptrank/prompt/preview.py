"""A prompt as a person reads it: the pieces it is made of, with the very ids that are sent."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from promptrank.prompt.blocks import Parts
from promptrank.prompt.encoded import Assembled, Encoded
from promptrank.prompt.rendering import Rendering
from promptrank.prompt.tokenizer import Ids


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment of a prompt.

    Attributes:
        kind: ``start`` (BOS or the chat wrapper's head), ``instruction``, ``subject``, ``event``,
            ``candidate``, ``question``, ``chat`` (the header before the answer), or ``answer``
            (tokens that all answers begin with).
        text: what the ids decode to.
    """

    kind: str
    text: str
    ids: Ids


@dataclass(frozen=True, slots=True)
class CandidatePreview:
    """One candidate's own pieces, and per question the pieces up to where its answers begin."""

    candidate_id: str
    pieces: tuple[Piece, ...]
    questions: tuple[tuple[Piece, ...], ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """A request: ``prefix`` + a candidate's ``pieces`` + one of its ``questions`` is a prompt.

    ``encoded`` holds the same ids as a tree, the errors and the cuts.

    Attributes:
        events: those of the prefix's pieces that are of the history, event by event; a turn has a
            piece for the item, one for the question and one for the answer.
    """

    encoded: Encoded
    prefix: tuple[Piece, ...]
    candidates: tuple[CandidatePreview, ...]
    events: tuple[tuple[Piece, ...], ...] = ()


def preview_of(rendering: Rendering, made: Assembled, encoded: Encoded) -> Preview:
    """The pieces of an assembled request."""
    start = rendering.start
    prefix = [Piece("start", start.text, start.ids)] if start.ids else []
    prefix += _pieces("instruction", made.instruction) + _pieces("subject", made.subject)
    events = tuple(tuple(_pieces("event", event)) for event in made.events)
    prefix += [piece for event in events for piece in event]
    candidates = []
    for candidate_id, parts, asked, slots in made.candidates:
        shown = []
        for question, slot in zip(asked, slots, strict=True):
            pieces = _pieces("question", question)
            if rendering.chat is not None:
                pieces.append(Piece("chat", *rendering.chat.to_assistant))
            answer_lead = slot.ids[sum(len(p.ids) for p in pieces) :]
            if answer_lead:
                text = rendering.last_text(slot.ids, len(answer_lead))
                pieces.append(Piece("answer", text, tuple(answer_lead)))
            shown.append(tuple(pieces))
        candidates.append(
            CandidatePreview(candidate_id, tuple(_pieces("candidate", parts)), tuple(shown))
        )
    return Preview(encoded, tuple(prefix), tuple(candidates), events)


def _pieces(kind: str, parts: Parts) -> list[Piece]:
    return [Piece(kind, p.text, p.ids) for p in parts]


def seams_of(preview: Preview, encode: Callable[[str], Ids]) -> list[str]:
    """See `Encoder.seams`."""
    seams: dict[str, None] = {}
    for candidate in preview.candidates:
        for question in candidate.questions:
            pieces = (*preview.prefix, *candidate.pieces, *question)
            for left, right in pairwise(pieces):
                # The wrapper's own pieces, inside turns too, are no plain text.
                plain = encode(left.text) == left.ids and encode(right.text) == right.ids
                if plain and encode(left.text + right.text) != (*left.ids, *right.ids):
                    seams[f"{left.text[-12:]!r} before {right.text[:12]!r}"] = None
    return list(seams)
