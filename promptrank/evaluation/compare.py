"""Rankers compared on the same rows, with intervals and paired differences."""

import difflib
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.errors import DataError
from promptrank.evaluation.bootstrap import DRAWS, LEVEL, Interval, bootstrap, interval, value_of
from promptrank.evaluation.judged import Judged
from promptrank.evaluation.measure import (
    Estimate,
    Measured,
    Rows,
    measure,
    measure_probability,
    rank_rows,
)
from promptrank.evaluation.metrics import Metric, parse_metrics
from promptrank.evaluation.report import Cell, Counts, Difference, Pair, RankerResult, Report

logger = logging.getLogger(__name__)

FEW_SUBJECTS = 30
MIN_SCORED = 0.5

Key = tuple[str, str]  # ranker, metric


def evaluate(
    judged: Judged,
    metrics: Sequence[str],
    *,
    reference: str,
    draws: int = DRAWS,
    seed: int = 0,
    min_scored: float = MIN_SCORED,
    pairs: Sequence[tuple[str, str]] = (),
) -> Report:
    """Every ranker and metric on the rows that all rankers score, with intervals.

    A ranker that scores less than ``min_scored`` of the labelled candidates is set aside with a
    reason, so that it does not take the rows from the others; the reference never is.
    ``log_loss`` and ``ece`` use the rows on which every ranker that offers probabilities has one.
    Of each of ``pairs`` the first ranker's metrics minus the second's are given as well.
    What the arrays cannot know (seen, cuts, errors, provenance) is added with
    `dataclasses.replace`.
    """
    parsed = parse_metrics(metrics)
    scored = {name: int((~np.isnan(values)).sum()) for name, values in judged.scores.items()}
    absent = _absent(judged, scored, reference, min_scored)
    names = [name for name in judged.scores if name not in absent]
    keep = np.ones(len(judged), dtype=np.bool_)
    for name in names:
        keep &= ~np.isnan(judged.scores[name])
    if not keep.any():
        each = ", ".join(f"{name} {scored[name]}" for name in names)
        raise DataError(f"no candidate is scored by all rankers (scored: {each}); leave one out")
    rows = _rows(judged, keep)
    measured = _measure_all(judged, keep, rows, names, parsed)
    values, drawn = _draw(measured, rows.num_subjects, draws, seed)
    results = tuple(
        RankerResult(
            name,
            len(judged) - scored[name],
            {m.name: _cell(m, name, measured, values, drawn) for m in parsed},
            _differences(parsed, name, reference, values, drawn) if name != reference else {},
        )
        for name in [reference, *(name for name in names if name != reference)]
    )
    counts = _counts(judged, keep, rows)
    gaps = tuple(
        Pair(name, against, _differences(parsed, name, against, values, drawn))
        for name, against in pairs
        if name in names and against in names
    )
    return Report(
        reference,
        tuple(metric.name for metric in parsed),
        draws,
        seed,
        LEVEL,
        counts,
        results,
        absent,
        notes=_notes(counts),
        pairs=gaps,
    )


def _absent(
    judged: Judged, scored: Mapping[str, int], reference: str, min_scored: float
) -> dict[str, str]:
    if reference not in scored:
        near = difflib.get_close_matches(reference, scored, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(scored)}"
        raise DataError(f"reference '{reference}' is not among the rankers; {hint}")
    if not scored[reference]:
        raise DataError(
            f"'{reference}' scored none of {len(judged)} labelled candidates; see the errors file"
        )
    absent = {}
    for name, count in scored.items():
        if name != reference and (not count or count < min_scored * len(judged)):
            share = f"{count} of {len(judged)}" if count else "none"
            absent[name] = f"scores {share} of the labelled candidates"
            logger.info("%s is not compared: it %s", name, absent[name])
    return absent


def _rows(judged: Judged, keep: Flags) -> Rows:
    requests, request = np.unique(judged.request[keep], return_inverse=True)
    subjects, subject = np.unique(judged.subject[keep], return_inverse=True)
    return Rows(
        request,
        subject,
        judged.gain[keep],
        judged.relevant[keep],
        judged.weight[keep],
        len(requests),
        len(subjects),
    )


def _measure_all(
    judged: Judged, keep: Flags, rows: Rows, names: Sequence[str], metrics: Sequence[Metric]
) -> dict[Key, Measured]:
    chances = {
        name: judged.probabilities[name][keep] for name in names if name in judged.probabilities
    }
    chances = {
        name: values
        for name, values in chances.items()
        if np.isnan(values).mean() <= 1 - MIN_SCORED
    }
    sure = np.ones(len(rows.gain), dtype=np.bool_)
    for values in chances.values():
        sure &= ~np.isnan(values)
    sure_rows = rows.take(sure)
    measured = {}
    for name in names:
        score = judged.scores[name][keep]
        ranked = rank_rows(rows.request, score)
        chance = chances[name][sure] if name in chances and sure.any() else None
        for metric in metrics:
            measured[name, metric.name] = (
                measure_probability(metric, sure_rows, chance)
                if metric.needs_probability
                else measure(metric, rows, score, ranked)
            )
    return measured


def _draw(
    measured: Mapping[Key, Measured], num_subjects: int, draws: int, seed: int
) -> tuple[dict[Key, float], dict[Key, Floats]]:
    estimates: dict[Key, Estimate] = {
        key: one.estimate for key, one in measured.items() if one.estimate is not None
    }
    values = {key: value_of(estimate, num_subjects) for key, estimate in estimates.items()}
    estimates = {key: one for key, one in estimates.items() if not np.isnan(values[key])}
    if num_subjects < 2 or not draws or not estimates:
        return values, {}
    table = bootstrap(list(estimates.values()), num_subjects, draws, seed)
    return values, {key: table[:, i] for i, key in enumerate(estimates)}


def _cell(
    metric: Metric,
    name: str,
    measured: Mapping[Key, Measured],
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> Cell:
    key = name, metric.name
    one = measured[key]
    value = values.get(key, np.nan)
    if np.isnan(value):
        reason = one.reason or "the rows it needs have weight 0"
        return Cell(None, None, None, reason, one.unit, one.used, one.left_out)
    found = _interval(metric, value, drawn.get(key))
    if isinstance(found, str):
        return Cell(value, None, None, found, one.unit, one.used, one.left_out)
    low = max(0.0, found.low)
    return Cell(value, low, found.high, None, one.unit, one.used, one.left_out)


def _interval(metric: Metric, value: float, draws: Floats | None) -> Interval | str:
    if draws is None:
        return "no interval: one subject, or no draws"
    found = interval(draws, mirror=value if metric.base == "ece" else None)
    return found or "no interval: undefined in too many draws; there are too few subjects"


def _differences(
    metrics: Sequence[Metric],
    name: str,
    against: str,
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> dict[str, Difference]:
    found = {m.name: _difference(m, name, against, values, drawn) for m in metrics}
    return {metric: one for metric, one in found.items() if one is not None}


def _difference(
    metric: Metric,
    name: str,
    reference: str,
    values: Mapping[Key, float],
    drawn: Mapping[Key, Floats],
) -> Difference | None:
    ours, theirs = (name, metric.name), (reference, metric.name)
    value = values.get(ours, np.nan) - values.get(theirs, np.nan)
    if np.isnan(value):
        return None
    draws = drawn[ours] - drawn[theirs] if ours in drawn and theirs in drawn else None
    found = _interval(metric, value, draws)
    if isinstance(found, str):
        return Difference(value, None, None, None)
    verdict = None
    if found.excludes_zero:
        verdict = "better" if (found.low > 0) != metric.lower_is_better else "worse"
    return Difference(value, found.low, found.high, verdict)


def _counts(judged: Judged, keep: Flags, rows: Rows) -> Counts:
    compared = np.zeros(len(judged.request_ids), dtype=np.bool_)
    compared[judged.request[keep]] = True
    lost = np.zeros(len(judged.request_ids), dtype=np.bool_)
    lost[judged.request[~keep]] = True
    return Counts(
        rows.num_subjects,
        rows.num_requests,
        len(rows.gain),
        int(rows.relevant.sum()),
        judged.unlabelled,
        int((~keep).sum()),
        int((compared & lost).sum()),
    )


def _notes(counts: Counts) -> tuple[str, ...]:
    if counts.subjects >= FEW_SUBJECTS:
        return ()
    return (f"only {counts.subjects} subjects: intervals of so few tend to be too narrow",)
