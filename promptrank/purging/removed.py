"""What a purge took out of one place."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from promptrank.basics.plurals import counted


@dataclass(slots=True)
class Removed:
    """Of one place.

    Attributes:
        path: of a file or folder, or an address.
        requests: ids of requests that were theirs.
        amounts: what -> how many.
        notes: what else there is to know, in words.
    """

    path: Path | str
    requests: set[str] = field(default_factory=set)
    amounts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, what: str, many: int = 1) -> None:
        """So many of something were removed."""
        if many:
            self.amounts[what] += many

    def join(self, other: "Removed") -> None:
        """Take in what was taken out of a part of the place."""
        self.requests |= {f"{Path(other.path).name}/{name}" for name in other.requests}
        self.amounts += other.amounts

    def told(self) -> str:
        """In words: ``3 requests, 30 rows of scores``; empty where nothing was removed."""
        amounts = {"request": len(self.requests)} | self.amounts
        return ", ".join(_counted(many, what) for what, many in amounts.items() if many)


def _counted(many: int, what: str) -> str:
    head, of, tail = what.partition(" of ")
    return counted(many, head) + of + tail
