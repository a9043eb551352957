"""One tree on its way through vLLM: the prompts it becomes, and its scores put together again.

Every place of a slot's trie is a prompt (prefix + branch + slot + the path so far) whose next
token's log-probs are asked for; vLLM's prefix cache sees to it that what they share is computed
once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from promptrank.engine.contract import BranchScore, Failure, SlotScore, Tree, TreeScore
from promptrank.engine.trie import Trie, build_trie, slot_score

MOST_WANTED = 128
"""Ids whose log-probs vLLM returns for one prompt."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node of a slot's trie, and some of the ids that continue a path there."""

    branch: int
    slot: int
    node: int
    wanted: tuple[int, ...]


@dataclass(slots=True)
class _Slot:
    """What came back for a slot so far.

    Attributes:
        logprobs: (node, id) -> log-prob.
        greedy: per node, the likeliest id.
        left: prompts to come.
    """

    trie: Trie
    left: int
    logprobs: dict[tuple[int, int], float] = field(default_factory=dict)
    greedy: dict[int, int] = field(default_factory=dict)

    def score(self) -> SlotScore | None:
        steps = self.trie.steps
        by_path = [[self.logprobs[step] for step in path] for path in steps]
        return slot_score(
            self.trie, by_path, [self.greedy[node] for node in range(len(self.trie.nodes))]
        )


class Work:
    """A tree and what is known of its scores.

    Attributes:
        left: prompts to come.
        deaths: how often the process has died while it had this tree.
        lost: why nothing more will come, where the process has died and is not there again.
    """

    def __init__(self, tree: Tree, failure: Failure | None) -> None:
        self.tree, self.failure = tree, failure
        self.left = self.deaths = 0
        self.lost: str | None = None
        self._scores: list[BranchScore | None] = [None] * len(tree.branches)
        self._slots: dict[tuple[int, int], _Slot] = {}

    def fail(self, branch: int, failure: Failure) -> None:
        """Nothing of this branch will be scored."""
        self._scores[branch] = failure

    def again(self) -> None:
        """Nothing has come; branches that had failed stay as they are."""
        self.left = 0
        self._slots.clear()

    def give_up(self, failure: Failure) -> None:
        """The whole tree has failed, whatever has come of it."""
        self.failure, self.left = failure, 0

    def prompts(self) -> Iterator[tuple[Place, list[int]]]:
        """The places to ask vLLM for, with their ids, branch after branch."""
        for number, branch in enumerate(self.tree.branches):
            if self._scores[number] is not None:
                continue
            for slot_number, slot in enumerate(branch.slots):
                trie = build_trie(slot.paths)
                places = [
                    Place(number, slot_number, node, wanted)
                    for node, ids in enumerate(_continuations(trie))
                    for wanted in _chunks(ids)
                ]
                self._slots[number, slot_number] = _Slot(trie, len(places))
                self.left += len(places)
                ids = [*self.tree.prefix, *branch.ids, *slot.ids]
                for place in places:
                    yield place, [*ids, *trie.nodes[place.node]]

    def put(self, place: Place, logprobs: list[float], greedy: int) -> None:
        """The answer to one prompt."""
        slot = self._slots[place.branch, place.slot]
        slot.logprobs |= {(place.node, i): lp for i, lp in zip(place.wanted, logprobs, strict=True)}
        slot.greedy[place.node] = greedy
        slot.left -= 1
        self.left -= 1
        if not slot.left and slot.score() is None:
            self.fail(
                place.branch,
                Failure(
                    "not_a_number",
                    f"request {self.tree.tree_id}: the model's logits are not numbers; "
                    "try dtype float32, or check the adapter",
                ),
            )

    def refuse(self, place: Place, why: str, by: str = "vLLM") -> None:
        """A prompt was not taken."""
        self.left -= 1
        message = f"request {self.tree.tree_id}: {by} refused a prompt ({why}); try engine packed"
        self.fail(place.branch, Failure("refused", message))

    def result(self) -> TreeScore:
        """The tree's scores; call it when nothing is left."""
        if self.failure:
            return self.failure
        return tuple(self._branch(number) for number in range(len(self.tree.branches)))

    def _branch(self, number: int) -> BranchScore:
        if (known := self._scores[number]) is not None:
            return known
        slots = range(len(self.tree.branches[number].slots))
        scores = [self._slots[number, slot].score() for slot in slots]
        return tuple(score for score in scores if score is not None)


def _continuations(trie: Trie) -> list[list[int]]:
    """Per node, the ids with which a path goes on there, each once."""
    nexts: list[dict[int, None]] = [{} for _ in trie.nodes]
    for path in trie.steps:
        for node, token in path:
            nexts[node][token] = None
    return [list(ids) for ids in nexts]


def _chunks(ids: list[int]) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(ids), MOST_WANTED):
        yield tuple(ids[start : start + MOST_WANTED])
