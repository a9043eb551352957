"""The report of an evaluation: numbers with provenance, kept as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptrank.basics.files import write_text
from promptrank.evaluation.agreement import Agreement
from promptrank.evaluation.example_requests import ExampleRequest
from promptrank.evaluation.off_policy_rows import OffPolicy
from promptrank.evaluation.seen import Seen


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one ranker.

    Attributes:
        value: None where undefined, and then ``reason`` says why.
        low, high: its interval; None where there is none, and then ``reason`` says why.
        unit: what it is a mean over: ``candidates``, ``subjects`` or ``requests``.
        used, left_out: how many of them count, and for how many the metric is undefined.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None
    unit: str
    used: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A ranker's metric minus the reference's, draw by draw.

    Attributes:
        low, high: its own interval.
        verdict: ``better`` or ``worse`` than the reference where the corrected interval excludes 0
            (for ``log_loss`` and ``ece`` less is better), else None.
        adjusted_low, adjusted_high: its interval, corrected for how many rankers are compared
            (`promptrank.evaluation.simultaneous`).
        detectable: the smallest true difference that such data marks four times in five.
    """

    value: float
    low: float | None
    high: float | None
    verdict: str | None
    adjusted_low: float | None = None
    adjusted_high: float | None = None
    detectable: float | None = None

    @property
    def ends(self) -> tuple[float, float] | None:
        """The interval that the verdict goes by: corrected, or its own where nothing was."""
        if self.adjusted_low is not None and self.adjusted_high is not None:
            return self.adjusted_low, self.adjusted_high
        if self.low is not None and self.high is not None:
            return self.low, self.high
        return None

    @property
    def turned(self) -> "Difference":
        """The same two rankers the other way round."""

        def minus(end: float | None) -> float | None:
            return None if end is None else 0.0 - end  # never -0.0

        verdict = {"better": "worse", "worse": "better"}.get(self.verdict or "")
        return Difference(
            0.0 - self.value,
            minus(self.high),
            minus(self.low),
            verdict,
            minus(self.adjusted_high),
            minus(self.adjusted_low),
            self.detectable,
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a ranker costs to serve.

    Attributes:
        us_per_candidate: microseconds on one core.
        size: bytes on disk.
    """

    us_per_candidate: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """A group of candidates of like P(relevant): what was said and what happened.

    Attributes:
        predicted: mean P(relevant).
        observed: share of them that is relevant; both means are weighted.
        low, high: interval of ``observed``; None where there is none.
        rows: candidates.
    """

    predicted: float
    observed: float
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class RankerRow:
    """One ranker's row.

    Attributes:
        unscored: labelled candidates it has no score for.
        cells: by metric name.
        differences: by metric name, to the reference; empty for the reference itself.
        behind: by metric name, the judged ranker minus this one, where the judged one is not the
            reference; empty elsewhere.
        origin: where its scores come from.
        agreement: with the reference's own answers, where that was asked for.
        cost: what it costs to serve, where that was measured.
        kept: a student's share of its teacher's lift over the best baseline, on the first metric;
            None for others, and where the teacher does not beat the best baseline.
        reliability: bins by P(relevant), ascending; empty for rankers that offer none, and where
            no metric of probabilities is asked for.
    """

    name: str
    unscored: int
    cells: Mapping[str, Cell]
    differences: Mapping[str, Difference] = field(default_factory=dict)
    behind: Mapping[str, Difference] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    agreement: Agreement | None = None
    cost: Cost | None = None
    kept: float | None = None
    reliability: tuple[ReliabilityBin, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """One ranker's metrics minus another's, where neither is the reference.

    Attributes:
        differences: by metric name; ``verdict`` is about ``name``.
    """

    name: str
    against: str
    differences: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Survival:
    """How much of a ranker's lift over chance is left in the control with made-up texts.

    Attributes:
        name, against: the obscured ranker, and the same one as it is.
        metric: on which.
        share: (obscured - random) / (ranker - random); None where the ranker's own lift is not
            clear of 0, and then ``reason`` says so.
        low, high: its interval, from the same draws of subjects above and below the line.
    """

    name: str
    against: str
    metric: str
    share: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


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
    """

    by: str
    name: str
    counts: Counts
    rankers: tuple[RankerRow, ...]


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

    def ranker(self, name: str) -> RankerRow:
        """The row of a ranker."""
        return next(row for row in self.rankers if row.name == name)

    def to_json(self) -> str:
        """The whole report; a number that is undefined is null."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False)


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON."""
    write_text(path, report.to_json() + "\n")
