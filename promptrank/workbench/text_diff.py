"""Two texts side by side: lines that go together, and in them the words that changed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_AROUND = 3  # unchanged lines that are shown next to changed ones
_LONG = 20_000  # characters: words of longer lines are not compared
_FEW = 0.3  # likeness under which two lines are shown as one for the other


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of a line, and whether the other text lacks it."""

    text: str
    changed: bool


@dataclass(frozen=True, slots=True)
class Half:
    """One text's half of a row: the number of its line, from 1, and what it says."""

    number: int
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """Lines that go together; None where a text has no such line.

    Attributes:
        kind: ``same``, ``changed``, ``added`` (only the second text has it), ``removed`` (only the
            first has), or ``skipped``: ``count`` lines that are the same in both.
    """

    kind: Literal["same", "changed", "added", "removed", "skipped"]
    left: Half | None = None
    right: Half | None = None
    count: int = 0


def differing(first: str, second: str, *, around: int = _AROUND) -> list[Row]:
    """The rows of two texts; none where they are equal.

    Args:
        around: lines without a change that are shown before and after one; others are skipped.
    """
    if first == second:
        return []
    left, right = first.splitlines(), second.splitlines()
    rows: list[Row] = []
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for tag, i, j, m, n in matcher.get_opcodes():
        if tag == "equal":
            pairs = zip(range(i, j), range(m, n), strict=True)
            rows += [Row("same", _half(a, left), _half(b, right)) for a, b in pairs]
        else:
            rows += _replaced(left, right, range(i, j), range(m, n))
    if all(row.kind == "same" for row in rows):  # they differ in how the last line ends
        return []
    return _folded(rows, around)


def spans_of(first: str, second: str) -> tuple[tuple[Span, ...], tuple[Span, ...]]:
    """Two lines by what the other one lacks, word by word."""
    if max(len(first), len(second)) > _LONG:
        return (Span(first, True),), (Span(second, True),)
    left, right = _WORDS.findall(first), _WORDS.findall(second)
    ours: list[Span] = []
    theirs: list[Span] = []
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    for tag, i, j, m, n in matcher.get_opcodes():
        for spans, words in ((ours, left[i:j]), (theirs, right[m:n])):
            if words:
                spans.append(Span("".join(words), tag != "equal"))
    return tuple(ours), tuple(theirs)


def _replaced(left: Sequence[str], right: Sequence[str], ours: range, theirs: range) -> list[Row]:
    """Lines that took the place of others: those that are alike stand beside each other."""
    both = min(len(ours), len(theirs))
    rows: list[Row] = []
    late: list[Row] = []
    for a, b in zip(ours[:both], theirs[:both], strict=True):
        first, second = spans_of(left[a], right[b])
        kept = sum(len(span.text) for span in first if not span.changed)
        if kept >= _FEW * max(len(left[a]), len(right[b])):
            rows += [*late, Row("changed", Half(a + 1, first), Half(b + 1, second))]
            late = []
        else:
            rows.append(Row("removed", _half(a, left, changed=True)))
            late.append(Row("added", right=_half(b, right, changed=True)))
    rows += [Row("removed", _half(a, left, changed=True)) for a in ours[both:]]
    return [
        *rows,
        *late,
        *(Row("added", right=_half(b, right, changed=True)) for b in theirs[both:]),
    ]


def _half(index: int, lines: Sequence[str], *, changed: bool = False) -> Half:
    return Half(index + 1, (Span(lines[index], changed),) if lines[index] else ())


def _folded(rows: Sequence[Row], around: int) -> list[Row]:
    """Rows with long stretches of unchanged ones told by their number."""
    near = [False] * len(rows)
    for place, row in enumerate(rows):
        if row.kind != "same":
            for at in range(max(0, place - around), min(len(rows), place + around + 1)):
                near[at] = True
    folded: list[Row] = []
    for row, shown in zip(rows, near, strict=True):
        if shown:
            folded.append(row)
        elif folded and folded[-1].kind == "skipped":
            folded[-1] = Row("skipped", count=folded[-1].count + 1)
        else:
            folded.append(Row("skipped", count=1))
    return folded
