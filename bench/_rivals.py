"""What people do with plain transformers: batch one request's prompts, or reuse its prefix."""

from typing import Any

import torch

from promptrank.engine.contract import Tree

Logits = torch.Tensor  # (candidates, vocab), at each candidate's last position


def _rows(tree: Tree) -> list[list[int]]:
    """Every candidate's own tokens: the branch and its only slot."""
    return [[*branch.ids, *branch.slots[0].ids] for branch in tree.branches]


def _right_padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, and the index of each row's last token. What is causal never sees the padding."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, torch.tensor([len(row) - 1 for row in rows])


def _last_logits(model: Any, hidden: torch.Tensor, last: torch.Tensor) -> Logits:
    logits: torch.Tensor = model.lm_head(hidden[torch.arange(len(last)), last])
    return logits


@torch.inference_mode()
def plain_right(model: Any, tree: Tree) -> Logits:
    """One batch of whole prompts, padded on the right, without a mask."""
    ids, last = _right_padded([[*tree.prefix, *row] for row in _rows(tree)])
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return _last_logits(model, hidden, last)


@torch.inference_mode()
def plain_left(model: Any, tree: Tree) -> Logits:
    """One batch of whole prompts, padded on the left, with the mask that this needs."""
    rows = [[*tree.prefix, *row] for row in _rows(tree)]
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    out = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=1,
    )
    logits: torch.Tensor = out.logits[:, -1]
    return logits


@torch.inference_mode()
def reuse(model: Any, tree: Tree) -> Logits:
    """The prefix once, its cache repeated for every candidate, then the candidates as a batch."""
    cache = model.model(input_ids=torch.tensor([tree.prefix]), use_cache=True).past_key_values
    ids, last = _right_padded(_rows(tree))
    cache.batch_repeat_interleave(len(ids))
    hidden = model.model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    return _last_logits(model, hidden, last)
