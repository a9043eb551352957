"""The one comparison: rankers' scores on the same candidates, with intervals and differences."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from promptrank.basics.arrays import Flags
from promptrank.basics.hints import near
from promptrank.basics.plurals import counted
from promptrank.errors import DataError
from promptrank.evaluation.agreement import agreement
from promptrank.evaluation.bootstrap import DRAWS, LEVEL
from promptrank.evaluation.drift import Stretches, drift_of
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.labelled import Labelled, label_rows
from promptrank.evaluation.measure import Rows
from promptrank.evaluation.measured_rankers import MIN_SCORED, draw_all, measure_rankers
from promptrank.evaluation.orders import order_agreements
from promptrank.evaluation.reliability import bins_of_ranker, calibration_of_ranker
from promptrank.evaluation.report import Counts, Report, ReportSlice
from promptrank.evaluation.report_cells import differences_of, ranker_rows
from promptrank.evaluation.report_rows import Pair, RankerRow
from promptrank.evaluation.sampled import metrics_over
from promptrank.evaluation.slice_contrasts import with_contrasts
from promptrank.evaluation.slices import Slicing
from promptrank.evaluation.survival import survival_of
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores

FEW_SUBJECTS = 30


def compare(
    task: Task,
    requests: Iterable[Request],
    scores: Mapping[str, Scores],
    *,
    metrics: Sequence[str] | None = None,
    reference: str | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    pairs: Sequence[tuple[str, str]] = (),
    control: tuple[str, str] | None = None,
    judged: str | None = None,
    slicings: Sequence[Slicing] = (),
    tolerances: Mapping[str, float] | None = None,
    times: Stretches | None = None,
) -> Report:
    """Every ranker and metric on the candidates that all rankers score, with intervals.

    A ranker that scores less than half of the labelled candidates is set aside with a reason, so
    that it does not take the rows from the others; the reference never is. ``log_loss`` and ``ece``
    use the rows on which every ranker that offers probabilities has one.

    Args:
        requests: what is compared on; their outcomes are the labels.
        scores: ranker -> its scores of these requests.
        metrics: names; the task's where left out. Without any, nothing is measured against labels.
        reference: the ranker that others are compared with; the first where left out.
        draws: bootstrap draws of whole subjects, for 95% intervals; 0 for none.
        pairs: of rankers; the first one's metrics minus the second's are given too.
        control: a ranker with made-up texts and the same one without: how much of its lift over
            ``random``, which must be there too, is left on the first metric.
        judged: the ranker that would ship, where that is not the reference: its differences to
            all others are given too.
        slicings: compare again on each slice, on the rows that all rankers score.
        tolerances: ranker -> how far the log-odds of its answers may be from the reference's.
        times: follow the first metric from stretch to stretch of these.

    Raises:
        DataError: no candidate is labelled, or none is scored by all rankers.
    """
    first = next(iter(scores)) if reference is None else reference
    names = list(task.metrics if metrics is None else metrics)
    if names:
        gain, relevant_at = gain_of(task)
        parted = [*slicings, times.slicing] if times is not None else slicings
        labelled = label_rows(
            requests, scores, gain_of=gain, relevant_at=relevant_at, slicings=parted
        )
        report = report_of(
            labelled,
            names,
            reference=first,
            draws=draws,
            seed=seed,
            pairs=pairs,
            control=control,
            judged=judged,
        )
        keep = _scored_by_all(labelled, report)
        slices = [*_slices(labelled, keep, report, names, slicings)]
        report = replace(
            report,
            slices=tuple(with_contrasts(labelled, keep, report, slices, slicings)),
            drift=drift_of(labelled, keep, report, times) if times is not None else None,
        )
    else:
        report = _unmeasured(list(requests), scores, first)
    rows = []
    for row in report.rankers:
        theirs, tolerance = scores[row.name], (tolerances or {}).get(row.name)
        agreed = None
        if tolerance is not None:
            agreed = agreement(task, scores[first], theirs, tolerance)
        rows.append(replace(row, origin=theirs.origin.as_dict(), agreement=agreed))
    return replace(report, rankers=tuple(rows))


def _unmeasured(
    requests: Sequence[Request], scores: Mapping[str, Scores], reference: str
) -> Report:
    """A report of rankers that are not measured against labels."""
    subjects = {request.subject.subject_id for request in requests}
    candidates = sum(len(request.candidates) for request in requests)
    counts = Counts(len(subjects), len(requests), candidates, 0, 0, 0, 0)
    rows = tuple(RankerRow(name, 0, {}) for name in scores)
    return Report(reference, (), 0, 0, LEVEL, counts, rows)


def report_of(
    labelled: Labelled,
    metrics: Sequence[str],
    *,
    reference: str,
    draws: int = DRAWS,
    seed: int = 0,
    min_scored: float = MIN_SCORED,
    pairs: Sequence[tuple[str, str]] = (),
    control: tuple[str, str] | None = None,
    judged: str | None = None,
    alone: bool = False,
) -> Report:
    """The report of labelled rows: the part of `compare` that needs neither task nor requests.

    ``alone`` leaves out reliability and orders, which slices do not show. What the arrays cannot
    know (seen, cuts, errors, provenance) is added with
    `dataclasses.replace`.
    """
    parsed = metrics_over(metrics, labelled.sampling)
    scored = {name: int((~np.isnan(values)).sum()) for name, values in labelled.scores.items()}
    absent = _absent(labelled, scored, reference, min_scored)
    names = [name for name in labelled.scores if name not in absent]
    keep = np.ones(len(labelled), dtype=np.bool_)
    for name in names:
        keep &= ~np.isnan(labelled.scores[name])
    if not keep.any():
        each = ", ".join(f"{name} {scored[name]}" for name in names)
        raise DataError(f"no candidate is scored by all rankers (scored: {each}); leave one out")
    made = measure_rankers(labelled, keep, names, parsed, reference, alone=alone)
    rows, measured = made.rows, made.measured
    values, drawn = draw_all(measured, rows.num_subjects, draws, seed)
    order = [reference, *(name for name in names if name != reference)]
    unscored = {name: len(labelled) - scored[name] for name in order}
    results = tuple(
        replace(
            row,
            reliability=bins_of_ranker(row.name, made.bins, values, drawn),
            calibration=calibration_of_ranker(row.name, values, drawn),
        )
        for row in ranker_rows(parsed, unscored, judged, measured, values, drawn)
    )
    counts = _counts(labelled, keep, rows)
    shown = [pair for pair in pairs if set(pair) <= set(names)]
    gaps = differences_of(parsed, shown, measured, values, drawn)
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
        pairs=tuple(Pair(*pair, each) for pair, each in zip(shown, gaps, strict=True)),
        survival=survival_of(parsed, *control, values, drawn) if control is not None else None,
        orders=order_agreements(order, reference, measured, values, drawn),
        judged=judged,
    )


def _scored_by_all(labelled: Labelled, report: Report) -> Flags:
    scored = np.ones(len(labelled), dtype=np.bool_)
    for row in report.rankers:
        scored &= ~np.isnan(labelled.scores[row.name])
    return scored


def _slices(
    labelled: Labelled,
    scored: Flags,
    report: Report,
    metrics: Sequence[str],
    slicings: Sequence[Slicing],
) -> Iterator[ReportSlice]:
    """Each slice that has rows, in its order; the rows of a slicing's slices are all rows."""
    rankers = [row.name for row in report.rankers]
    for slicing in slicings:
        for code, label in enumerate(slicing.labels):
            inside = scored & (labelled.slices[slicing.name] == code)
            if not labelled.weight[inside].any():  # no rows, or none that counts
                continue
            part = report_of(
                labelled.take(inside, rankers),
                metrics,
                reference=report.reference,
                draws=report.draws,
                seed=report.seed,
                judged=report.judged,
                alone=True,
            )
            yield ReportSlice(slicing.name, label, part.counts, part.rankers)


def _absent(
    labelled: Labelled, scored: Mapping[str, int], reference: str, min_scored: float
) -> dict[str, str]:
    if reference not in scored:
        hint = near(reference, scored)
        raise DataError(f"reference '{reference}' is not among the rankers; {hint}")
    if not scored[reference]:
        raise DataError(
            f"'{reference}' scored none of {len(labelled)} labelled candidates; see the errors file"
        )
    absent = {}
    for name, count in scored.items():
        if name != reference and (not count or count < min_scored * len(labelled)):
            absent[name] = f"scores none of the {len(labelled):,} labelled candidates"
            if count:
                absent[name] = (
                    f"scores {count:,} of the {len(labelled):,} labelled candidates "
                    f"({count / len(labelled):.0%}); with less than {min_scored:.0%} of them it "
                    "would take the rest from all others"
                )
    return absent


def _counts(labelled: Labelled, keep: Flags, rows: Rows) -> Counts:
    compared = np.zeros(len(labelled.request_ids), dtype=np.bool_)
    compared[labelled.request[keep]] = True
    lost = np.zeros(len(labelled.request_ids), dtype=np.bool_)
    lost[labelled.request[~keep]] = True
    return Counts(
        rows.num_subjects,
        rows.num_requests,
        len(rows.gain),
        int(rows.relevant.sum()),
        labelled.unlabelled,
        int((~keep).sum()),
        int((compared & lost).sum()),
    )


def _notes(counts: Counts) -> tuple[str, ...]:
    if counts.subjects >= FEW_SUBJECTS:
        return ()
    if counts.subjects == 1:
        return ("only 1 subject: there are no intervals, and nothing says how far chance goes",)
    few = counted(counts.subjects, "subject")
    return (f"only {few}: intervals of so few tend to be too narrow",)
