"""Off-policy estimates as a part of the report: what rankers that did not make a log would earn."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its interval; no ends where there are no draws, or only one subject."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """What one ranker's greedy order would have earned, in gain per request.

    Attributes:
        ips: inverse propensity scoring: unbiased, and the widest.
        snips: self-normalised: what the weights do not sum to is put right.
        dr: doubly robust; None where no reward model could be fitted.
        lift: ``dr`` (``snips`` where there is none) minus what the log itself earned, within draws;
            its interval is corrected for how many rankers there are.
        effective: effective sample size of the logged places, (sum of w)^2 / sum of w^2.
        matched: logged places that the ranker could have filled as the log did: weight above 0.
        mean_weight: 1 but for chance, where the propensities are those of the log.
        largest_weight: before any is clipped.
        clipped: weights that were above the clip.
    """

    name: str
    ips: Amount
    snips: Amount | None
    dr: Amount | None
    lift: Amount | None
    effective: float
    matched: int
    mean_weight: Amount
    largest_weight: float
    clipped: int


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """All rankers on one log.

    Attributes:
        logged: what the log itself earned, in gain per request.
        rankers: the reference first.
        places: logged places: candidates that were shown, with a propensity and a label.
        left_out: requests that lost a candidate, or of which some ranker lacks a score.
        clip: weights above it count as it, which biases every estimate; None for none.
        notes: what a reader should know before believing a row.
    """

    logged: Amount
    rankers: tuple[PolicyRow, ...]
    subjects: int
    requests: int
    places: int
    left_out: int
    clip: float | None
    notes: tuple[str, ...] = ()

    def ranker(self, name: str) -> PolicyRow:
        """The row of a ranker."""
        return next(row for row in self.rankers if row.name == name)
