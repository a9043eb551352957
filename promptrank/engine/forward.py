"""One forward pass of a decoder over laid-out rows."""

from typing import Any

import torch

from promptrank.engine.layout import Forward


def run(model: Any, forward: Forward) -> torch.Tensor:
    """Logits of ``forward.logit_rows``, (rows, vocab); fills the pasts that are to be kept.

    Args:
        model: a causal decoder of transformers or peft whose attention is ``attention.NAME``.
        forward: its rows.
    """
    logits: torch.Tensor = model(
        input_ids=forward.ids,
        position_ids=forward.positions,
        # A mask of four dimensions is passed on as it is: none is built, and ours is not read.
        attention_mask=forward.ids.new_zeros(1, 1, 1, 1),
        use_cache=False,
        logits_to_keep=forward.logit_rows,
        tree=forward.segments,
    ).logits[0]
    return logits
