"""What a report tells of probes: the same ranker with one thing changed, beside itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from promptrank.evaluation.report_rows import Cell, Difference, OrderAgreement, Survival


@dataclass(frozen=True, slots=True)
class SubjectChange:
    """A subject whose own metric changed much.

    Attributes:
        change: the metric with the edit minus the metric without.
    """

    subject_id: str
    change: float


@dataclass(frozen=True, slots=True)
class SubjectChanges:
    """Whom an edit matters to: every subject's own metric with it and without.

    Attributes:
        metric: the report's first that a subject has for itself; ``gauc`` stands for ``auc``.
        subjects: how many have it.
        worse, better: shares of them whose metric is worse, or better, with the edit.
        most: those that lose most, then (if there is room) those that gain most.
    """

    metric: str
    subjects: int
    worse: float
    better: float
    most: tuple[SubjectChange, ...]


@dataclass(frozen=True, slots=True)
class ProbeRow:
    """A ranker with one edit beside the same ranker without it, on the same candidates.

    Its intervals are its own: probes are no rankers that could ship, so that they are corrected
    neither for each other nor for the comparison.

    Attributes:
        probe: as it was asked for: ``sections``.
        name: of the edit: ``sections:history``.
        change: what was changed, in words.
        requests, changed: of so many requests, how many prompts (or requests, where none is
            written) the edit changed.
        reason: why nothing was measured: the edit changes no prompt, or cannot be made here.
        plain: this is the ranking itself: the end of a curve.
        unmoved: no score may move.
        cells: metric -> its value with the edit.
        differences: metric -> with the edit minus without, paired.
        survival: the share of the lift over chance that is left.
        score_change, largest_change: mean and largest absolute change of a score.
        probability_change: mean absolute change of P(relevant), where the ranker offers it.
        order: how alike the order is to the one without the edit.
        unscored: labelled candidates that have no score with the edit.
        subjects: whom it matters to.
    """

    probe: str
    name: str
    change: str
    requests: int = 0
    changed: int = 0
    reason: str | None = None
    plain: bool = False
    unmoved: bool = False
    cells: Mapping[str, Cell] = field(default_factory=dict)
    differences: Mapping[str, Difference] = field(default_factory=dict)
    survival: Survival | None = None
    score_change: float | None = None
    largest_change: float | None = None
    probability_change: float | None = None
    order: OrderAgreement | None = None
    unscored: int = 0
    subjects: SubjectChanges | None = None
