"""How often intervals hold the truth: every metric, on simulated data with few subjects.

    python bench/intervals.py [--subjects 60] [--sets 400] [--draws 1000] [--steep 1]
        [--metrics auc ...]

Each data set has so many subjects with a request of ten candidates; labels share an effect of their
subject, and so do the errors of rankers. ``exact`` says the probability that the labels were drawn
with, ``sure`` says odds twice as far from even. ``--steep 4`` makes labels easy to tell: metrics of
lists lie near 1 then, and fewer than one subject in 60 has no hit in three. The truth is the value
on 40,000 other subjects. A row is a metric: the truth, the mean of the values, how often the 95%
interval held the truth, and how often it lay wholly below or above it. Of 400 sets at 95 in 100,
the share seen lies between 92.9% and 97.1% in 95 of 100 cases. Differences are ``sure`` minus
``exact``. Last line: the least and the largest share, over all rows.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from _labelled import drawn, labelled_of

from promptrank.evaluation.compare import report_of
from promptrank.evaluation.labelled import Labelled
from promptrank.evaluation.report import Report

METRICS = (
    *("auc", "gauc", "wauc", "ndcg@5", "mrr", "map", "recall@3", "precision@3"),
    *("hit@1", "hit@2", "hit@3"),
)
CHANCES = ("log_loss", "brier", "ece")
CANDIDATES = 10

Name = tuple[str, str]  # of which ranker, what
Ends = tuple[float | None, float | None, float | None]  # value, low, high


@dataclass
class Tally:
    """What was seen of one metric."""

    values: float = 0.0
    inside: int = 0
    below: int = 0
    above: int = 0


def data(subjects: int, steep: float, generator: np.random.Generator) -> Labelled:
    """Labels and two rankers."""
    subject, truth, relevant = drawn(subjects, CANDIDATES, generator, shared=0.7, steep=steep)
    noise = generator.normal(size=len(truth)) + 0.5 * generator.normal(size=subjects)[subject]
    return labelled_of(subject, relevant, {"exact": truth, "sure": 2 * (truth + noise)}, domains=2)


def numbers(report: Report) -> Iterator[tuple[Name, Ends]]:
    """All values of a report with their ends."""
    for row in report.rankers:
        for metric, cell in row.cells.items():
            yield (row.name, metric), (cell.value, cell.low, cell.high)
        for metric, gap in row.differences.items():
            yield ("difference", metric), (gap.value, gap.low, gap.high)
    for order in report.orders:
        for metric, cell in (("top1", order.top1), ("kendall_tau", order.kendall_tau)):
            yield (f"to {order.against}", metric), (cell.value, cell.low, cell.high)


def main(given: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subjects", type=int, default=60)
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--steep", type=float, default=1.0)
    parser.add_argument("--metrics", nargs="+", default=[*METRICS, *CHANCES], help="fewer: faster")
    options = parser.parse_args(given)
    generator = np.random.default_rng(11)
    names = options.metrics
    whole = report_of(data(40_000, options.steep, generator), names, reference="exact", draws=0)
    truth = {name: ends[0] or 0.0 for name, ends in numbers(whole)}
    for metric in names:  # an ECE below 0 is shown as 0
        truth["difference", metric] = truth["sure", metric] - truth["exact", metric]
    seen = {name: Tally() for name in truth}
    for seed in range(options.sets):
        labelled = data(options.subjects, options.steep, generator)
        report = report_of(labelled, names, reference="exact", draws=options.draws, seed=seed)
        for name, (value, low, high) in numbers(report):
            real, tally = truth[name], seen[name]
            if value is None or low is None or high is None:
                continue
            tally.values += value
            tally.below += high < real
            tally.above += low > real
            tally.inside += low <= real <= high
    print(f"{'of':10} {'metric':12} {'truth':>7} {'mean':>7} {'held':>6} {'below':>6} {'above':>6}")
    shares = []
    for (who, metric), tally in seen.items():
        count = tally.inside + tally.below + tally.above
        if not count:
            continue
        share, mean = tally.inside / count, tally.values / count
        shares.append(share)
        print(
            f"{who:10} {metric:12} {truth[who, metric]:7.4f} {mean:7.4f} {share:6.1%} "
            f"{tally.below / count:6.1%} {tally.above / count:6.1%}"
        )
    print(f"least={min(shares):.3f} most={max(shares):.3f}")


if __name__ == "__main__":
    main()
