"""Keeping a prompt within its budget: which events stay, and how far a field is shortened."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

# A word with the white space before it. Longer runs (addresses, scripts without spaces) are cut
# into pieces, or one of them could take the whole budget or nothing.
_WORD = re.compile(r"\s*\S{1,32}")


@dataclass(frozen=True, slots=True)
class Cuts:
    """What a request's prompt leaves out.

    Attributes:
        events_given: events in the request's history.
        events_kept: of these, how many the prompt shows.
        events_failed: how many could not be rendered or were too long; each has an error row.
        events_unlabelled: under turns, how many do not answer the question asked of history.
        fields: fields of the subject that were shortened, such as ``member.bio``.
        event_fields: shortened fields -> in how many events.
        candidates: candidate id -> its shortened fields.
    """

    events_given: int = 0
    events_kept: int = 0
    events_failed: int = 0
    events_unlabelled: int = 0
    fields: tuple[str, ...] = ()
    event_fields: Mapping[str, int] = field(default_factory=dict)
    candidates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def events_dropped(self) -> int:
        """Events left out for the budget alone."""
        return self.events_given - self.events_kept - self.events_failed - self.events_unlabelled

    @property
    def any(self) -> bool:
        """True where the budget cost something."""
        return bool(self.events_dropped or self.fields or self.event_fields or self.candidates)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with ``events_dropped``."""
        return {**asdict(self), "events_dropped": self.events_dropped}


def parts_of(value: Any) -> list[Any] | None:
    """What a field can be cut between: words of a text, elements of a list; None for the rest."""
    if isinstance(value, str):
        return _WORD.findall(value)
    return list(value) if isinstance(value, list | tuple) else None


def keep(value: Any, parts: Sequence[Any], count: int) -> Any:
    """The field with its first ``count`` parts."""
    if count >= len(parts):
        return value
    return "".join(parts[:count]) if isinstance(value, str) else list(parts[:count])


def shorten(
    names: Sequence[str],
    roots: Mapping[str, Mapping[str, Any]],
    length: Callable[[Mapping[str, Mapping[str, Any]]], int],
    room: int,
) -> tuple[dict[str, Mapping[str, Any]], tuple[str, ...]] | None:
    """Shortens fields, first one first, as little as makes ``length`` at most ``room``.

    Args:
        names: ``item.description``; those whose root or field is missing are passed over.
        roots: ``item``, ``member``.. -> fields. Never written to.
        length: tokens of what is rendered from such roots.

    Returns:
        The roots with shortened fields and the names of these; None where even empty fields do
        not fit. Of each field the beginning stays, in whole words. A later field is touched only
        when the earlier ones are empty.
    """
    now: dict[str, Mapping[str, Any]] = dict(roots)
    done: list[str] = []
    for name in names:
        root, _, key = name.partition(".")
        parts = parts_of(now[root].get(key)) if root in now else None
        if not parts:
            continue
        cut = partial(_cut, now, root, key, parts)
        kept = _most(lambda count, cut=cut: length(cut(count)), len(parts) - 1, room)  # type: ignore[misc]
        now = cut(max(kept, 0))
        done.append(name)
        if kept >= 0:
            return now, tuple(done)
    return None


def _cut(
    roots: Mapping[str, Mapping[str, Any]], root: str, key: str, parts: Sequence[Any], count: int
) -> dict[str, Mapping[str, Any]]:
    fields = roots[root]
    return {**roots, root: {**fields, key: keep(fields[key], parts, count)}}


def _most(length: Callable[[int], int], parts: int, room: int) -> int:
    """The largest count up to ``parts`` whose length fits; -1 where not even 0 does.

    A part has at least one token, so more parts than ``room`` never fit. In between the length
    is nearly a straight line: each guess is taken from it, and halving bounds the number of steps.
    """
    low, low_length = 0, length(0)
    if low_length > room:
        return -1
    high = min(parts, room) + 1
    high_length: float = room + 1.0 if high <= 1 else max(length(high - 1), 0)
    if high_length <= room:
        return high - 1
    high -= 1
    turn = 0
    while high - low > 1:
        slope = (high_length - low_length) / (high - low)
        guess = low + int((room - low_length) / slope) if slope > 0 else low
        turn += 1
        middle = (low + high) // 2 if turn % 3 == 0 else min(max(guess, low + 1), high - 1)
        middle_length = length(middle)
        if middle_length <= room:
            low, low_length = middle, middle_length
        else:
            high, high_length = middle, middle_length
    return low
