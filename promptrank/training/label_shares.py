"""Which requests train, so that every label trains once and no held-out label is seen.

Under turns a request trains its candidates and the events of its history. In most data those
events are the candidates of earlier requests: such a request is left out, or its labels would be
trained twice at twice the cost. Seen from a member's last request backwards, requests are taken
whose candidates are not yet turns of one that was taken.

A label that a person has corrected trains as a candidate only: the turn shows what was logged.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from promptrank.records import Candidate, Event, Request
from promptrank.requests.corrections import corrected_items, overridden
from promptrank.schema.task import Task

Label = tuple[str | None, str, float | None]
"""A labelled event: the request it was a candidate of (where known), its item, else its time."""

_NOTHING: frozenset[Any] = frozenset()
"""Most shares leave nothing out, and an empty set of their own would be most of their memory."""


@dataclass(frozen=True, slots=True)
class Choosable:
    """What selection needs to know of a request.

    Attributes:
        labelled: items of its candidates that have a label.
        turns: item and time of its events that answer the question asked of history.
        corrected: items of its candidates whose answer to that question a person has overridden.
    """

    request_id: str
    subject_id: str
    time: float | None
    labelled: tuple[str, ...]
    turns: tuple[tuple[str, float | None], ...]
    corrected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Share:
    """What a selected request trains: all its labels but these.

    Attributes:
        items: of candidates that train elsewhere.
        turns: item and time of events that train elsewhere.
    """

    labels: int
    items: frozenset[str] = frozenset()
    turns: frozenset[tuple[str, float | None]] = frozenset()


@dataclass(slots=True)
class HeldOut:
    """Labels of requests that do not train: subject and item, with the earliest request's time."""

    since: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, request: Request) -> None:
        """Take in a request of another part than ``train``."""
        subject = request.subject.subject_id
        time = float("-inf") if request.time is None else request.time
        corrected = overridden(request)
        for candidate in request.candidates:
            # One that a person dropped is in the log all the same.
            if candidate.outcomes or candidate.candidate_id in corrected:
                key = (subject, candidate.item.item_id)
                self.since[key] = min(self.since.get(key, time), time)

    def without(self, request: Request) -> Request:
        """The request with no event that is, or may be, a held-out label."""
        subject = request.subject.subject_id
        kept = tuple(e for e in request.history if not self._holds(subject, e))
        return request if len(kept) == len(request.history) else replace(request, history=kept)

    def _holds(self, subject: str, event: Event) -> bool:
        since = self.since.get((subject, event.item.item_id))
        return since is not None and (event.time is None or event.time >= since)


def entry_of(request: Request, task: Task, turns: bool) -> Choosable:
    """The entry of a request; ``turns``: whether its events train too."""
    history = task.history
    asked = next(iter(task.questions)) if history is None else history.question
    asked = asked or next(iter(task.questions))
    events = [e for e in request.history if asked in e.outcomes] if turns else []
    return Choosable(
        request.request_id,
        request.subject.subject_id,
        request.time,
        tuple(c.item.item_id for c in request.candidates if labelled(c)),
        tuple((e.item.item_id, e.time) for e in events),
        corrected_items(request, asked) if turns else (),
    )


def labelled(candidate: Candidate) -> bool:
    """Whether it can train: it has an outcome, and weight."""
    return bool(candidate.outcomes) and candidate.weight != 0


def select(
    subjects: Iterable[Sequence[Choosable]], limit: int | None, seed: int = 0
) -> dict[str, Share]:
    """The requests that train, and what of each does.

    Args:
        subjects: all requests of the training part, those of one subject together.
        limit: about this many labels, of whole requests; all of them where None.
        seed: of the sample; the order is a hash of request ids, so a larger limit adds to it.

    Returns:
        Request id -> its share, in the order of the sample.
    """
    shares: dict[str, Share] = {}
    for mine in subjects:
        shares.update(_tile(mine))
    order = sorted(shares, key=lambda name: hashlib.md5(f"{seed}:{name}".encode()).digest())
    chosen: dict[str, Share] = {}
    labels = 0
    for name in order:
        if limit is not None and labels >= limit:
            break
        chosen[name] = shares[name]
        labels += shares[name].labels
    return chosen


def _tile(entries: Sequence[Choosable]) -> Iterator[tuple[str, Share]]:
    """One subject's requests, the last one first, each label once."""
    ordered = sorted(entries, key=lambda e: (e.time is not None, e.time or 0.0), reverse=True)
    starts = sorted((e.time, e.request_id) for e in entries if e.time is not None)
    times = [time for time, _ in starts]
    corrected = {(e.request_id, item, None) for e in entries for item in e.corrected}
    trained: set[Label] = set()
    for entry in ordered:
        fresh = [i for i in entry.labelled if (entry.request_id, i, None) not in trained]
        names = [_label(times, starts, item, time) for item, time in entry.turns]
        past = trained | corrected if corrected else trained
        turns = [t for t, name in zip(entry.turns, names, strict=True) if name not in past]
        few = 2 * len(fresh) < len(entry.labelled) and not set(fresh) & set(entry.corrected)
        if few or not (fresh or turns):
            continue
        trained |= {(entry.request_id, item, None) for item in fresh} | (set(names) - corrected)
        share = Share(
            len(fresh) + len(turns),
            frozenset(entry.labelled) - frozenset(fresh) or _NOTHING,
            frozenset(entry.turns) - frozenset(turns) or _NOTHING,
        )
        yield entry.request_id, share


def _label(
    times: list[float], starts: list[tuple[float, str]], item: str, time: float | None
) -> Label:
    """The label that an event is: of the latest request that had begun when it happened."""
    place = bisect_right(times, time) - 1 if time is not None else -1
    return (starts[place][1], item, None) if place >= 0 else (None, item, time)
