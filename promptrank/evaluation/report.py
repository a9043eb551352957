"""The report of an evaluation: numbers with provenance, kept as JSON."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.files import write_text
from promptrank.evaluation.off_policy_rows import OffPolicy
from promptrank.evaluation.seen import Seen

if TYPE_CHECKING:  # it computes with scipy, and a report is only read in many places
    from promptrank.evaluation.agreement import Agreement


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
        verdict: ``better`` or ``worse`` than the reference where the interval excludes 0 (for
            ``log_loss`` and ``ece`` less is better), else None.
    """

    value: float
    low: float | None
    high: float | None
    verdict: str | None


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
class RankerRow:
    """One ranker's row.

    Attributes:
        unscored: labelled candidates it has no score for.
        cells: by metric name.
        differences: by metric name, to the reference; empty for the reference itself.
        origin: where its scores come from.
        agreement: with the reference's own answers, where that was asked for.
        cost: what it costs to serve, where that was measured.
        kept: a student's share of its teacher's lift over the best baseline, on the first metric;
            None for others, and where the teacher does not beat the best baseline.
    """

    name: str
    unscored: int
    cells: Mapping[str, Cell]
    differences: Mapping[str, Difference] = field(default_factory=dict)
    origin: Mapping[str, Any] = field(default_factory=dict)
    agreement: "Agreement | None" = None
    cost: Cost | None = None
    kept: float | None = None


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

    def ranker(self, name: str) -> RankerRow:
        """The row of a ranker."""
        return next(row for row in self.rankers if row.name == name)

    def to_json(self) -> str:
        """The whole report; a number that is undefined is null."""
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False, allow_nan=False)


def write_report(report: Report, path: Path) -> None:
    """Write a report as JSON."""
    write_text(path, report.to_json() + "\n")
