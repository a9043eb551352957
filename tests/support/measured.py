"""Small labelled data for the tests of evaluation."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from promptrank.baselines.baseline_fit import baseline_scores
from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import value_of
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.measure import Measured, Rows, measure, measure_probability, rank_rows
from promptrank.evaluation.metrics import parse_metrics
from promptrank.ranking.values import RankValues
from promptrank.records import Request
from promptrank.scores.scores import Scores


def rows_of(
    gain: Sequence[float],
    request: Sequence[int] | None = None,
    subject: Sequence[int] | None = None,
    weight: Sequence[float] | None = None,
    relevant_at: float = 1.0,
) -> Rows:
    """Rows of one request and one subject, unless said otherwise."""
    size = len(gain)
    requests = np.array(request if request is not None else [0] * size, dtype=np.int64)
    subjects = np.array(subject, dtype=np.int64) if subject is not None else requests
    return Rows(
        requests,
        subjects,
        np.array(gain, dtype=np.float64),
        np.array(gain) >= relevant_at,
        np.array(weight if weight is not None else [1.0] * size, dtype=np.float64),
        int(requests.max()) + 1,
        int(subjects.max()) + 1,
    )


def measured(name: str, rows: Rows, score: Sequence[float] | Floats) -> Measured:
    """A metric of one ranker; its scores stand for probabilities where those are needed."""
    (metric,) = parse_metrics([name])
    values = np.array(score, dtype=np.float64)
    if metric.needs_probability:
        return measure_probability(metric, rows, values)
    return measure(metric, rows, values, rank_rows(rows.request, values))


def value(name: str, rows: Rows, score: Sequence[float] | Floats) -> float:
    """The metric's number; an AssertionError where it is undefined."""
    reduced = measured(name, rows, score)
    assert reduced.estimate is not None, reduced.reason
    if reduced.value is not None:
        return reduced.value
    return value_of(reduced.estimate, rows.num_subjects)


def labelled_of(
    rows: Rows,
    scores: Mapping[str, Sequence[float] | Floats],
    probabilities: Mapping[str, Sequence[float] | Floats] | None = None,
) -> Labelled:
    """The same rows as `Labelled`."""
    return Labelled(
        rows.request,
        rows.subject,
        [f"r{i}" for i in range(rows.num_requests)],
        [f"s{i}" for i in range(rows.num_subjects)],
        rows.gain,
        rows.relevant,
        rows.weight,
        {name: np.array(given, dtype=np.float64) for name, given in scores.items()},
        {name: np.array(given, dtype=np.float64) for name, given in (probabilities or {}).items()},
    )


def scores_by(requests: Iterable[Request], rankers: Mapping[str, RankValues]) -> dict[str, Scores]:
    """What cheap rankers say of requests."""
    return baseline_scores(requests, rankers)


def simulated(
    subjects: int, per_subject: int, generator: np.random.Generator, noise: float = 1.0
) -> tuple[Rows, Floats]:
    """Labels and scores that share a subject effect, so that rows are not independent."""
    owner = np.repeat(np.arange(subjects), per_subject)
    truth = generator.normal(size=len(owner)) + generator.normal(size=subjects)[owner]
    relevant = truth + generator.normal(size=len(owner)) > 0
    # The ranker errs for whole subjects, so that its rows are far from independent.
    score = (
        truth + noise * generator.normal(size=len(owner)) + generator.normal(size=subjects)[owner]
    )
    rows = Rows(
        owner,
        owner,
        relevant.astype(np.float64),
        relevant,
        np.ones(len(owner)),
        subjects,
        subjects,
    )
    return rows, score
