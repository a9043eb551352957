"""Draws of an order, and the exact probability of every candidate at every place.

Both designs take m candidates in the order of the ranking, and give each of m places to one.

*Shuffled* with probability e, each order alike, and else left as they are:

    P(c at k) = e / m + (1 - e) [c is at k anyway]

*Plackett-Luce* (Luce 1959; Plackett 1975) with weights w: the first place goes to c in proportion
to w(c), the next one to those that are left in proportion to theirs, and so on. With P(S) the
probability that the candidates of S hold the first |S| places,

    P(S + c) += P(S) w(c) / W(S)      P(c at |S| + 1) += P(S) w(c) / W(S)      c not in S

where W(S) is the weight of all that are not in S. That sums over 2^m subsets, so m is small; every
term is positive, and W is a sum, never a difference: nothing cancels.

A draw is a function of a seed: SHA-256 of it and of a candidate's id is a number in (0, 1).
"""

import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptrank.basics.arrays import Floats

FURTHEST = 30.0
"""Log-weights further below the highest than this count as that far: no weight is ever 0."""


def uniform(*seed: str) -> float:
    """A number in (0, 1), evenly spread over seeds and the same everywhere."""
    text = json.dumps(seed).encode()
    number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 11  # 53 bits
    return (number + 0.5) / (1 << 53)


def shuffled(names: Sequence[str], epsilon: float, seed: Sequence[str]) -> list[str]:
    """All names, in any order alike with probability ``epsilon``, else as they are."""
    if uniform(*seed, "shuffle") >= epsilon:
        return list(names)
    return sorted(names, key=lambda name: uniform(*seed, "place", name))


def shuffled_places(count: int, epsilon: float) -> Floats:
    """(candidates, places) probabilities of `shuffled`."""
    return epsilon / count + (1 - epsilon) * np.eye(count)


def log_weights(scores: Sequence[float], temperature: float) -> Floats:
    """(candidates,) natural logs of weights, 0 for the highest, never below -`FURTHEST`."""
    highest = max(scores)
    return np.array([max((score - highest) / temperature, -FURTHEST) for score in scores])


def drawn(names: Sequence[str], logs: Floats, seed: Sequence[str]) -> list[str]:
    """All names in a Plackett-Luce order: exponential clocks of these rates, as they ring."""
    rings = {
        name: math.log(-math.log(uniform(*seed, "place", name))) - float(log)
        for name, log in zip(names, logs, strict=True)
    }
    return sorted(names, key=lambda name: rings[name])


def drawn_places(logs: Floats) -> Floats:
    """(candidates, places) probabilities of `drawn`, in time and memory of 2^candidates."""
    count = len(logs)
    weights = np.exp(logs)
    masks, sizes = _subsets(count)
    outside = ((masks[:, None] >> np.arange(count)) & 1 == 0) @ weights  # W(S) of every subset
    chance = np.zeros(1 << count)
    chance[0] = 1.0
    places = np.zeros((count, count))
    for size in range(count):
        layer = masks[sizes == size]
        each = chance[layer] / outside[layer]
        for c in range(count):
            without = (layer >> c) & 1 == 0
            step = each[without] * weights[c]
            places[c, size] = step.sum()
            chance[layer[without] | (1 << c)] += step
    return places


@cache
def _subsets(count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    masks = np.arange(1 << count)
    return masks, np.array([int(mask).bit_count() for mask in masks])
