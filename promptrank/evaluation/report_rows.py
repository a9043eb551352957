"""The rows of a report: what a ranker reached, and how it stands beside others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promptrank.evaluation.agreement import Agreement


@dataclass(frozen=True, slots=True)
class Cell:
    """One metric of one ranker.

    Attributes:
        value: None where undefined, and then ``reason`` says why.
        low, high: its interval; None where there is none, and then ``reason`` says why.
        unit: what it is a mean over: ``candidates``, ``subjects``, ``domains`` or ``requests``.
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
class Calibration:
    """What a ranker's probabilities say on the whole, and what happened.

    Attributes:
        predicted: mean P(relevant).
        observed: share that is relevant; both means are weighted.
        low, high: interval of ``predicted - observed``; None where there is none.
    """

    predicted: float
    observed: float
    low: float | None = None
    high: float | None = None

    @property
    def gap(self) -> float:
        """By how much it promises too much."""
        return self.predicted - self.observed


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
        calibration: mean P(relevant) beside what happened; None for rankers that offer none.
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
    calibration: Calibration | None = None


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
class OrderAgreement:
    """How alike a ranker's order is to another one, whatever the labels say.

    Attributes:
        against: the reference, or ``incoming``: the order in which a log showed the candidates.
        top1: share of requests in which both put the same candidate first.
        kendall_tau: Kendall's tau-a over a request's candidates, from -1 to 1; mean over requests.
    """

    name: str
    against: str
    top1: Cell
    kendall_tau: Cell


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
