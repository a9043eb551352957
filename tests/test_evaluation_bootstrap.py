"""The bootstrap: what it draws, that its intervals cover, and that pairs are pairs."""

import numpy as np
import pytest

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import bootstrap, interval, subject_draws
from promptrank.evaluation.measure import Estimate, Rows
from support.measured import measured, rows_of, simulated, value

# Not ece: its bins stay those of the data at hand.
NAMES = ["auc", "gauc", "ndcg@5", "mrr", "recall@2", "log_loss"]


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


def test_ece_of_a_draw_by_hand() -> None:
    rows = rows_of([1, 0, 1, 1], request=[0, 0, 1, 1])
    estimate = estimate_of("ece", rows, np.array([0.9, 0.2, 0.4, 0.6]))
    # Gaps p - y: subject 0 has -.1 and .2, subject 1 -.6 and -.4, each in a bin of its own.
    found = estimate(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert found == pytest.approx([1.3 / 4, 0.6 / 4, 2.0 / 4])


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


def test_a_mirrored_interval_undoes_the_bias_and_holds_the_value() -> None:
    draws = 0.3 + np.arange(1001) / 10000  # 0.30 to 0.40 around a value of 0.32
    found = interval(draws, mirror=0.32)
    assert found is not None
    assert found.low == pytest.approx(0.64 - 0.3975)
    assert found.high == pytest.approx(0.64 - 0.3025)
    biased = interval(draws + 0.1, mirror=0.32)
    assert biased is not None
    assert biased.high == 0.32


def test_ece_of_a_calibrated_ranker_reaches_down_to_little() -> None:
    generator = np.random.default_rng(8)
    probability = generator.uniform(0.05, 0.95, 1200)
    gain = (generator.random(1200) < probability).astype(float)
    rows = rows_of(list(gain), list(np.repeat(np.arange(200), 6)))
    estimate = estimate_of("ece", rows, probability)
    here = value("ece", rows, probability)
    draws = bootstrap([estimate], 200, 300, seed=0)[:, 0]
    plain, mirrored = interval(draws), interval(draws, mirror=here)
    assert plain is not None and mirrored is not None
    assert mirrored.low < plain.low
    assert mirrored.low <= here <= mirrored.high
