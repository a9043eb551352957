"""All requests that may train, as selection needs them, in a few bytes a label.

A million labels as Python objects take half a gigabyte; here items and subjects are numbers in
columns, and a subject's requests become objects when its turn comes.
"""

from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from promptrank.training.label_shares import Choosable

_NO_TIME = float("nan")


class _Numbers:
    """Texts as numbers, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self.texts: list[str] = []

    def of(self, text: str) -> int:
        number = self._of.get(text)
        if number is None:
            number = self._of[text] = len(self.texts)
            self.texts.append(text)
        return number


class Survey:
    """A collection of `Choosable`, given back subject by subject."""

    def __init__(self, entries: Iterable[Choosable] = ()) -> None:
        self._subjects, self._items = _Numbers(), _Numbers()
        self._ids: list[str] = []
        self._subject, self._time = array("q"), array("d")
        self._labelled, self._labelled_ends = array("q"), array("q")
        self._corrected: dict[int, tuple[str, ...]] = {}  # few requests have any
        self._turns, self._turn_times, self._turn_ends = array("q"), array("d"), array("q")
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, entry: Choosable) -> None:
        """Take in one request."""
        if entry.corrected:
            self._corrected[len(self._ids)] = entry.corrected
        self._ids.append(entry.request_id)
        self._subject.append(self._subjects.of(entry.subject_id))
        self._time.append(_stored(entry.time))
        self._labelled.extend(map(self._items.of, entry.labelled))
        self._labelled_ends.append(len(self._labelled))
        for item, time in entry.turns:
            self._turns.append(self._items.of(item))
            self._turn_times.append(_stored(time))
        self._turn_ends.append(len(self._turns))

    def subjects(self) -> Iterator[list[Choosable]]:
        """Each subject's requests, in the order in which they were added."""
        numbers = np.frombuffer(self._subject, np.int64) if self._subject else np.empty(0, np.int64)
        order = np.argsort(numbers, kind="stable")
        starts = np.flatnonzero(np.diff(numbers[order], prepend=-1))
        for places in np.split(order, starts[1:]):
            if len(places):
                yield [self._entry(int(place)) for place in places]

    def _entry(self, place: int) -> Choosable:
        texts = self._items.texts
        first, end = _span(self._labelled_ends, place)
        start, stop = _span(self._turn_ends, place)
        turns = zip(self._turns[start:stop], self._turn_times[start:stop], strict=True)
        return Choosable(
            self._ids[place],
            self._subjects.texts[self._subject[place]],
            _time(self._time[place]),
            tuple(texts[i] for i in self._labelled[first:end]),
            tuple((texts[i], _time(time)) for i, time in turns),
            self._corrected.get(place, ()),
        )


def _span(ends: "array[int]", place: int) -> tuple[int, int]:
    return (ends[place - 1] if place else 0), ends[place]


def _stored(time: float | None) -> float:
    return _NO_TIME if time is None else time


def _time(stored: float) -> float | None:
    return None if stored != stored else stored
