"""What no engine can score, told apart before anything is computed."""

from dataclasses import dataclass
from itertools import pairwise

from promptrank.engine.contract import Branch, Failure, Ids, Slot, Tree, too_long


@dataclass(frozen=True, slots=True)
class Limits:
    """Attributes: longest path in tokens, and the number of token ids the model knows."""

    max_tokens: int
    vocab: int


def tree_failure(tree: Tree, limits: Limits) -> Failure | None:
    """Why none of the tree's branches can be scored, else None."""
    return _unknown(tree, "prefix", tree.prefix, limits)


def branch_failure(tree: Tree, branch: Branch, limits: Limits) -> Failure | None:
    """Why this branch cannot be scored, else None."""
    for ids in (branch.ids, *(slot.ids for slot in branch.slots)):
        if failure := _unknown(tree, "branch", ids, limits):
            return failure
    for slot in branch.slots:
        if failure := _bad_slot(tree, branch, slot, limits):
            return failure
    return too_long(tree, branch, limits.max_tokens) if branch.slots else None


def _bad_slot(tree: Tree, branch: Branch, slot: Slot, limits: Limits) -> Failure | None:
    if not (tree.prefix or branch.ids or slot.ids):
        message = f"request {tree.tree_id}: no token stands before the answer; give it a prompt"
        return Failure("no_prompt", message)
    ordered = sorted(slot.paths)
    # In sorted order a path stands right before the first path that it begins.
    clash = any(b[: len(a)] == a for a, b in pairwise(ordered))
    if not ordered or not ordered[0] or clash:
        message = (
            f"request {tree.tree_id}: answer paths {slot.paths} are missing, empty, or begin "
            "one another; declare answers that differ"
        )
        return Failure("bad_answers", message)
    return next((f for p in ordered if (f := _unknown(tree, "answer", p, limits))), None)


def _unknown(tree: Tree, where: str, ids: Ids, limits: Limits) -> Failure | None:
    bad = next((i for i in ids if not 0 <= i < limits.vocab), None)
    if bad is None:
        return None
    return Failure(
        "unknown_token",
        f"request {tree.tree_id}: token id {bad} in its {where}, the model knows 0 to "
        f"{limits.vocab - 1}; use the model's own tokenizer",
    )
