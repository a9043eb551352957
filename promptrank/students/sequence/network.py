"""The network of the ``sequence`` kind while it learns: a small self-attentive trunk and a head.

What is served is the same arithmetic in `promptrank.students.sequence.served`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from promptrank.students.sequence.inputs import SequenceBatch, Shape


def layer_dropout(dropout: float | Sequence[float], layers: int) -> list[float]:
    """Dropout of each layer: one rate for all, or [lowest layer, highest layer] and a line between.

    High below and low above is what long stacks gained from; small ones did not (arXiv 2311.11351).
    """
    if isinstance(dropout, int | float):
        return [float(dropout)] * layers
    first, last = dropout
    steps = max(1, layers - 1)
    return [first + (last - first) * i / steps for i in range(layers)]


class AttentionBlock(nn.Module):
    """Pre-norm attention and feed-forward (SASRec, arXiv 1808.09781)."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(requests, events, dim); an event sees itself and those before it."""
        rows, length, dim = x.shape
        split = (rows, length, self.heads, dim // self.heads)
        q, k, v = (t.view(split).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        seen = scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(rows, length, dim)))
        fed: Tensor = x + self.dropout(self.down(torch.relu(self.up(self.norm2(x)))))
        return fed


class Network(nn.Module):
    """Scores of a batch's candidates.

    ``aux`` is the second output; it exists while training only, and no file holds it.
    """

    def __init__(self, shape: Shape, dropout: Sequence[float], *, aux: bool = False) -> None:
        super().__init__()
        dim = shape.dim
        self.words = nn.Embedding(shape.buckets, dim, padding_idx=0)
        self.ids = nn.Embedding(shape.ids + 1, dim, padding_idx=0)
        self.worth = nn.Linear(1, dim)
        self.place = nn.Embedding(shape.last, dim)
        self.empty = nn.Parameter(torch.zeros(dim))
        self.blocks = nn.ModuleList(AttentionBlock(dim, shape.heads, rate) for rate in dropout)
        self.norm = nn.LayerNorm(dim)
        self.hidden = nn.Linear(3 * dim + shape.dense, 2 * dim)
        self.mix = nn.Linear(2 * dim, 2 * dim)
        self.drop = nn.Dropout(dropout[-1] if dropout else 0.0)
        self.main = nn.Linear(2 * dim, shape.outputs)
        self.aux = nn.Linear(2 * dim, shape.outputs) if aux else None
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.1)
        with torch.no_grad():
            self.words.weight[0] = 0
            self.ids.weight[0] = 0

    @property
    def tables(self) -> tuple[nn.Embedding, nn.Embedding, nn.Embedding]:
        """Embeddings of words, ids and places."""
        return self.words, self.ids, self.place

    def forward(self, batch: SequenceBatch) -> tuple[Tensor, Tensor | None]:
        """(rows, outputs) served, and the second output where there is one."""
        subject = self._past(batch) + self._bag(_tensor(batch.subject_words))
        user = self.norm(subject)[_tensor(batch.request)]
        item = self._bag(_tensor(batch.words)) + self.ids(_tensor(batch.ids))
        given = torch.cat([user, item, user * item, _tensor(batch.dense)], -1)
        hidden = self.drop(torch.relu(self.hidden(given)))
        hidden = self.drop(torch.relu(self.mix(hidden)))
        return self.main(hidden), self.aux(hidden) if self.aux is not None else None

    def _bag(self, words: Tensor) -> Tensor:
        """Mean embedding of the words that are no padding."""
        count = (words > 0).sum(-1, keepdim=True).clamp(min=1)
        mean: Tensor = self.words(words).sum(-2) / count
        return mean

    def _past(self, batch: SequenceBatch) -> Tensor:
        rows, length = batch.event_ids.shape
        if not length:
            return self.empty.expand(rows, -1)
        events = _tensor(batch.events)
        x = self._bag(_tensor(batch.event_words)) + self.ids(_tensor(batch.event_ids))
        x = x + self.worth(_tensor(batch.event_worth)[..., None])
        # Counted from the latest event, so that a longer history does not move it.
        back = (events[:, None] - 1 - torch.arange(length)).clamp(min=0)
        x = x + self.place(back)
        for block in self.blocks:
            x = block(x)
        last = x[torch.arange(rows), (events - 1).clamp(min=0)]
        return torch.where((events > 0)[:, None], last, self.empty)


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(array)
