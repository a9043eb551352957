"""An edit beside the saved version: what both reached, what it takes to be sure, and where."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.basics.plurals import counted
from promptrank.evaluation.bootstrap import DRAWS
from promptrank.evaluation.compare import compare
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.labelled import label_rows
from promptrank.evaluation.measure import Rows, Sums, measure, rank_rows
from promptrank.evaluation.metrics import Metric, parse_metrics
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Difference
from promptrank.evaluation.verdict import lead_over, verdict_of
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores

SAVED, EDIT = "saved", "edit"
Filter = Literal["all", "different", "worse", "better"]
FILTERS: tuple[Filter, ...] = ("all", "different", "worse", "better")
_OF_A_LIST = "ndcg@10"


def report_of_edit(
    task: Task,
    requests: Iterable[Request],
    scores: Mapping[str, Scores],
    *,
    draws: int = DRAWS,
    reference: str = SAVED,
    judged: str = EDIT,
) -> Report:
    """The comparison of two, by the lines of `promptrank eval`: same seed, draws and intervals.

    Args:
        task: whose metrics and labels count.
        scores: those of ``reference`` and ``judged``.

    Raises:
        DataError: no candidate is labelled, or none is scored by both.
    """
    report = compare(task, requests, scores, reference=reference, judged=judged, draws=draws)
    return replace(report, verdict=verdict_of(report, [reference]))


@dataclass(frozen=True, slots=True)
class Certainty:
    """What is known of the difference, in plain words.

    Attributes:
        side: ``better`` or ``worse`` where the interval leaves out 0, else None.
        sentence: what the difference is, and whether chance explains it.
        needed: what it would take to be sure; empty where it is.
    """

    side: str | None
    sentence: str
    needed: str = ""


def certainty(report: Report, held: int | None = None) -> Certainty:
    """How sure the first metric that has a value makes one of an edit.

    Args:
        held: requests that there are to rank in all; None where nobody knows.
    """
    verdict = report.verdict
    if verdict is None or verdict.metric is None:
        why = verdict.text if verdict is not None else "nothing could be measured"
        return Certainty(None, f"{why[:1].upper()}{why[1:]}.")
    metric, other = verdict.metric, report.reference
    lead = lead_over(report, report, other, metric)
    if lead is None or lead.ends is None:
        return Certainty(None, f"There is no interval for {metric} yet: too few subjects.")
    if not lead.value and lead.ends == (0.0, 0.0):
        return Certainty(None, f"{metric} is exactly that of the {other} version: no draw differs.")
    low, high = (number(end, "+") for end in lead.ends)
    where = "above" if lead.value > 0 else "below"
    gap = f"{metric} is {number(abs(lead.value))} {where} the {other} version"
    if not lead.value:
        gap = f"{metric} is that of the {other} version"
    if lead.verdict is not None:
        return Certainty(lead.verdict, f"{gap}, and the interval ({low} to {high}) leaves out 0.")
    sentence = f"{gap}, within what chance does: the interval is {low} to {high}."
    return Certainty(None, sentence, _needed(report, lead, held))


def _needed(report: Report, lead: Difference, held: int | None) -> str:
    counts, verdict = report.counts, report.verdict
    assert verdict is not None
    if lead.detectable is None:
        return ""
    subjects = (
        "" if counts.subjects == counts.requests else f" of {counted(counts.subjects, 'subject')}"
    )
    could = (
        f"With {counted(counts.requests, 'request')}{subjects}, a difference of "
        f"{number(lead.detectable)} or more would be seen four times in five."
    )
    if verdict.more_requests is None:
        return f"{could} One as small as this takes far more requests than are worth ranking."
    of = ""
    if verdict.more_subjects is not None and verdict.more_subjects != verdict.more_requests:
        of = f" of {counted(verdict.more_subjects, 'more subject')}"
    enough = ""
    if held is not None and counts.requests + verdict.more_requests > held:
        enough = f" There are not so many: {counted(held, 'request')} in all."
    return (
        f"{could} If the true difference is as large as the one seen, about "
        f"{counted(verdict.more_requests, 'more request')}{of} would show it.{enough}"
    )


@dataclass(frozen=True, slots=True)
class RequestChange:
    """One request under both versions.

    Attributes:
        before, after: the metric of this request alone, by the saved version and by the edit; None
            where it is undefined, such as without labels.
        moved: candidates that stand at another place.
        first_moved: whether another candidate stands first.
    """

    request_id: str
    subject_id: str
    before: float | None
    after: float | None
    moved: int
    first_moved: bool

    @property
    def gain(self) -> float | None:
        """What the edit gains; below 0 where it is worse."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    def passes(self, which: Filter) -> bool:
        """Whether a filter lets it through."""
        gain = self.gain or 0.0
        return {
            "all": True,
            "different": self.moved > 0,
            "worse": gain < 0,
            "better": gain > 0,
        }[which]


def metric_of_a_request(task: Task) -> Metric:
    """The first of the task's metrics that one request has a value of, else NDCG@10."""
    for metric in parse_metrics([*task.metrics, _OF_A_LIST]):
        if metric.kind.unit == "requests" and not metric.needs_probability:
            return metric
    raise AssertionError("ndcg@10 is one")


def changes_of(
    task: Task, requests: Sequence[Request], saved: Scores, edit: Scores
) -> list[RequestChange]:
    """Every request that both have ranked, the largest regression first.

    Those without a value come last, those before in which more candidates have moved.
    """
    metric = metric_of_a_request(task)
    before, after = _by_request(task, requests, saved, edit, metric)
    changes = []
    for request in requests:
        keys = [(request.request_id, c.candidate_id) for c in request.candidates]
        old, new = (each.at("rank", each.rows(keys)) for each in (saved, edit))
        if np.isnan(old).all() or np.isnan(new).all():
            continue
        name = request.request_id
        # A candidate that one of them could not score has moved: NaN equals nothing.
        apart = ~((old == new) | (np.isnan(old) & np.isnan(new)))
        changes.append(
            RequestChange(
                name,
                request.subject.subject_id,
                before.get(name),
                after.get(name),
                int(apart.sum()),
                bool(apart[(old == 1) | (new == 1)].any()),
            )
        )
    return sorted(changes, key=lambda c: (c.gain is None, c.gain or 0.0, -c.moved, c.request_id))


def _by_request(
    task: Task, requests: Sequence[Request], saved: Scores, edit: Scores, metric: Metric
) -> tuple[dict[str, float], dict[str, float]]:
    """The metric of each request alone, on the candidates that both score."""
    gain, relevant_at = gain_of(task)
    if not any(gain(c) is not None for request in requests for c in request.candidates):
        return {}, {}
    both = {SAVED: saved, EDIT: edit}
    labelled = label_rows(requests, both, gain_of=gain, relevant_at=relevant_at)
    keep = ~np.isnan(labelled.scores[SAVED]) & ~np.isnan(labelled.scores[EDIT])
    if not keep.any():
        return {}, {}
    codes, request = np.unique(labelled.request[keep], return_inverse=True)
    # Every request is a subject of its own, so that what a subject adds is the request's value.
    rows = Rows(
        request,
        request,
        labelled.gain[keep],
        labelled.relevant[keep],
        labelled.weight[keep],
        len(codes),
        len(codes),
    )
    names = [labelled.request_ids[code] for code in codes]
    return _values(metric, rows, labelled.scores[SAVED][keep], names), _values(
        metric, rows, labelled.scores[EDIT][keep], names
    )


def _values(metric: Metric, rows: Rows, score: Floats, names: Sequence[str]) -> dict[str, float]:
    estimate = measure(metric, rows, score, rank_rows(rows.request, score)).estimate
    if estimate is None:
        return {}
    assert isinstance(estimate, Sums), "metrics of one list are sums over requests"
    values = estimate.finish(estimate.columns)
    return {n: float(v) for n, v in zip(names, values, strict=True) if not np.isnan(v)}
