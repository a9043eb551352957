"""How many of the subjects and items that are judged were there in training."""

from collections.abc import Iterable
from dataclasses import dataclass

from promptrank.records import Request


@dataclass(frozen=True, slots=True)
class Seen:
    """How many of the test subjects and items were there in training."""

    subjects: int
    subjects_seen: int
    items: int
    items_seen: int


class SeenInTraining:
    """Subjects and items of training requests: candidates, events of histories, sources.

    Attributes:
        requests: how many there were.
        last: the time of the latest; None where they have no time.
    """

    def __init__(self) -> None:
        self._subjects, self._items = set[str](), set[str]()
        self.requests = 0
        self.last: float | None = None

    def knows_subject(self, subject_id: str) -> bool:
        """Whether training had a request of this subject."""
        return subject_id in self._subjects

    def knows_item(self, item_id: str) -> bool:
        """Whether a training request held this item."""
        return item_id in self._items

    def add(self, request: Request) -> None:
        """Take in a request, if it is of split ``train``."""
        if request.split != "train":
            return
        self.requests += 1
        if request.time is not None:
            self.last = request.time if self.last is None else max(self.last, request.time)
        self._subjects.add(request.subject.subject_id)
        self._items.update(candidate.item.item_id for candidate in request.candidates)
        self._items.update(event.item.item_id for event in request.history)
        if request.subject.source is not None:
            self._items.add(request.subject.source.item_id)

    def among(self, requests: Iterable[Request]) -> Seen:
        """How many of these requests' subjects and candidates' items training knew."""
        subjects, items = set[str](), set[str]()
        for request in requests:
            subjects.add(request.subject.subject_id)
            items.update(candidate.item.item_id for candidate in request.candidates)
        return Seen(
            len(subjects), len(subjects & self._subjects), len(items), len(items & self._items)
        )
