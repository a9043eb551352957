"""Slices: the same comparison on a part of the candidates, by how much was known of them.

``history``
    how many events of the member the request brings, before its time (as many as the task's history
    keeps): those with few are where a text has to help.
``item_events``
    how many events the candidate's item had before the request, as of then: 0 is a new item.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.records import Candidate, Request

Count = Callable[[Request, Candidate], float | None]


@dataclass(frozen=True, slots=True)
class Slicing:
    """One way to part candidates, by a number.

    Attributes:
        name: what users call it.
        starts: the first number of each slice, ascending; the last slice is open.
        count: the number of a candidate of a request; None where nobody knows it.
        absent: what to say where nobody knows it of any candidate.
    """

    name: str
    starts: tuple[int, ...]
    count: Count
    absent: str

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the slices in their order: ``0``, ``1-2``, ``3-5``, ``6+``, ``unknown``."""
        ends = [*(start - 1 for start in self.starts[1:]), None]
        spans = zip(self.starts, ends, strict=True)
        names = (f"{a}+" if z is None else f"{a}" if a == z else f"{a}-{z}" for a, z in spans)
        return (*names, "unknown")

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


SLICINGS: Mapping[str, Slicing] = {
    slicing.name: slicing
    for slicing in (
        Slicing("history", (0, 1, 3, 6), events_of_history, "no request has a history"),
        Slicing(
            "item_events",
            (0, 1, 3, 6, 20, 100),
            events_of_item,
            "no candidate has a count of events as of its request (judgements have no time)",
        ),
    )
}


def slicings_of(names: Iterable[str]) -> tuple[Slicing, ...]:
    """Slicings by name, each once.

    Raises:
        InputError: there is no such slicing.
    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        if name not in SLICINGS:
            raise InputError(f"--slice {name}: {near(name, SLICINGS)}")
    return tuple(SLICINGS[name] for name in names)


def check_slicings(slicings: Sequence[Slicing], requests: Iterable[Request]) -> None:
    """Refuse a slicing of which these requests know nothing.

    Raises:
        InputError: no request has a history, or no candidate a count.
    """
    left = {slicing.name: slicing for slicing in slicings}
    for request in requests:
        for slicing in list(left.values()):
            # A history is known to be empty where others have one.
            known = (slicing.count(request, candidate) for candidate in request.candidates)
            if request.history if slicing.name == "history" else any(n is not None for n in known):
                del left[slicing.name]
        if not left:
            return
    for slicing in left.values():
        raise InputError(f"--slice {slicing.name}: {slicing.absent}; leave it out")
