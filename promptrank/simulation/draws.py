"""Seeded draws: every table has a stream of its own, so that no switch shifts another's draws.

Only uniform numbers are taken from numpy, whose stream is stable across versions; the other
distributions are made from them here.
"""

from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from promptrank.basics.arrays import Codes, Floats

Bools = NDArray[np.bool_]


def uniform(seed: int, name: str, *shape: int) -> Floats:
    """Numbers in [0, 1) of the stream ``name``."""
    return np.random.Generator(np.random.PCG64([seed, crc32(name.encode())])).random(shape)


def normal(seed: int, name: str, *shape: int) -> Floats:
    """Standard normal numbers, by Box and Muller."""
    u = uniform(seed, name, 2, *shape)
    return np.asarray(np.sqrt(-2 * np.log1p(-u[0])) * np.cos(2 * np.pi * u[1]))


def exponential(seed: int, name: str, *shape: int) -> Floats:
    """Exponential numbers of mean 1."""
    return np.asarray(-np.log1p(-uniform(seed, name, *shape)))


def pick(u: Floats, weights: tuple[float, ...]) -> Codes:
    """Indices drawn with these weights by uniform numbers ``u``."""
    edges = np.cumsum(weights) / sum(weights)
    return np.minimum(np.searchsorted(edges, u, side="right"), len(weights) - 1)


def below(u: Floats, count: int | Codes) -> Codes:
    """Integers in [0, count) by uniform numbers ``u``."""
    return np.asarray((u * count).astype(np.int64))


def sigmoid(x: Any) -> Floats:
    """The logistic function; ``x`` is bounded here by what utilities can be."""
    return np.asarray(1 / (1 + np.exp(-x)))
