"""One forward pass of a decoder over laid-out rows."""

from typing import Any

import torch

from promptrank.engine.layout import Forward


def run(model: Any, forward: Forward) -> torch.Tensor:
    """Logits of ``forward.logit_rows``, (rows, vocab); fills the pasts that are to be kept.

    Args:
        model: a causal decoder from ``model.load_model``, or peft's wrapper around it.
        forward: its rows.
    """
    if model.reads_rows:  # the layers give back these rows alone
        reads: dict[str, Any] = {"read_rows": forward.logit_rows, "logits_to_keep": 0}
    else:
        reads = {"logits_to_keep": forward.logit_rows}
    if forward.spans is not None:
        reads["spans"] = forward.spans
    logits: torch.Tensor = model(
        input_ids=forward.ids,
        position_ids=forward.positions,
        # A mask of four dimensions is passed on as it is: none is built, and ours is not read.
        attention_mask=forward.ids.new_zeros(1, 1, 1, 1),
        use_cache=False,
        tree=forward.segments,
        windows=forward.windows,
        **reads,
    ).logits[0]
    return logits
