"""One prompt at a time: the reference that packed scoring is compared with, and its fall-back.

Every trie node of every slot is a prompt of its own, and only the last position's logits are
computed. Prompts of one length share a batch, so that nothing is padded: this holds for any causal
decoder, also for those with windows or states.
"""

from collections.abc import Sequence
from typing import Any

import torch

from promptrank.engine.contract import Branch, Tree
from promptrank.engine.trie import Trie

Place = tuple[int, int, int]  # branch, slot, node


def plain_logits(
    model: Any,
    tree: Tree,
    branches: Sequence[tuple[int, Branch, tuple[Trie, ...]]],
    tokens: int,
) -> tuple[dict[Place, int], torch.Tensor]:
    """The next-token logits at every node of the branches.

    Args:
        model: a causal decoder of transformers or peft.
        tree: their tree.
        branches: number, branch and the slots' tries.
        tokens: most tokens in one batch (one prompt may have more).

    Returns:
        Each place's row, and the logits, (rows, vocab).
    """
    prompts: dict[tuple[int, ...], int] = {}
    rows: dict[Place, int] = {}
    for number, branch, branch_tries in branches:
        for slot_number, trie in enumerate(branch_tries):
            slot = branch.slots[slot_number]
            for node_number, node in enumerate(trie.nodes):
                prompt = (*tree.prefix, *branch.ids, *slot.ids, *node)
                rows[number, slot_number, node_number] = prompts.setdefault(prompt, len(prompts))
    ordered = sorted(prompts, key=lambda prompt: (len(prompt), prompts[prompt]))
    by_prompt: list[torch.Tensor | None] = [None] * len(prompts)
    while ordered:
        length = len(ordered[0])
        most = max(1, tokens // length)
        batch = [prompt for prompt in ordered[:most] if len(prompt) == length]
        ordered = ordered[len(batch) :]
        ids = torch.tensor(batch, dtype=torch.long, device=model.device)
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[:, -1].float()
        for prompt, row in zip(batch, logits, strict=True):
            by_prompt[prompts[prompt]] = row
    return rows, torch.stack([row for row in by_prompt if row is not None])
