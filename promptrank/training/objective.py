"""The loss of one forward pass: answers at their slots, lists, and the prompt's own tokens."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from promptrank.training import answer_losses as losses
from promptrank.training.collate import Batch

Tensor = torch.Tensor
_CHUNK = 128  # rows of prompt logits held at once


@dataclass(frozen=True, slots=True)
class LossCounts:
    """What a step's sums are divided by, over all its forwards and processes.

    Attributes:
        answers: labels by weight.
        listwise, ranknet: lists that the loss is defined on, by weight.
        prompt: prompt tokens.
    """

    answers: float
    listwise: float
    ranknet: float
    prompt: float

    def as_tensor(self) -> Tensor:
        """(4,), so that processes can add theirs up."""
        return torch.tensor([self.answers, self.listwise, self.ranknet, self.prompt])


def counts_of(batch: Batch) -> LossCounts:
    """What one forward adds to its step."""
    ordered = sum(
        float(batch.weights[p].mean())
        for p in batch.lists
        if (batch.values[p] != batch.values[p][0]).any()
    )
    return LossCounts(float(batch.weights.sum()), ordered, ordered, float(len(batch.prompt_rows)))


def answer_logprobs(model: Any, batch: Batch) -> Tensor:
    """Log P of every answer, (slots, answers).

    Args:
        model: a causal decoder with our attention, or a wrapper (peft, DDP) around one.
    """
    forward = batch.forward
    layout: dict[str, Any] = {"tree": forward.segments, "windows": forward.windows}
    if forward.spans is not None:
        layout["spans"] = forward.spans
    out = model(
        input_ids=forward.ids,
        position_ids=forward.positions,
        # A mask of four dimensions is passed on as it is: none is built, and ours is not read.
        attention_mask=forward.ids.new_zeros(1, 1, 1, 1),
        use_cache=False,
        logits_to_keep=forward.logit_rows,
        **layout,
    )
    return losses.answer_logprobs(
        out.logits[0], batch.step_rows, batch.step_ids, batch.step_paths, batch.slot_paths
    )


@contextmanager
def last_hidden(base: Any, wanted: bool) -> Iterator[list[Tensor]]:
    """A list of what leaves the layers, (rows, width), in each forward inside; empty unless wanted.

    Args:
        base: the model of transformers, however it is wrapped where it is called.
    """
    taken: list[Tensor] = []
    if not wanted:
        yield taken
        return
    hook = base.get_decoder().register_forward_hook(
        lambda module, inputs, output: taken.append(output.last_hidden_state[0])
    )
    try:
        yield taken
    finally:
        hook.remove()


@contextmanager
def prompt_loss(
    base: Any, batch: Batch, counts: LossCounts, wanted: bool
) -> Iterator[list[Tensor]]:
    """A list of `prompt_total` of each forward inside; empty unless wanted.

    It is computed within the forward: where the output layer is sharded over processes (FSDP), its
    weights are whole for that long only.

    Args:
        base: as in `last_hidden`.
    """
    taken: list[Tensor] = []
    if not wanted:
        yield taken
        return
    with last_hidden(base, wanted) as hidden:
        # `forward`, since calling the layer would call this hook again; and before FSDP's own hook.
        hook = base.get_output_embeddings().register_forward_hook(
            lambda head, inputs, output: taken.append(
                prompt_total(head.forward, hidden[-1], batch, counts)
            ),
            prepend=True,
        )
        try:
            yield taken
        finally:
            hook.remove()


def answers_total(
    logprobs: Tensor, batch: Batch, weights: Mapping[str, float], counts: LossCounts
) -> Tensor:
    """The weighted losses on answers, each over its count in the whole step."""
    total = logprobs.new_zeros(())
    if weight := weights.get("answers"):
        answers = losses.answers_loss(logprobs, batch.shares, batch.weights)
        total = total + weight * answers.total / max(counts.answers, 1e-9)
    if (weights.get("listwise") or weights.get("ranknet")) and batch.lists:
        inside = torch.cat(batch.lists)
        odds = logprobs.new_zeros(len(logprobs))
        list_odds = losses.log_odds(logprobs[inside], batch.relevant[inside])
        odds = odds.index_put((inside,), list_odds)
        if weight := weights.get("listwise"):
            lists = losses.listwise_loss(odds, batch.values, batch.weights, batch.lists)
            total = total + weight * lists.total / max(counts.listwise, 1e-9)
        if weight := weights.get("ranknet"):
            lists = losses.ranknet_loss(odds, batch.values, batch.weights, batch.lists)
            total = total + weight * lists.total / max(counts.ranknet, 1e-9)
    return total


def prompt_total(head: Any, hidden: Tensor, batch: Batch, counts: LossCounts) -> Tensor:
    """Next-token cross-entropy over prompt tokens, over their count in the whole step.

    Of a batch that was `thinned` it is an estimate without bias. The logits exist a chunk of rows
    at a time, and their gradient is taken at once, so memory does not grow with rows x vocabulary
    (as in Hsu et al. 2024, arXiv:2410.10989).

    Args:
        head: the model's output layer, or what it does; it does not train.
        hidden: (rows, width), what left the layers.
    """
    rows = hidden[batch.prompt_rows]
    total: Tensor = _Prompt.apply(rows, batch.prompt_ids, head)  # type: ignore[no-untyped-call]
    return total * batch.prompt_scale / max(counts.prompt, 1.0)


def thinned(batch: Batch, rows: int, drawn: str) -> Batch:
    """The batch with at most ``rows`` of its prompt tokens, each with the same chance.

    `counts_of` the whole batch is still what the sum is divided by.

    Args:
        drawn: what the draw depends on, and nothing else: a step that is done again draws the same.
    """
    whole = len(batch.prompt_rows)
    if whole <= rows:
        return batch
    seed = int(hashlib.sha256(drawn.encode()).hexdigest()[:15], 16)
    chosen = torch.randperm(whole, generator=torch.Generator().manual_seed(seed))[:rows]
    return replace(
        batch,
        prompt_rows=batch.prompt_rows[chosen],
        prompt_ids=batch.prompt_ids[chosen],
        prompt_scale=whole / rows,
    )


class _Prompt(torch.autograd.Function):
    """Summed cross-entropy of a frozen head, gradient computed on the way."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, ids: Tensor, head: Any) -> Tensor:
        grads = torch.empty_like(hidden)
        total = hidden.new_zeros((), dtype=torch.float32)
        for rows, wanted, place in zip(
            *(torch.split(t, _CHUNK) for t in (hidden, ids, grads)), strict=True
        ):
            with torch.enable_grad():
                inner = rows.detach().requires_grad_()
                loss = torch.nn.functional.cross_entropy(
                    head(inner).float(), wanted, reduction="sum"
                )
                place.copy_(torch.autograd.grad(loss, inner)[0])
            total += loss.detach()
        ctx.save_for_backward(grads)
        return total

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (grads,) = ctx.saved_tensors
        return grads * above[0], None, None
