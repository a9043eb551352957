"""From rows of logits to what a slot needs: the paths' log-probs and the greedy token."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from promptrank.engine.contract import SlotScore
from promptrank.engine.trie import Trie, slot_score


@dataclass(frozen=True, slots=True)
class SlotRows:
    """Attributes: a slot's trie, and the row of logits of each of its nodes."""

    trie: Trie
    rows: list[int]


def score_slots(logits: torch.Tensor, slots: Sequence[SlotRows]) -> list[SlotScore | None]:
    """One score per slot; None where the model's logits are not numbers.

    Args:
        logits: (rows, vocab), any float type; computed on in fp32.
        slots: which rows each slot reads.
    """
    wide = logits.float()
    norm = torch.logsumexp(wide, -1)
    greedy = wide.argmax(-1).tolist()
    rows = [slot.rows[node] for slot in slots for path in slot.trie.steps for node, _ in path]
    ids = [token for slot in slots for path in slot.trie.steps for _, token in path]
    chosen = iter((wide[rows, ids] - norm[rows]).double().tolist())
    return [
        slot_score(
            slot.trie,
            [[next(chosen) for _ in path] for path in slot.trie.steps],
            [greedy[row] for row in slot.rows],
        )
        for slot in slots
    ]
