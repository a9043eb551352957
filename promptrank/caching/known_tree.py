"""Trees of which a score cache knows a part: what is left to ask, and what comes of both."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from promptrank.engine.contract import BranchScore, Failure, SlotScore, Tree, TreeScore


class PartlyKnown(tuple[BranchScore, ...]):
    """A tree's scores, some of them from a cache.

    Attributes:
        hits: prompts that were, one for each candidate and question.
    """

    hits: int


@dataclass(slots=True)
class KnownTree:
    """A tree, and what is known of it.

    Attributes:
        keys: by branch and slot; None where it has none.
        known: by branch and slot.
    """

    tree: Tree
    keys: list[tuple[bytes, ...]] | None
    known: list[list[SlotScore | None]]

    @property
    def unknown(self) -> list[int]:
        """Places of the branches that have to be asked: of those without a slot nothing is kept."""
        return [n for n, slots in enumerate(self.known) if None in slots or not slots]

    @property
    def hits(self) -> int:
        """Prompts that are known."""
        return sum(score is not None for slots in self.known for score in slots)

    def asked(self) -> Tree:
        """The tree with those branches and slots alone that are not known."""
        branches = []
        for place in self.unknown:
            branch = self.tree.branches[place]
            pairs = zip(branch.slots, self.known[place], strict=True)
            slots = tuple(slot for slot, score in pairs if score is None)
            branches.append(replace(branch, slots=slots))
        return replace(self.tree, branches=tuple(branches))


def answered_slots(known: Sequence[Sequence[SlotScore | None]]) -> tuple[BranchScore, ...]:
    """By branch, the slots that are known."""
    return tuple(tuple(score for score in slots if score is not None) for slots in known)


def answered_keys(
    looked: KnownTree, result: TreeScore
) -> Iterator[tuple[list[bytes], BranchScore]]:
    """What came back of each branch that was asked, with the keys of its slots."""
    if isinstance(result, Failure) or looked.keys is None:
        return
    for branch, scores in zip(looked.unknown, result, strict=True):
        pairs = zip(looked.keys[branch], looked.known[branch], strict=True)
        yield [key for key, score in pairs if score is None], scores


def standing(looked: KnownTree, result: TreeScore, there: Mapping[bytes, SlotScore]) -> TreeScore:
    """A result with the answers that are kept in the place of its own."""
    if isinstance(result, Failure) or looked.keys is None:
        return result
    return tuple(
        scores
        if isinstance(scores, Failure)
        else tuple(there.get(key, score) for key, score in zip(keys, scores, strict=True))
        for keys, scores in answered_keys(looked, result)
    )


def joined_scores(looked: KnownTree, result: TreeScore) -> TreeScore:
    """Known and fresh answers of a tree in their order; a branch that fails has none."""
    asked = looked.unknown
    if isinstance(result, Failure):
        if len(asked) == len(looked.known):
            return result
        result = (result,) * len(asked)
    joined: list[BranchScore] = list(answered_slots(looked.known))
    for place, scores in zip(asked, result, strict=True):
        if isinstance(scores, Failure):
            joined[place] = scores
            continue
        fresh = iter(scores)
        joined[place] = tuple(
            next(fresh) if score is None else score for score in looked.known[place]
        )
    return partly_known(looked, joined)


def partly_known(looked: KnownTree, scores: Iterable[BranchScore]) -> PartlyKnown:
    """Scores of a tree, with how many of them the cache had."""
    result = PartlyKnown(scores)
    result.hits = looked.hits
    return result
