"""Intervals near the bounds of a metric, and of rankers who hardly differ."""

import numpy as np
import pytest

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import accelerated, bootstrap, interval, interval_of
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.measures.measurable import Sums, ratio
from promptrank.evaluation.unseen import unseen_difference
from support.measured import labelled_of, simulated

SUBJECTS = 60
ONES = np.ones(SUBJECTS)


def mean_of(values: Floats) -> Sums:
    return ratio(values, ONES, values)


def test_the_interval_of_a_share_that_all_reach_is_that_of_jeffreys() -> None:
    from scipy.stats import beta

    for hits in (60, 45, 30):
        values = (np.arange(SUBJECTS) < hits).astype(float)
        estimate = mean_of(values)
        assert estimate.shares
        draws = bootstrap([estimate], SUBJECTS, 2000, seed=1)[:, 0]
        found = interval_of(estimate, hits / SUBJECTS, draws)
        assert found is not None
        low, high = beta.ppf([0.025, 0.975], hits + 0.5, SUBJECTS - hits + 0.5)
        assert found.low == pytest.approx(low, abs=0.02)
        assert found.high == pytest.approx(high if hits < SUBJECTS else 1.0, abs=0.02)
    graded = mean_of(np.linspace(0, 1, SUBJECTS))
    assert not graded.shares


@pytest.mark.long
@pytest.mark.parametrize("share", [0.97, 0.9])
def test_shares_near_1_are_held(share: float) -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        values = (generator.random(SUBJECTS) < share).astype(float)
        estimate = mean_of(values)
        draws = bootstrap([estimate], SUBJECTS, 300, seed=0)[:, 0]
        found = interval_of(estimate, float(values.mean()), draws)
        assert found is not None
        held += found.low <= share <= found.high
    assert held >= 89  # at .95 of 100, fewer in 1 of 100 cases; draws alone hold .97 in 83


@pytest.mark.long
def test_differences_of_rankers_who_hardly_differ_are_held() -> None:
    # A difference of -.3, -.2 or -.1 for one subject in 15, and 0 for the others.
    truth, generator = -0.2 / 15, np.random.default_rng(4)
    with_them = without = 0
    for _ in range(100):
        base = generator.random(SUBJECTS) * 0.5 + 0.4
        apart = (generator.random(SUBJECTS) < 1 / 15) * generator.choice([0.3, 0.2, 0.1], SUBJECTS)
        one, other = mean_of(base - apart), mean_of(base)
        drawn = bootstrap([one, other], SUBJECTS, 300, seed=0)
        gaps = drawn[:, 0] - drawn[:, 1]
        plain, found = interval(gaps), interval(gaps + unseen_difference(one, other, 300))
        assert plain is not None
        assert found is not None
        without += plain.low <= truth <= plain.high
        with_them += found.low <= truth <= found.high
    assert with_them >= 89
    assert without < with_them


def test_what_is_added_fades_with_subjects_that_differ_and_turns_with_the_pair() -> None:
    base = np.linspace(0.2, 0.8, SUBJECTS)
    few = mean_of(np.where(np.arange(SUBJECTS) < 3, base + 0.1, base))
    same = mean_of(base)
    added = unseen_difference(few, same, 2000)
    # The variance of one difference of .1 more, in the mean of 60.
    assert np.std(added) == pytest.approx(0.1 / SUBJECTS, rel=0.1)
    assert np.array_equal(unseen_difference(same, few, 2000), -1 * np.asarray(added))
    assert unseen_difference(same, same, 2000) == 0.0
    assert unseen_difference(same, None, 2000) == 0.0


def test_accelerated_ends_are_those_of_scipys_bca() -> None:
    from scipy.stats import bootstrap as scipys

    sample = np.random.default_rng(6).exponential(size=60)
    theirs = scipys((sample,), np.mean, n_resamples=9999, method="BCa", rng=1).confidence_interval
    generator = np.random.default_rng(2)
    draws = sample[generator.integers(0, 60, (9999, 60))].mean(axis=1)
    ours, plain = accelerated(draws, float(sample.mean())), interval(draws)
    assert ours is not None
    assert plain is not None
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert ours.high - plain.high > 0.03  # the long tail is reached
    even = np.linspace(-1, 1, 1001)
    straight, by_percentiles = accelerated(even, 0.0), interval(even)
    assert straight is not None
    assert by_percentiles is not None
    assert straight.low == pytest.approx(by_percentiles.low, abs=1e-6)
    assert accelerated(np.array([np.nan] * 100), 0.0) is None


def test_rankers_with_the_same_orders_never_differ_on_lists() -> None:
    rows, score = simulated(40, 6, np.random.default_rng(5))
    other = score + np.random.default_rng(6).normal(size=len(score)) * 0.01
    scores = {"decoder": score, "doubled": 2 * score, "shifted": np.exp(score), "other": other}
    names = ["auc", "gauc", "ndcg@3", "mrr", "hit@1"]
    report = report_of(labelled_of(rows, scores), names, reference="decoder", draws=200)
    for name in ("doubled", "shifted"):
        for metric in ("ndcg@3", "mrr", "hit@1"):
            gap = report.ranker(name).differences[metric]
            assert (gap.value, gap.low, gap.high) == (0.0, 0.0, 0.0)
    # One that orders some request otherwise may differ, even where nothing came of it here.
    gap = report.ranker("other").differences["hit@1"]
    assert gap.low is not None
    assert gap.low < 0.0
