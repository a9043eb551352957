"""One tree on its way through the embedded engine, and its scores put together again."""

from dataclasses import dataclass, field

from promptrank.engine.contract import BranchScore, Failure, SlotScore, Tree, TreeScore
from promptrank.engine.trie import Trie


@dataclass(slots=True)
class TreeWork:
    """A tree and what is known of its scores.

    Attributes:
        failure: why nothing of it will be scored.
        scores: by branch, why it has none; None for those that are scored, or will be.
        tries, slots: by branch, of its slots.
        left: slots to come.
    """

    tree: Tree
    failure: Failure | None
    scores: list[BranchScore | None]
    tries: dict[int, tuple[Trie, ...]] = field(default_factory=dict)
    slots: dict[int, list[SlotScore | None]] = field(default_factory=dict)
    left: int = 0

    def put(self, branch: int, slot: int, score: SlotScore | None) -> None:
        """One slot's score; a branch with a slot of None has failed."""
        self.slots[branch][slot] = score
        self.left -= 1
        if score is None:
            self.scores[branch] = Failure(
                "not_a_number",
                f"request {self.tree.tree_id}: the model's logits are not numbers; "
                "try dtype float32, or check the adapter",
            )

    def again(self) -> None:
        """As if nothing had come of it yet."""
        self.slots = {number: [None] * len(slots) for number, slots in self.slots.items()}
        self.left = sum(map(len, self.slots.values()))

    def give_up(self, failure: Failure) -> None:
        """The whole tree has failed, whatever has come of it."""
        self.failure, self.left = failure, 0

    def result(self) -> TreeScore:
        """The tree's scores; call it when nothing is left."""
        if self.failure:
            return self.failure
        return tuple(
            score if score is not None else tuple(s for s in self.slots[number] if s is not None)
            for number, score in enumerate(self.scores)
        )
