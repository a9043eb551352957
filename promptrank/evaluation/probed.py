"""What probes show: a ranker with one thing changed, measured beside itself.

The machinery is that of `promptrank.evaluation.compare`: the candidates that both score, the same
draws of whole subjects for both, differences within a draw. But a probe is no ranker that could
ship, so it stands in no table of rankers and in no family of corrected differences.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from promptrank.basics.arrays import Flags, Floats
from promptrank.evaluation.bootstrap import DRAWS
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.labelled import Labelled, label_rows
from promptrank.evaluation.measured_rankers import MIN_SCORED, draw_all, measure_rankers
from promptrank.evaluation.orders import order_agreements
from promptrank.evaluation.probe_rows import ProbeRow
from promptrank.evaluation.probed_subjects import subject_changes
from promptrank.evaluation.report_cells import cell_of, differences_of
from promptrank.evaluation.sampled import metrics_over
from promptrank.evaluation.survival import CHANCE, survival_of
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores


@dataclass(frozen=True, slots=True)
class EditedScores:
    """A ranker's scores with one edit.

    Attributes:
        row: what is known of the edit before anything is measured.
        scores: None where there is nothing to measure, and then ``row.reason`` says why.
    """

    row: ProbeRow
    scores: Scores | None = None


def probe_rows(
    task: Task,
    requests: Iterable[Request],
    reference: str,
    plain: Scores,
    edited: Sequence[EditedScores],
    *,
    metrics: Sequence[str] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[ProbeRow, ...]:
    """The rows of probes, in their order; edits of one probe are measured on the same candidates.

    An edit with which less than half of the labelled candidates have a score is not measured, and
    its reason says so.

    Args:
        reference: the ranker's name.
        plain: its scores without any edit.
        edited: its scores with each edit, whose names are unique.
        metrics: names; the task's where left out.
    """
    gain, relevant_at = gain_of(task)
    made: dict[str, ProbeRow] = {each.row.name: each.row for each in edited}
    for probe in dict.fromkeys(each.row.probe for each in edited):
        mine = [each for each in edited if each.row.probe == probe]
        scores = {each.row.name: each.scores for each in mine if each.scores is not None}
        if scores:
            every = {reference: plain, **scores}
            labelled = label_rows(requests, every, gain_of=gain, relevant_at=relevant_at)
            rows = {name: made[name] for name in scores}
            made |= measured_probe(labelled, reference, rows, metrics or task.metrics, draws, seed)
    return tuple(made.values())


def measured_probe(
    labelled: Labelled,
    reference: str,
    rows: Mapping[str, ProbeRow],
    metrics: Sequence[str],
    draws: int,
    seed: int,
) -> dict[str, ProbeRow]:
    """The rows of one probe's edits, measured; the part that needs neither task nor requests."""
    absent = {name: np.isnan(labelled.scores[name]) for name in (reference, *rows)}
    told = {name: replace(row, unscored=int(absent[name].sum())) for name, row in rows.items()}
    names = [reference]
    for name, row in told.items():
        scored = len(labelled) - row.unscored
        if scored and scored >= MIN_SCORED * len(labelled):
            names.append(name)
        else:
            why = f"only {scored:,} of {len(labelled):,} labelled candidates have a score with it"
            told[name] = replace(row, reason=why)
    keep = ~np.any([absent[name] for name in names], axis=0)
    if not keep.any():
        return told
    shown = names if reference == CHANCE else [*names, CHANCE]
    chance = {CHANCE: np.zeros(len(labelled))} if reference != CHANCE else {}
    labelled = replace(labelled, scores={**labelled.scores, **chance})
    parsed = metrics_over(metrics, labelled.sampling)
    made = measure_rankers(labelled, keep, shown, parsed, reference)
    values, drawn = draw_all(made.measured, made.rows.num_subjects, draws, seed)
    orders = order_agreements(names, reference, made.measured, values, drawn)
    beside = {each.name: each for each in orders if each.against == reference}
    ids = [labelled.subject_ids[code] for code in np.unique(labelled.subject[keep])]
    own = labelled.scores[reference][keep]
    for name in names[1:]:
        cells = {m.name: cell_of(m, name, made.measured, values, drawn) for m in parsed}
        if rows[name].plain:
            told[name] = replace(told[name], cells=cells)
            continue
        (gaps,) = differences_of(parsed, [(name, reference)], made.measured, values, drawn)
        survival = None
        if reference != CHANCE:
            survival = survival_of(parsed, name, reference, values, drawn)
        moved = np.abs(labelled.scores[name][keep] - own)
        told[name] = replace(
            told[name],
            cells=cells,
            differences=gaps,
            survival=survival,
            score_change=float(moved.mean()),
            largest_change=float(moved.max()),
            probability_change=_chance_moved(labelled, keep, name, reference),
            order=beside[name],
            subjects=subject_changes(parsed, made.rows, ids, own, labelled.scores[name][keep]),
        )
    return told


def _chance_moved(labelled: Labelled, keep: Flags, name: str, reference: str) -> float | None:
    """Mean absolute change of P(relevant), where both offer it."""
    offered = labelled.probabilities
    if name not in offered or reference not in offered:
        return None
    moved: Floats = np.abs(offered[name][keep] - offered[reference][keep])
    return None if np.isnan(moved).all() else float(np.nanmean(moved))
