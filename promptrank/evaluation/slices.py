"""Slices: the same comparison on parts of the candidates, whose rows sum to the whole.

Some go by counts with fixed bounds (`BY_COUNT`), some by what training knew (`BY_SEEN`), some by a
field that the requests bring or an expression over fields (`promptrank.evaluation.field_slices`),
one by where labels come from, and some by the prompts of the ranker that is measured
(`promptrank.evaluation.prompt_slices`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.evaluation.field_slices import field_codes, is_field, is_plain
from promptrank.evaluation.seen import SeenInTraining
from promptrank.prompt.field_expression import NAMESPACES, FieldExpression
from promptrank.records import Candidate, Request

Count = Callable[[Request, Candidate], float | None]
Code = Callable[[Request, Candidate], int]
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Slicing:
    """One way to part candidates.

    Attributes:
        name: what users call it.
        labels: names of the slices, in their order.
        code: a candidate of a request -> its slice, an index into ``labels``.
    """

    name: str
    labels: tuple[str, ...]
    code: Code


@dataclass(frozen=True, slots=True)
class Counted:
    """Slices by a whole number.

    Attributes:
        starts: the first number of each slice, ascending; the last slice is open.
        count: the number of a candidate of a request; None where nobody knows it.
        absent: what to say where nobody knows it of any candidate.
    """

    starts: tuple[int, ...]
    count: Count
    absent: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the slices in their order: ``0``, ``1-2``, ``3-5``, ``6+``, ``unknown``."""
        spans = [f"{a}" if z == a + 1 else f"{a}-{z - 1}" for a, z in pairwise(self.starts)]
        return (*spans, f"{self.starts[-1]}+", "unknown")

    def code(self, request: Request, candidate: Candidate) -> int:
        """The candidate's slice, an index into ``labels``."""
        number = self.count(request, candidate)
        if number is None:
            return len(self.starts)
        return sum(number >= start for start in self.starts) - 1


def events_of_history(request: Request, candidate: Candidate) -> float:
    """Events that the request brings."""
    return len(request.history)


def events_of_item(request: Request, candidate: Candidate) -> float | None:
    """Events of the item before the request; None where the data knows no time."""
    if not candidate.baseline:
        return None
    return candidate.baseline.get("item_count") or 0.0


def logged_position(request: Request, candidate: Candidate) -> float | None:
    """Where the log's own list showed the candidate; 1 is the top."""
    return None if candidate.position is None else max(candidate.position, 1)


BY_COUNT: Mapping[str, Counted] = {
    "history": Counted((0, 1, 3, 6, 11, 101), events_of_history, "no request has a history"),
    "item_events": Counted(
        (0, 1, 3, 6, 20, 100),
        events_of_item,
        "no candidate has a count of events as of its request (judgements have no time)",
    ),
    "position": Counted((1, 2, 4, 11), logged_position, "no candidate has a logged position"),
}

_SEEN = ("seen in training", "new")
_DAYS = ("before the end", "0", "1-6", "7-27", "28+", "unknown")
BY_SEEN = ("subject_seen", "item_seen", "days_after_training")
BY_SOURCE = "label_source"
BY_PROMPT = ("prompt_tokens", "cut")
_NOT_SAID = "not said"


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of slicings, each once.

    Raises:
        InputError: there is no such slicing, and it is neither a field nor an expression.
    """
    names = tuple(dict.fromkeys(names))
    known = (*BY_COUNT, *BY_SEEN, BY_SOURCE, *BY_PROMPT)
    for name in names:
        if name in known or (is_field(name) and is_plain(name)):
            continue
        if is_plain(name):
            fields = ", ".join(f"{root}.NAME" for root in NAMESPACES)
            raise InputError(f"--slice {name}: {near(name, known)}; or a field: {fields}")
        if not is_field(name):  # a column may be called as no expression is written
            FieldExpression(name)
    return names


def fit_slicings(
    names: Sequence[str], requests: Iterable[Request], seen: SeenInTraining | None = None
) -> tuple[Slicing, ...]:
    """Slicings by name; bounds and values of fields are those of the requests that are measured.

    Those by prompts (`BY_PROMPT`) are none of these: they need scores.

    Args:
        requests: passed over once for counts, and twice for each field.
        seen: what training knew.

    Raises:
        InputError: the requests know nothing of it, such as a history or a field that none has.
    """
    names = check_names(names)
    _check_counts([name for name in names if name in BY_COUNT], requests)
    slicings = []
    for name in names:
        if name in BY_COUNT:
            counted = BY_COUNT[name]
            slicings.append(Slicing(name, counted.labels, counted.code))
        elif name in BY_SEEN:
            slicings.append(_by_seen(name, seen))
        elif name == BY_SOURCE:
            slicings.append(_by_source(requests))
        elif name not in BY_PROMPT:
            slicings.append(Slicing(name, *field_codes(name, requests)))
    return tuple(slicings)


def _by_seen(name: str, seen: SeenInTraining | None) -> Slicing:
    if seen is None or not seen.requests:
        raise InputError(f"--slice {name}: no request is of the part train; leave it out")
    if name == "subject_seen":
        return Slicing(name, _SEEN, lambda r, c: int(not seen.knows_subject(r.subject.subject_id)))
    if name == "item_seen":
        return Slicing(name, _SEEN, lambda r, c: int(not seen.knows_item(c.item.item_id)))
    last = seen.last
    if last is None:
        raise InputError(f"--slice {name}: training requests have no time; leave it out")

    def days(request: Request, candidate: Candidate) -> int:
        if request.time is None:
            return len(_DAYS) - 1
        passed = (request.time - last) / DAY
        return sum(passed >= start for start in (0, 1, 7, 28))

    return Slicing(name, _DAYS, days)


def _by_source(requests: Iterable[Request]) -> Slicing:
    """By where labels come from, the most frequent source first."""
    counts = Counter(c.label_source for r in requests for c in r.candidates)
    sources = sorted((s for s in counts if s is not None), key=lambda s: (-counts[s], s))
    if not sources:
        raise InputError(
            f"--slice {BY_SOURCE}: no candidate says where its label comes from; all labels of "
            "this task come from one place; leave it out"
        )
    places = {source: place for place, source in enumerate(sources)}
    return Slicing(
        BY_SOURCE,
        (*sources, _NOT_SAID),
        lambda r, c: len(places) if c.label_source is None else places[c.label_source],
    )


def _check_counts(names: Sequence[str], requests: Iterable[Request]) -> None:
    left = {name: BY_COUNT[name] for name in names}
    for request in requests if left else ():
        for name, counted in list(left.items()):
            # A history is known to be empty where others have one.
            known = (counted.count(request, candidate) for candidate in request.candidates)
            if request.history if name == "history" else any(n is not None for n in known):
                del left[name]
        if not left:
            return
    for name, counted in left.items():
        raise InputError(f"--slice {name}: {counted.absent}; leave it out")
