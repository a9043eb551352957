"""Every ranker's order beside the reference's and beside the order in which candidates came.

A ranker that reads its candidates as a list tends to copy the order in which they come; here a
score depends on its own candidate only, so agreement with the incoming order says what both know.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import interval_of
from promptrank.evaluation.measure import Measured, RankedRows, Rows, rank_rows
from promptrank.evaluation.measures.order_pairs import kendall_tau, top1
from promptrank.evaluation.report_rows import Cell, OrderAgreement

INCOMING = "incoming"
"""What the logged order is called: `promptrank.records.Candidate.position`."""

Key = tuple[str, str]  # ranker, and what is compared with what


def order_measures(
    rows: Rows, ranked: Mapping[str, RankedRows], reference: str, position: Floats | None
) -> dict[Key, Measured]:
    """Agreements to be drawn.

    Args:
        ranked: of every ranker.
        position: of the rows, 1 is first; NaN where it is not known, and then the request counts
            for no agreement with the incoming order.
    """
    others = {reference: ranked[reference]}
    usable = {reference: np.ones(rows.num_requests, dtype=np.bool_)}
    if position is not None:
        known = np.ones(rows.num_requests, dtype=np.bool_)
        known[rows.request[np.isnan(position)]] = False
        if known.any():
            others[INCOMING] = rank_rows(rows.request, -np.nan_to_num(position))
            usable[INCOMING] = known
    return {
        (name, f"{what} {against}"): function(rows, mine, theirs, usable[against])
        for name, mine in ranked.items()
        for against, theirs in others.items()
        if name != against
        for what, function in (("top1", top1), ("kendall_tau", kendall_tau))
    }


def order_agreements(
    names: Sequence[str],
    reference: str,
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> tuple[OrderAgreement, ...]:
    """Values and intervals, ranker by ranker."""
    return tuple(
        OrderAgreement(
            name,
            against,
            *(
                _cell((name, f"{what} {against}"), measured, values, drawn)
                for what in ("top1", "kendall_tau")
            ),
        )
        for against in (reference, INCOMING)
        for name in names
        if (name, f"top1 {against}") in measured
    )


def _cell(
    key: Key,
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> Cell:
    reduced, value = measured[key], values.get(key, np.nan)
    counts = reduced.unit, reduced.used, reduced.left_out
    if np.isnan(value):
        return Cell(None, None, None, reduced.reason or "all weights are 0", *counts)
    ends = interval_of(reduced.estimate, value, drawn.get(key, np.empty(0)))
    if ends is None:
        return Cell(value, None, None, "no interval: too few subjects, or no draws", *counts)
    return Cell(value, ends.low, ends.high, None, *counts)
