"""The report of an evaluation: numbers with provenance, kept as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptrank.basics.files import write_text
from promptrank.evaluation.drift_rows import Drift
from promptrank.evaluation.example_requests import ExampleRequest
from promptrank.evaluation.off_policy_rows import OffPolicy
from promptrank.evaluation.preference_rows import Preferences
from promptrank.evaluation.probe_rows import ProbeRow
from promptrank.evaluation.report_rows import (
    Difference,
    OrderAgreement,
    Pair,
    RankerRow,
    Survival,
)
from promptrank.evaluation.seen import Seen


@dataclass(frozen=True, slots=True)
class Transfer:
    """What training with other tasks cost this one, or gave it.

    Attributes:
        name, against: the ranker whose adapter was trained on several tasks, and the one whose
            adapter was trained on this task alone.
        task, tasks: this one, and all that the first was trained on.
        differences: metric -> the first's minus the second's.
        worse: metrics on which the first is worse: negative transfer.
        caveats: in what else their training differs.
    """

    name: str
    against: str
    task: str
    tasks: tuple[str, ...]
    differences: Mapping[str, Difference]
    worse: tuple[str, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the judged ranker ships, in words.

    Attributes:
        outcome: ``ships``, ``does not ship`` or ``the data cannot tell``.
        text: the outcome and why, as one sentence.
        judged: the ranker that it is about.
        metric, beat: on which it is held against which rankers; requirements decide in place of
            these where some are given.
        more_subjects, more_requests: about how many more would show a difference of the size that
            was observed; None where the data can tell, or where nobody knows.
    """

    outcome: str
    text: str
    judged: str
    metric: str | None = None
    beat: tuple[str, ...] = ()
    more_subjects: int | None = None
    more_requests: int | None = None


@dataclass(frozen=True, slots=True)
class RequirementResult:
    """A requirement of the gate, and whether it holds.

    Attributes:
        text: as it was given: ``auc >= base + 0.01``.
        holds: None where it cannot be decided, and then ``reason`` says why.
        value: the judged ranker's metric.
        ranker: what it is compared with, by name (``baseline:best`` is one of them); None for a
            number.
        limit: what ``value`` is held against: the number, or the ranker's metric and the margin.
        low, high: interval of the difference to the ranker, corrected as in the report, or of the
            value where it is held against a number.
        short_by: what is missing, above 0; None where it holds.
        subjects: how many subjects it was measured on.
        metric, part: what was asked for, and in which slice, such as ``history=1-2``; None for the
            whole.
        comparison: ``>=``, ``<=``, ``>`` or ``<``.
        margin: what ``limit`` is above the ranker's metric; None for a number.
        clear: whether the interval decides.
    """

    text: str
    holds: bool | None
    reason: str | None = None
    value: float | None = None
    ranker: str | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    short_by: float | None = None
    subjects: int | None = None
    metric: str | None = None
    part: str | None = None
    comparison: str | None = None
    margin: float | None = None
    clear: bool = False


@dataclass(frozen=True, slots=True)
class Counts:
    """What was compared, and what could not be.

    Attributes:
        positives: relevant candidates.
        unlabelled: candidates of which nothing is known.
        left_out: labelled candidates that some ranker could not score; no ranker is judged on them.
        partial_requests: compared requests that lost a candidate that way.
    """

    subjects: int
    requests: int
    candidates: int
    positives: int
    unlabelled: int
    left_out: int
    partial_requests: int


@dataclass(frozen=True, slots=True)
class ReportSlice:
    """The same rankers on a part of the candidates.

    Attributes:
        by, name: the slicing, and which of its slices: ``history``, ``1-2``.
        rankers: as in the report, without origins.
        beside: the judged ranker's first metric here less the median of the other slices of the
            slicing (`promptrank.evaluation.slice_contrasts`), ``better`` or ``worse`` where clear
            of 0; None where there is no other slice, or too few subjects.
        promised: likewise of mean P(relevant) less the share that is relevant: above 0 where the
            judged ranker promises too much beside the other slices.
    """

    by: str
    name: str
    counts: Counts
    rankers: tuple[RankerRow, ...]
    beside: Difference | None = None
    promised: Difference | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """Numbers with provenance.

    Attributes:
        absent: rankers that are not compared, with the reason.
        cuts: what prompts lost, by name of the cut.
        errors: rows of the errors file, by reason.
        provenance: the verb, the task's configuration, versions; each ranker has its origin.
        pairs: further paired differences that were asked for.
        best_baseline: the one to beat, where students are compared.
        slices: the comparison again on each slice that has candidates.
        off_policy: what each ranker would have earned, where the log has propensities.
        survival: what the control with made-up texts left, where it was asked for.
        judged: the ranker that would ship; the reference where left out, ``fused`` in fused tasks.
        baselines: which of the rankers are baselines.
        verdict: whether the judged ranker ships, in words.
        requirements: of the gate, where some were given.
        examples: requests with every ranker's order, those first where rankers differ most.
        transfers: joint adapters beside those of this task alone, where both are compared.
        orders: every ranker's order beside the reference's, and beside the incoming one.
        drift: the first metric over time, where requests have times that span enough.
        probes: the reference with one thing changed, beside itself; no ranker to compare with.
        preferences: agreement with people who chose between two candidates, where some did.
    """

    reference: str
    metrics: tuple[str, ...]
    draws: int
    seed: int
    level: float
    counts: Counts
    rankers: tuple[RankerRow, ...]
    absent: Mapping[str, str] = field(default_factory=dict)
    seen: Seen | None = None
    cuts: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    pairs: tuple[Pair, ...] = ()
    best_baseline: str | None = None
    survival: Survival | None = None
    slices: tuple[ReportSlice, ...] = ()
    off_policy: OffPolicy | None = None
    judged: str | None = None
    baselines: tuple[str, ...] = ()
    verdict: Verdict | None = None
    requirements: tuple[RequirementResult, ...] = ()
    examples: tuple[ExampleRequest, ...] = ()
    orders: tuple[OrderAgreement, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    drift: Drift | None = None
    probes: tuple[ProbeRow, ...] = ()
    preferences: Preferences | None = None

    def ranker(self, name: str) -> RankerRow:
        """The row of a ranker."""
        return next(row for row in self.rankers if row.name == name)

    def to_json(self) -> str:
        """The whole report; a number that is undefined is null."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False)


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON."""
    write_text(path, report.to_json() + "\n")
