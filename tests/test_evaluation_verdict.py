"""Ships, does not ship, or the data cannot tell: who decides, and how much more data would."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import promptrank
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.report import Report, Verdict
from promptrank.evaluation.report_rows import Difference, RankerRow
from promptrank.evaluation.verdict import best_baseline, verdict_of
from support.measured import labelled_of, rows_of, simulated
from support.reports import report, row


def verdict(given: Report, *also: str) -> Verdict:
    made = verdict_of(given, also)
    assert made is not None
    return made


def test_it_ships_where_it_is_better_than_all_that_it_has_to_beat() -> None:
    given = report(
        row("decoder", 0.78),
        row("base", 0.70, -0.08),
        row("bm25", 0.74, -0.04),
        row("logistic", 0.73, -0.05),
        row("random", 0.5, -0.28),
        row("scores:mine", 0.9, 0.12),
    )
    made = verdict(given, "base")
    assert made.text == (
        "ships: auc of decoder is .040 (+.010 to +.070) above bm25, the best baseline and .080 "
        "(+.050 to +.110) above base"
    )
    assert (made.outcome, made.metric, made.beat) == ("ships", "auc", ("bm25", "base"))
    assert made.more_requests is None


def test_it_does_not_ship_past_what_was_set_aside() -> None:
    given = report(row("decoder", 0.78), row("bm25", 0.70, -0.08))
    few = replace(given, absent={"base": "scores 40 of 100 of the labelled candidates"})
    made = verdict(few, "base")
    assert made.outcome == "the data cannot tell"
    assert made.text == (
        "the data cannot tell: not compared with what it has to beat (base: scores 40 of 100 of "
        "the labelled candidates)"
    )
    assert verdict(replace(given, absent={"logged": "scores none"})).outcome == made.outcome
    assert verdict(replace(given, absent={"lambdamart": "no LightGBM"})).outcome == "ships"


def test_it_does_not_where_it_is_worse_than_one() -> None:
    given = report(row("decoder", 0.78), row("base", 0.70, -0.08), row("logged", 0.82, 0.04))
    made = verdict(given, "base")
    assert made.text == (
        "does not ship: auc of decoder is .040 (-.070 to -.010) below logged, which is served today"
    )
    assert made.beat == ("logged", "base")


def test_the_data_cannot_tell_and_how_many_more_requests_could() -> None:
    # 100 subjects show .04. For .02 it takes four times as many, 300 more, of two requests each.
    given = report(row("decoder", 0.78), row("bm25", 0.76, -0.02), row("base", 0.7, -0.08))
    made = verdict(given, "base")
    assert made.text == (
        "the data cannot tell: auc of decoder is .020 (-.010 to +.050) above bm25, the best "
        "baseline; about 600 more requests of 300 more subjects could"
    )
    assert (made.more_subjects, made.more_requests) == (300, 600)
    one_each = replace(given, counts=replace(given.counts, requests=100))
    assert verdict(one_each).text.endswith("; about 300 more requests could")


def test_differences_that_no_data_shows_ask_for_none() -> None:
    tiny = verdict(report(row("decoder", 0.78), row("bm25", 0.7801, 0.0001)))
    assert tiny.text.endswith("takes more than 1,000 times this data")
    same = verdict(report(row("decoder", 0.78), row("bm25", 0.78, 0.0)))
    assert "(-.030 to +.030) as high as that of bm25" in same.text
    assert (tiny.more_subjects, same.more_requests) == (None, None)
    bare = RankerRow(
        "bm25", 0, row("bm25", 0.7).cells, {"auc": Difference(-0.08, None, None, None)}
    )
    assert "there is no interval" in verdict(report(row("decoder", 0.78), bare)).text


def test_labels_that_are_all_alike_are_told() -> None:
    labelled = labelled_of(rows_of([1, 1, 1, 1]), {"decoder": [1, 2, 3, 4], "bm25": [4, 3, 2, 1]})
    given = report_of(labelled, ["auc", "gauc"], reference="decoder", draws=0)
    made = verdict(replace(given, baselines=("bm25",)))
    assert made.text == (
        "the data cannot tell: auc of decoder is undefined: all candidates are relevant"
    )


@pytest.mark.long
def test_baselines_that_learned_the_judged_labels_are_not_to_beat(toys: Path) -> None:
    report = promptrank.evaluate(
        "toys/like", project=toys, engine="fake", split="train", draws=100, vs=["base"]
    )
    assert "logistic" not in report.baselines and "popularity" in report.baselines
    assert report.verdict is not None and "logistic" not in report.verdict.beat
    assert any("learned from the very labels" in note for note in report.notes)
    assert "base is the ranker itself: no adapter is named" in report.notes


def test_chance_is_beaten_only_where_nothing_else_is_there() -> None:
    alone = report(row("decoder", 0.78), row("random", 0.5, -0.28))
    assert verdict(alone).text.endswith("above random, which is chance")
    with_base = replace(alone, rankers=(*alone.rankers, row("base", 0.7, -0.08)))
    assert verdict(with_base, "base").beat == ("base",)
    assert verdict_of(report(row("decoder", 0.78))) is None
    flat = report(row("decoder", None), row("bm25", 0.7, -0.08))
    assert verdict(flat).metric == "log_loss"
    assert best_baseline(alone, alone.baselines, "auc") is None


@pytest.mark.slow
def test_so_many_more_subjects_do_show_a_difference_of_that_size() -> None:
    generator = np.random.default_rng(1)

    def compared(subjects: int) -> Report:
        rows, score = simulated(subjects, 8, generator)
        other = score + 0.5 * generator.normal(size=len(score))
        labelled = labelled_of(rows, {"decoder": score, "base": other})
        return report_of(labelled, ["auc"], reference="decoder", draws=300)

    truth = compared(20_000).rankers[1].differences["auc"].value
    small = compared(150)
    base = small.rankers[1]
    gap = replace(base.differences["auc"], value=truth, verdict=None)
    asked = replace(small, rankers=(small.rankers[0], replace(base, differences={"auc": gap})))
    more = verdict(asked, "base").more_subjects
    assert more is not None
    shown = [compared(150 + more).rankers[1].differences["auc"].verdict for _ in range(60)]
    # Four in five, with the luck of 60 trials and of the standard error that 150 subjects gave.
    assert 0.6 <= shown.count("worse") / 60 <= 0.95
