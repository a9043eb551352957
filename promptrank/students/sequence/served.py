"""The ``sequence`` kind's network as it is served: numpy, one request at a time, no torch.

Same weights and arithmetic as `promptrank.students.sequence.network`; a test holds the two
together. An item's vector depends on the item alone, so the student keeps it.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from promptrank.basics.arrays import Singles
from promptrank.students.sequence.inputs import Shape

_EPS = 1e-5  # of torch's LayerNorm


def weight_shapes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Every array of the network by name."""
    dim, wide = shape.dim, 2 * shape.dim
    linear = {
        "worth": (dim, 1),
        "hidden": (wide, 3 * dim + shape.dense),
        "mix": (wide, wide),
        "main": (shape.outputs, wide),
    }
    norms = ["norm"]
    for at in (f"blocks.{i}." for i in range(shape.layers)):
        linear |= {at + "qkv": (3 * dim, dim), at + "out": (dim, dim)}
        linear |= {at + "up": (wide, dim), at + "down": (dim, wide)}
        norms += [at + "norm1", at + "norm2"]
    tables = {"words": shape.buckets, "ids": shape.ids + 1, "place": shape.last}
    return {
        "empty": (dim,),
        **{f"{name}.weight": (rows, dim) for name, rows in tables.items()},
        **{f"{name}.weight": size for name, size in linear.items()},
        **{f"{name}.bias": size[:1] for name, size in linear.items()},
        **{f"{name}.{part}": (dim,) for name in norms for part in ("weight", "bias")},
    }


class ServedNetwork:
    """Scores of one request's candidates.

    Raises:
        KeyError, ValueError: weights that are missing, or of another shape.
    """

    def __init__(self, shape: Shape, weights: Mapping[str, Singles]) -> None:
        if not 0 <= shape.layers <= len(weights):  # each has several
            raise ValueError(f"{shape.layers} layers in {len(weights)} arrays")
        for name, expected in weight_shapes(shape).items():
            if weights[name].shape != expected:
                raise ValueError(f"{name} is {weights[name].shape}, expected {expected}")
            if weights[name].dtype != np.float32:
                raise ValueError(f"{name} is {weights[name].dtype}, expected float32")
            if not np.isfinite(weights[name]).all():
                raise ValueError(f"{name} holds what is no number")
        self.shape, self.weights = shape, weights
        # Where no event of this length sees a later one.
        self._later = np.triu(np.full((shape.last, shape.last), -np.inf, dtype=np.float32), 1)

    def item(self, words: Sequence[int], row: int) -> Singles:
        """(dim,) of an item: the mean of its words, and its id's own."""
        vector: Singles = self._bag(words) + self.weights["ids.weight"][row]
        return vector

    def user(
        self, words: Sequence[int], items: Sequence[Singles], worth: Sequence[float]
    ) -> Singles:
        """(dim,) of a subject: its words, and the items and worths (0 to 1) of its events."""
        return self._norm("norm", self._past(items, worth) + self._bag(words))

    def head(self, user: Singles, items: Singles, dense: Singles) -> Singles:
        """(rows, outputs) of candidates: (rows, dim) vectors beside (rows, numbers) columns."""
        same = np.broadcast_to(user, items.shape)
        hidden = np.concatenate([same, items, user * items, dense], axis=1)
        for name in ("hidden", "mix"):
            hidden = np.maximum(self._linear(name, hidden), 0)
        return self._linear("main", hidden)

    def _past(self, items: Sequence[Singles], worth: Sequence[float]) -> Singles:
        count = len(items)
        if not count:
            return self.weights["empty"]
        x = np.stack(items) + self._linear("worth", np.array(worth, dtype=np.float32)[:, None])
        x = x + self.weights["place.weight"][count - 1 :: -1]
        for layer in range(self.shape.layers):
            x = self._block(f"blocks.{layer}.", x)
        last: Singles = x[-1]
        return last

    def _block(self, at: str, x: Singles) -> Singles:
        count, dim = x.shape
        heads = self.shape.heads
        qkv = self._linear(at + "qkv", self._norm(at + "norm1", x))
        q, k, v = qkv.reshape(count, 3, heads, dim // heads).transpose(1, 2, 0, 3)
        logits = q @ k.transpose(0, 2, 1) / math.sqrt(dim // heads) + self._later[:count, :count]
        share = np.exp(logits - logits.max(-1, keepdims=True))
        share /= share.sum(-1, keepdims=True)
        x = x + self._linear(at + "out", (share @ v).transpose(1, 0, 2).reshape(count, dim))
        fed = np.maximum(self._linear(at + "up", self._norm(at + "norm2", x)), 0)
        return x + self._linear(at + "down", fed)

    def _bag(self, words: Sequence[int]) -> Singles:
        if not words:
            return np.zeros(self.shape.dim, dtype=np.float32)
        mean: Singles = self.weights["words.weight"][words].mean(0)
        return mean

    def _linear(self, name: str, x: Singles) -> Singles:
        output: Singles = x @ self.weights[name + ".weight"].T + self.weights[name + ".bias"]
        return output

    def _norm(self, name: str, x: Singles) -> Singles:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(_EPS))
        output: Singles = scaled * self.weights[name + ".weight"] + self.weights[name + ".bias"]
        return output
