"""Many comparisons at once: wider intervals by max-t, and the smallest difference data can show."""

import numpy as np
import pytest

from promptrank.evaluation.bootstrap import interval, subject_draws
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.report import Report
from promptrank.evaluation.simultaneous import corrections
from support.measured import labelled_of, simulated


def test_a_family_of_two_worked_by_hand() -> None:
    # Standard errors: sqrt(10 / 4) and sqrt(18 / 4). t of the first: 1.265 .632 0 .632 1.265; of
    # the second: 0 0 1.414 0 1.414. Largest: 1.265 .632 1.414 .632 1.414, with the median 1.265,
    # where their own medians are .632 and 0.
    first, second = corrections([np.array([-2.0, -1, 0, 1, 2]), np.array([0.0, 0, 3, 0, -3])], 0.5)
    assert first.widening == pytest.approx((1.26491 - 0.63246) * 1.58114, abs=1e-4)
    assert second.widening == pytest.approx(1.26491 * 2.12132, abs=1e-4)
    # Half of a normal lies within .6745; four fifths below .8416.
    assert first.detectable == pytest.approx((0.6745 + 0.63246 + 0.8416) * 1.58114, abs=1e-3)
    assert second.detectable == pytest.approx((0.6745 + 1.26491 + 0.8416) * 2.12132, abs=1e-3)


def test_a_lone_comparison_keeps_its_interval_and_its_smallest_difference_is_280_errors() -> None:
    (alone,) = corrections([np.array([0.0, 0, 0, 1, 5])])
    assert alone.widening == 0
    assert alone.detectable == pytest.approx(2.8016 * np.sqrt(18.8 / 4), rel=1e-4)


def test_a_ranker_that_errs_as_another_does_costs_nothing_more() -> None:
    draws = np.random.default_rng(0).normal(size=5000)
    assert [c.widening for c in corrections([draws, 3 * draws - 7])] == pytest.approx([0, 0])


def test_ten_unrelated_comparisons_are_sidaks() -> None:
    draws = np.random.default_rng(0).normal(size=(40_000, 10))
    made = corrections(list(draws.T))
    # 1.960 for one; (1 + .95^(1/10)) / 2 of a normal lies below 2.800.
    assert [c.widening for c in made] == pytest.approx([2.800 - 1.960] * 10, abs=0.05)
    assert [c.detectable for c in made] == pytest.approx([2.800 + 0.842] * 10, abs=0.06)


def test_differences_of_nothing_and_undefined_draws_do_no_harm() -> None:
    draws = np.random.default_rng(0).normal(size=1000)
    holes = draws.copy()
    holes[::50] = np.nan
    twin, some = corrections([np.zeros(1000), holes])
    assert (twin.widening, twin.detectable) == (0.0, 0.0)
    assert some.widening == 0
    assert some.detectable == pytest.approx(2.80, abs=0.15)
    assert corrections([]) == []
    assert corrections([np.array([1.0])])[0].detectable is None


def ten_rivals(generator: np.random.Generator) -> Report:
    """Eleven rankers who are equally good: the same truth, each with errors of its own."""
    rows, _ = simulated(60, 6, generator)
    truth = rows.gain + generator.normal(size=len(rows.gain))
    scores = {
        f"r{i}": truth + generator.normal(size=len(truth)) + generator.normal(size=60)[rows.subject]
        for i in range(11)
    }
    return report_of(labelled_of(rows, scores), ["ndcg@5"], reference="r0", draws=500)


@pytest.mark.slow
def test_ten_rankers_that_are_no_better_are_rarely_said_to_be() -> None:
    generator = np.random.default_rng(5)
    corrected = alone = 0
    for _ in range(400):
        gaps = [row.differences["ndcg@5"] for row in ten_rivals(generator).rankers[1:]]
        corrected += any(gap.verdict for gap in gaps)
        alone += any(gap.low * gap.high > 0 for gap in gaps)  # type: ignore[operator]
    # At .05, 400 trials give 10 to 32 in 99.8 of 100 cases; each interval alone would err often.
    assert 10 <= corrected <= 32, corrected
    assert alone > 80, alone


@pytest.mark.slow
def test_a_difference_of_the_smallest_size_is_shown_four_times_in_five() -> None:
    generator = np.random.default_rng(6)
    shown = 0
    for run in range(300):
        each = generator.normal(0.28016, 1.0, 100)  # 2.80 standard errors of the mean of 100
        times = np.concatenate([*subject_draws(100, 400, seed=run)])
        ends = interval(times @ each / 100)
        assert ends is not None
        shown += ends.excludes_zero
    assert 0.74 * 300 <= shown <= 0.87 * 300, shown
