"""Simulated labelled candidates, for benchmarks of evaluation."""

from collections.abc import Mapping

import numpy as np

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.evaluation.labelled import Labelled


def drawn(
    subjects: int,
    candidates: int,
    generator: np.random.Generator,
    *,
    shared: float,
    steep: float = 1.0,
) -> tuple[Codes, Floats, Flags]:
    """Each row's subject, its log-odds, and its label drawn with them.

    Every subject has one request of so many candidates.

    Args:
        shared: how far labels of a subject share an effect, in standard deviations.
        steep: what the log-odds are multiplied with; a good order is easier where they are large.
    """
    size = subjects * candidates
    subject = np.repeat(np.arange(subjects), candidates)
    effect = shared * generator.normal(size=subjects)
    odds = steep * (generator.normal(size=size) + effect[subject] - 1)
    return subject, odds, generator.random(size) < 1 / (1 + np.exp(-odds))


def labelled_of(
    subject: Codes, relevant: Flags, scores: Mapping[str, Floats], domains: int
) -> Labelled:
    """The rows with rankers whose scores are the log-odds of what they offer as probabilities."""
    subjects = int(subject[-1]) + 1
    return Labelled(
        subject,
        subject,
        range(subjects),  # type: ignore[arg-type]  # ids are only counted
        range(subjects),  # type: ignore[arg-type]
        relevant.astype(np.float64),
        relevant,
        np.ones(len(subject)),
        dict(scores),
        {name: 1 / (1 + np.exp(-score)) for name, score in scores.items()},
        domain=subject % domains,
    )
