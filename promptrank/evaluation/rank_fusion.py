"""Reciprocal rank fusion: two rankers as one, by their ranks alone."""

from collections.abc import Collection, Sequence

import numpy as np

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of

K = 60
"""Cormack, Clarke and Buettcher 2009: how little the first places count for more than the next."""


def check_form(name: str) -> list[str]:
    """The names in ``decoder+bm25``.

    Raises:
        InputError: fewer than two, or one twice.
    """
    parts = name.split("+")
    if len(parts) < 2 or len(set(parts)) < len(parts):
        raise InputError(f"rrf:{name}: write two rankers or more, each once, as rrf:decoder+bm25")
    return parts


def parts_of(name: str, rankers: Collection[str]) -> list[str]:
    """The rankers of ``decoder+bm25``, two or more of those that are compared.

    Raises:
        InputError: fewer, one twice, or one that is not compared.
    """
    parts = check_form(name)
    for part in parts:
        if part not in rankers:
            raise InputError(f"rrf:{name}: no ranker {part!r} is compared; {near(part, rankers)}")
    return parts


def reciprocal_ranks(parts: Sequence[Scores], name: str) -> Scores:
    """Sum of 1 / (60 + rank) over rankers, ranks within a request, 1 is best.

    Candidates that some ranker has no score for have none here, and count in no rank. Equal scores
    share the mean of their ranks, so that a ranker that says nothing changes no order.
    """
    from scipy.stats import rankdata

    keys = [key for key in parts[0].keys if all(key in part.index for part in parts[1:])]
    values = np.column_stack([part.at("score", part.rows(keys)) for part in parts])
    fused: list[float | None] = [None] * len(keys)
    by_request: dict[str, list[int]] = {}
    for row in np.flatnonzero(~np.isnan(values).any(axis=1)):
        by_request.setdefault(keys[row][0], []).append(int(row))
    for rows in by_request.values():
        ranks = rankdata(-values[rows], axis=0)
        for row, score in zip(rows, (1 / (K + ranks)).sum(axis=1), strict=True):
            fused[row] = float(score)
    return scores_of(keys, fused, None, Origin(name))
