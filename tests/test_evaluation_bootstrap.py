"""The bootstrap: what it draws, that its intervals cover, and that pairs are pairs."""

import dataclasses

import numpy as np
import pytest

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import bootstrap, interval, spread, subject_draws
from promptrank.evaluation.measure import Estimate, Rows
from support.measured import measured, rows_of, simulated, value

# Not ece: its bins stay those of the data at hand.
NAMES = ["auc", "gauc", "wauc", "ndcg@5", "mrr", "map", "recall@2", "precision@2", "hit@2"]
NAMES += ["log_loss", "brier"]


def estimate_of(name: str, rows: Rows, score: Floats) -> Estimate:
    estimate = measured(name, rows, score).estimate
    assert estimate is not None
    return estimate


def test_a_draw_takes_as_many_subjects_as_there_are() -> None:
    (block,) = subject_draws(7, 50, seed=1)
    assert block.shape == (50, 7)
    assert (block.sum(axis=1) == 7).all()
    assert block.std() > 0


def test_draws_depend_on_the_seed_and_not_on_the_block() -> None:
    (whole,) = subject_draws(7, 50, seed=1)
    blocks = list(subject_draws(7, 50, seed=1, block=7 * 13))
    assert len(blocks) == 4
    assert np.array_equal(np.concatenate(blocks), whole)
    assert not np.array_equal(np.concatenate(list(subject_draws(7, 50, seed=2))), whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_is_the_metric_of_the_drawn_subjects(name: str) -> None:
    """Subjects written down as often as they are drawn give the same number."""
    generator = np.random.default_rng(4)
    rows, raw = simulated(12, 6, generator)
    score = np.round(1 / (1 + np.exp(-raw)), 1)  # with ties
    estimate = estimate_of(name, rows, score)
    (times,) = subject_draws(12, 20, seed=0)
    for each in times:
        subjects = [s for s in range(12) for _ in range(int(each[s]))]
        index = np.concatenate([np.flatnonzero(rows.subject == s) for s in subjects])
        codes = np.repeat(np.arange(len(subjects)), 6)
        drawn = rows_of(list(rows.gain[index]), list(codes))
        expected = value(name, drawn, score[index])
        assert estimate(each[None, :])[0] == pytest.approx(expected, abs=1e-12)


def test_draws_of_ece_lie_around_its_value_and_are_ordered_as_the_observed_one() -> None:
    generator = np.random.default_rng(8)
    chance = generator.uniform(0.05, 0.95, 1200)
    gain = (generator.random(1200) < chance).astype(float)
    rows = rows_of(list(gain), list(np.repeat(np.arange(200), 6)))
    estimate = estimate_of("ece", rows, chance)
    (times,) = subject_draws(200, 400, seed=0)
    draws = estimate(times)
    assert np.median(draws) == pytest.approx(value("ece", rows, chance), abs=0.004)
    bins = np.argsort(np.argsort(chance)) // 120
    gaps = np.array([[(chance - gain)[(rows.subject == s) & (bins == b)].sum() for b in range(10)]
                     for s in range(200)])  # fmt: skip
    observed = np.abs(times @ gaps).sum(axis=1)
    order = np.argsort(observed, kind="stable")
    assert (np.diff(draws[order]) >= 0).all()
    assert draws.min() < 0 < draws.max()


def coverage(name: str, runs: int, *, whole_subjects: bool = True) -> int:
    """In how many of ``runs`` simulated data sets the 95% interval holds the truth."""
    generator = np.random.default_rng(11)
    rows, raw = simulated(30_000, 20, generator)
    truth = value(name, rows, 1 / (1 + np.exp(-raw)))
    covered = 0
    for run in range(runs):
        rows, raw = simulated(80, 20, generator)
        if not whole_subjects:
            alone = np.arange(len(raw))
            rows = Rows(alone, alone, rows.gain, rows.relevant, rows.weight, len(alone), len(alone))
        estimate = estimate_of(name, rows, 1 / (1 + np.exp(-raw)))
        found = interval(bootstrap([estimate], rows.num_subjects, 200, seed=run)[:, 0])
        assert found is not None
        covered += found.low <= truth <= found.high
    return covered


@pytest.mark.slow
@pytest.mark.parametrize("name", ["auc", "gauc", "ndcg@5", "mrr", "log_loss"])
def test_intervals_cover_the_truth_about_95_times_in_100(name: str) -> None:
    # At .95, 150 trials give 134 or more in 99.8 of 100 cases.
    assert 132 <= coverage(name, 150) < 150


@pytest.mark.long
def test_rows_drawn_alone_would_cover_it_far_less_often() -> None:
    assert coverage("log_loss", 100, whole_subjects=False) < 85


def test_interval_is_the_middle_and_undefined_draws_are_not_numbers() -> None:
    draws = np.arange(1001) / 1000
    found = interval(draws)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    draws[:50] = np.nan
    assert interval(draws) is not None
    draws[:150] = np.nan
    assert interval(draws) is None
    assert interval(np.array([])) is None


def test_draws_are_spread_by_what_few_subjects_take_off() -> None:
    draws = np.linspace(0.0, 1.0, 101)[:, None]
    ends = {n: interval(spread(draws, n)[:, 0]) for n in (60, 1000)}
    for n, factor in ((60, 1.0294), (1000, 1.0017)):  # t(n - 1) / 1.96 * sqrt(n / (n - 1))
        found = ends[n]
        assert found is not None
        assert found.low == pytest.approx(0.5 - 0.475 * factor, abs=1e-4)
        assert found.high == pytest.approx(0.5 + 0.475 * factor, abs=1e-4)
    few = spread(np.column_stack([draws[:, 0], np.full(101, np.nan)]), 2)
    assert (few[:, 0].min(), few[:, 0].max()) == (0.0, 1.0)  # a share stays one
    assert np.isnan(few[:, 1]).all()


def test_estimates_are_drawn_together_as_alone() -> None:
    generator = np.random.default_rng(4)
    rows, raw = simulated(40, 6, generator)
    score = 1 / (1 + np.exp(-raw))
    estimates = [estimate_of(name, rows, score) for name in NAMES]
    table = bootstrap([*estimates, estimates[1]], 40, 30, seed=3)
    assert np.array_equal(table[:, -1], table[:, 1])
    for i, estimate in enumerate(estimates):
        alone = bootstrap([estimate], 40, 30, seed=3)[:, 0]
        assert table[:, i] == pytest.approx(alone, abs=1e-12), NAMES[i]


def test_auc_of_whole_weights_is_that_of_any_weights() -> None:
    """Counts are summed as whole numbers, weights as floats; both are the same metric."""
    generator = np.random.default_rng(5)
    rows, raw = simulated(30, 6, generator)
    score = np.round(raw, 1)  # with ties
    heavy = dataclasses.replace(rows, weight=np.full(len(raw), 2.5))
    (times,) = subject_draws(30, 20, seed=0)
    once = estimate_of("auc", rows, score)
    expected = estimate_of("auc", heavy, score)(times)
    assert once(times) == pytest.approx(expected, abs=1e-12)
    assert once(times * 0.5) == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("stretch", "shift"), [(1.0, 0.0), (1.0, 0.5), (2.0, 0.0)])
def test_ece_covers_the_truth(stretch: float, shift: float) -> None:
    """Of a calibrated ranker and of others; intervals around the observed ECE miss the first."""
    truth = 0.0
    covered = 0
    for run in range(-1, 60):
        generator = np.random.default_rng(100 + run)
        subjects = 4000 if run < 0 else 60
        odds = generator.normal(size=subjects * 10) + np.repeat(generator.normal(size=subjects), 10)
        happened = (generator.random(len(odds)) < 1 / (1 + np.exp(-odds))).astype(float)
        rows = rows_of(list(happened), list(np.repeat(np.arange(subjects), 10)))
        said = 1 / (1 + np.exp(-stretch * odds - shift))
        if run < 0:
            truth = value("ece", rows, said)
            continue
        estimate = estimate_of("ece", rows, said)
        found = interval(bootstrap([estimate], subjects, 200, seed=run)[:, 0])
        assert found is not None
        covered += found.low <= truth <= found.high
    assert covered >= 53  # at .95 of 60, fewer in 1 of 100 cases


def test_an_ece_far_below_what_noise_gives_is_not_endless() -> None:
    # Errors of subjects cancel but for a thousandth: noise of any scale exceeds what is observed.
    happened = [1.0, 1.0, 0.0, 0.0] * 15
    rows = rows_of(happened, list(np.repeat(np.arange(30), 2)))
    said = np.full(60, 0.5001)
    estimate = estimate_of("ece", rows, said)
    draws = bootstrap([estimate], 30, 200, seed=0)[:, 0]
    assert np.abs(draws).max() < 1
    assert abs(value("ece", rows, said)) < 1
