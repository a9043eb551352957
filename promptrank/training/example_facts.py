"""What is known of a task's examples without reading them: counts, kinds of labels, what was lost.

Facts of parts add up to those of the whole, so that several processes can count.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from promptrank.errors import ErrorRow
from promptrank.training.examples import Example

_KINDS = 2
"""So many different targets of a question are enough to know that there are several."""


@dataclass(slots=True)
class Facts:
    """Counts over examples.

    Attributes:
        tokens: rows of their forward passes; ``longest`` is the longest path of any, in tokens.
        turns: question -> answer -> labels in prefixes.
        kinds: per question, different target shares of candidates, two at most.
        dropped: events of histories that did not fit.
        lost: reason -> rows that could not be encoded; ``why`` has the first message of each.
    """

    examples: int = 0
    labels: int = 0
    tokens: int = 0
    longest: int = 0
    turns: dict[str, dict[str, int]] = field(default_factory=dict)
    kinds: list[list[tuple[float, ...]]] = field(default_factory=list)
    dropped: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def add(self, example: Example) -> None:
        """Count an example."""
        self.examples += 1
        self.labels += example.labels
        self.tokens += example.tokens
        self.longest = max(self.longest, example.longest)
        for turn in example.turns:
            answers = self.turns.setdefault(turn.question, {})
            answers[turn.answer] = answers.get(turn.answer, 0) + 1
        for _, targets in example.branches:
            for place, target in enumerate(targets):
                self._kinds(place, () if target is None else (target.shares,))

    def add_dropped(self, events: int) -> None:
        """Count events that did not fit."""
        self.dropped += events

    def add_lost(self, row: ErrorRow) -> None:
        """Count a row that could not be encoded."""
        self.lost[row.reason] = self.lost.get(row.reason, 0) + 1
        self.why.setdefault(row.reason, row.message)

    def join(self, other: "Facts") -> None:
        """Take in those of a later part."""
        self.examples += other.examples
        self.labels += other.labels
        self.tokens += other.tokens
        self.longest = max(self.longest, other.longest)
        self.dropped += other.dropped
        for question, answers in other.turns.items():
            mine = self.turns.setdefault(question, {})
            mine.update(Counter(mine) + Counter(answers))
        for place, kinds in enumerate(other.kinds):
            self._kinds(place, kinds)
        self.lost = dict(Counter(self.lost) + Counter(other.lost))
        self.why = {**other.why, **self.why}

    def _kinds(self, place: int, kinds: Sequence[tuple[float, ...]]) -> None:
        while len(self.kinds) <= place:
            self.kinds.append([])
        mine = self.kinds[place]
        for kind in kinds:
            if len(mine) < _KINDS and kind not in mine:
                mine.append(kind)
