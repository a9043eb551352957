"""A prompt as the page shows it: groups of coloured fragments, the answer slots, and counts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from promptrank.prompt.encode import Encoder
from promptrank.prompt.preview import Piece, Preview
from promptrank.records import Candidate, Item, Request

TITLES = {
    "start": "start",
    "instruction": "instruction",
    "subject": "profile",
    "event": "history",
    "candidate": "candidate",
    "question": "question",
    "chat": "chat",
    "answer": "answer",
}
"""Kind of a fragment -> what people call it."""

_NAMES = ("title", "name", "text", "headline")


@dataclass(frozen=True, slots=True)
class FragmentGroup:
    """Fragments of one kind, one after the other."""

    kind: str
    title: str
    pieces: tuple[Piece, ...]

    @property
    def tokens(self) -> int:
        """Of all of them."""
        return sum(len(piece.ids) for piece in self.pieces)


@dataclass(frozen=True, slots=True)
class AnswerPath:
    """An answer's wording, and the tokens whose probabilities make its own."""

    answer: str
    wording: str
    text: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question behind the candidate, and its slot."""

    name: str
    groups: tuple[FragmentGroup, ...]
    paths: tuple[AnswerPath, ...]


@dataclass(frozen=True, slots=True)
class PromptView:
    """One candidate's prompt.

    Attributes:
        candidates: (id, title) of all that have a prompt.
        total: tokens with the longest question and answer, of ``limit``.
        cuts: what the budget left out, in words.
        events: that the prompt shows.
    """

    candidate_id: str
    candidates: tuple[tuple[str, str], ...]
    prefix: tuple[FragmentGroup, ...]
    own: tuple[FragmentGroup, ...]
    questions: tuple[AskedQuestion, ...]
    prefix_tokens: int
    own_tokens: int
    total: int
    limit: int
    events: int
    cuts: tuple[str, ...]


def view_of(encoder: Encoder, preview: Preview, candidate_id: str | None) -> PromptView | None:
    """The prompt of a candidate, the first one where there is none of that id.

    None where no candidate of the request has a prompt; ``preview.encoded.errors`` says why.
    """
    encoded = preview.encoded
    if encoded.tree is None or not preview.candidates:
        return None
    names = [candidate.candidate_id for candidate in preview.candidates]
    place = names.index(candidate_id) if candidate_id in names else 0
    chosen, branch = preview.candidates[place], encoded.tree.branches[place]
    questions = tuple(
        AskedQuestion(
            name,
            groups_of(pieces),
            tuple(
                AnswerPath(answer, wording, encoder.path_text(slot, path), tuple(path))
                for (answer, wording), path in zip(paths, slot.paths, strict=True)
            ),
        )
        for name, pieces, paths, slot in zip(
            encoded.questions, chosen.questions, encoded.paths, branch.slots, strict=True
        )
    )
    longest = max(len(slot.ids) + max(map(len, slot.paths)) for slot in branch.slots)
    prefix = len(encoded.tree.prefix)
    titles = titles_of(encoded.request)
    return PromptView(
        chosen.candidate_id,
        tuple((name, titles[name]) for name in names),
        groups_of(preview.prefix),
        groups_of(chosen.pieces),
        questions,
        prefix,
        len(branch.ids),
        prefix + len(branch.ids) + longest,
        encoder.limit,
        encoded.cuts.events_kept,
        tuple(_cuts(preview)),
    )


def groups_of(pieces: Sequence[Piece]) -> tuple[FragmentGroup, ...]:
    """Neighbours of one kind, together."""
    return tuple(
        FragmentGroup(kind, TITLES[kind], tuple(together))
        for kind, together in groupby(pieces, key=lambda piece: piece.kind)
    )


def titles_of(request: Request) -> dict[str, str]:
    """What to call each candidate."""
    return {each.candidate_id: _title(each) for each in request.candidates}


def _title(candidate: Candidate) -> str:
    return title_of(candidate.item) or candidate.candidate_id


def title_of(item: Item) -> str:
    """An item's title: the field that is most likely one, shortened."""
    fields = item.fields
    names = [*_NAMES, *fields]
    texts = (fields.get(name) for name in names)
    text = next((t for t in texts if isinstance(t, str) and t.strip()), "")
    text = " ".join(text.split())
    return text if len(text) <= 90 else f"{text[:89]}…"


def _cuts(preview: Preview) -> Iterable[str]:
    cuts = preview.encoded.cuts
    if cuts.events_dropped:
        yield f"{cuts.events_dropped} of {cuts.events_given} events do not fit the budget"
    if cuts.events_failed:
        yield f"{cuts.events_failed} events could not be shown"
    if cuts.events_unlabelled:
        yield f"{cuts.events_unlabelled} events do not answer the question of the turns"
    for field in cuts.fields:
        yield f"{field} is shortened"
    for field, events in cuts.event_fields.items():
        yield f"{field} is shortened in {events} events"
    fields = sorted({field for names in cuts.candidates.values() for field in names})
    for field in fields:
        count = sum(field in names for names in cuts.candidates.values())
        yield f"{field} is shortened in {count} candidates"
