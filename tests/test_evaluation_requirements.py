"""The gate: its grammar, what it refuses, and what holds."""

from dataclasses import replace
from typing import Any

import pytest

from promptrank.errors import InputError
from promptrank.evaluation.report import Counts, Report, ReportSlice, RequirementResult
from promptrank.evaluation.report_rows import Difference, RankerRow
from promptrank.evaluation.requirement_grammar import (
    Requirement,
    parse_requirement,
    parse_requirements,
)
from promptrank.evaluation.requirement_told import requirement_text
from promptrank.evaluation.requirements import (
    check_rankers,
    check_slices,
    metrics_needed,
    results_of,
    slicings_needed,
)
from promptrank.evaluation.slices import Slicing
from promptrank.evaluation.verdict import verdict_of
from support.reports import cell, report, row


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("auc >= 0.7", ("auc", None, None, ">=", None, 0.7, False)),
        ("auc>=.7", ("auc", None, None, ">=", None, 0.7, False)),
        ("  log_loss  <  1e-1 ", ("log_loss", None, None, "<", None, 0.1, False)),
        ("auc > base", ("auc", None, None, ">", "base", 0.0, False)),
        ("auc >= base + 0.01", ("auc", None, None, ">=", "base", 0.01, False)),
        (
            "ece <= adapter:movies - .005",
            ("ece", None, None, "<=", "adapter:movies", -0.005, False),
        ),
        ("auc >= rrf:decoder+bm25", ("auc", None, None, ">=", "rrf:decoder+bm25", 0.0, False)),
        ("auc >= adapter:v-2 +.5", ("auc", None, None, ">=", "adapter:v-2", 0.5, False)),
        ("auc >= fused, no decoder", ("auc", None, None, ">=", "fused, no decoder", 0.0, False)),
        (
            "ndcg@10[history=1-2] >= baseline:best clear",
            ("ndcg@10", "history", "1-2", ">=", "baseline:best", 0.0, True),
        ),
        (
            "auc[item.year >= 1990=True] >= 0.7",
            ("auc", "item.year >= 1990", "True", ">=", None, 0.7, False),
        ),
        (
            "mrr [ item_events = 100+ ] > 0.5 clear",
            ("mrr", "item_events", "100+", ">", None, 0.5, 1),
        ),
    ],
)
def test_the_grammar(text: str, parts: tuple[Any, ...]) -> None:
    assert parse_requirement(text) == Requirement(text.strip(), *parts)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", 0, "expected a metric"),
        (">= 0.7", 0, "expected a metric"),
        ("auc => base", 4, "expected one of >=, <=, > and <"),
        ("auc base", 4, "expected one of"),
        ("auc >=", 6, "expected a number or a ranker"),
        ("auc >= clear", 7, "expected a number or a ranker"),
        ("auc >= 0.5 + 0.1", 7, "expected one number"),
        ("auc >= 1e999", 7, "expected a number that is not as large"),
        ("auc >= base - 1e999", 7, "expected a number that is not as large"),
        ("auc[history] >= 0.5", 3, "expected a slice"),
        ("auc[history=1-2 >= 0.5", 3, "expected a slice"),
    ],
)
def test_errors_point_at_the_place(text: str, at: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_requirement(text)
    lines = str(caught.value).splitlines()
    assert lines[1:] == [f"  {text}", " " * (at + 2) + "^"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rocauc >= 0.5", "--require 'rocauc >= 0.5': .*did you mean 'auc'"),
        ("auc[histori=0] >= 0.5", "did you mean 'history'"),
        ("auc[history=1-3] >= 0.5", "history has no such slice; did you mean '1-2'"),
    ],
)
def test_metrics_and_slices_that_are_not_are_refused(text: str, message: str) -> None:
    history = Slicing("history", ("0", "1-2", "3+"), lambda request, candidate: 0)
    with pytest.raises(InputError, match=message):
        check_slices([parse_requirement(text)], [history])


def test_rankers_that_are_not_compared_are_refused() -> None:
    def check(text: str, baselines: tuple[str, ...] = ("bm25", "random")) -> None:
        names = ["decoder", "base", "scores:a+b.parquet", *baselines]
        check_rankers([parse_requirement(text)], "decoder", names, baselines)

    for fine in (
        "base",
        "baseline:best",
        "baseline:bm25",
        "bm25",
        "scores:a+b.parquet - .1",
        "0.3",
    ):
        check(f"auc >= {fine}")
    with pytest.raises(InputError, match=r"no ranker 'bas' .* did you mean 'base'.*--vs adds"):
        check("auc >= bas")
    with pytest.raises(InputError, match=r"no ranker 'bas' .*'base'.*between spaces: base \+ 0.01"):
        check("auc >= bas+0.1")
    with pytest.raises(InputError, match="no ranker 'nan'"):
        check("auc >= nan")
    with pytest.raises(InputError, match="decoder is the ranker that is judged"):
        check("auc >= decoder - 0.1")
    with pytest.raises(InputError, match="there is no baseline"):
        check("auc >= baseline:best", ())


def test_a_margin_without_spaces_is_one_where_the_whole_is_no_name() -> None:
    rankers = ["decoder", "base", "adapter:v", "adapter:w-1.5", "adapter:w", "bm25", "random"]

    def told(text: str) -> tuple[str | None, float]:
        (asked,) = check_rankers([parse_requirement(text)], "decoder", rankers, ["bm25", "random"])
        return asked.ranker, asked.number

    assert told("auc >= base+0.01") == ("base", 0.01)
    assert told("auc >= base-.005 clear") == ("base", -0.005)
    assert told("auc >= base +.5") == ("base", 0.5)
    assert told("auc>=baseline:bm25+1e-3") == ("baseline:bm25", 0.001)
    assert told("auc >= baseline:best+0.02") == ("baseline:best", 0.02)
    assert told("auc >= adapter:w-1.5") == ("adapter:w-1.5", 0.0)
    with pytest.raises(InputError, match="no ranker 'adapter:v-2' is compared"):
        told("auc >= adapter:v-2")
    (result,) = results_of(
        WHOLE,
        check_rankers(
            [parse_requirement("auc >= base+.05")], "decoder", ["decoder", "base"], ["base"]
        ),
    )
    assert "is above base + .05 = .750 by .030" in requirement_text(result)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("auc >= 50", "auc lies in 0 to 1, and never reaches 50; did you mean 0.5"),
        ("auc >= 1.2", "never reaches 1.2"),
        ("log_loss <= -0.1", "log_loss is never below 0"),
        ("auc >= base + 1.5", "a margin of 1.5 decides by itself: auc lies in 0 to 1"),
        ("auc >= 70%", "write 0.7 for 70%"),
        ("ndcg@0 >= 0.5", "'ndcg@0': how deep is a whole number from 1 up, such as ndcg@10"),
        ("auc >= base cleer", "'cleer' at the end: did you mean 'clear'"),
        ("auc >= 0.7 Clear", "did you mean 'clear'"),
    ],
)
def test_what_no_value_can_reach_and_words_that_are_none_are_refused(
    text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        parse_requirement(text)
    parse_requirement("log_loss <= 50")  # which has no upper end
    parse_requirement("auc >= 1")


def test_a_requirement_that_asks_for_a_bad_ranker_is_told() -> None:
    def doubt(text: str) -> str | None:
        return parse_requirement(text).doubt

    assert doubt("log_loss >= 0.1") == (
        "--require 'log_loss >= 0.1' holds where the ranker is bad: less is better for log_loss; "
        "did you mean <=?"
    )
    assert doubt("auc < base") is not None
    assert "did you mean >?" in str(doubt("auc < base"))
    assert doubt("ece < 0.1") is doubt("auc > 0.1") is doubt("ndcg@10 >= base - .1 clear") is None


def test_what_requirements_name_is_measured_too() -> None:
    asked = parse_requirements(["auc >= .5", "mrr[history=0] >= .5", "auc >= .5"])
    assert len(asked) == 2
    assert metrics_needed(["gauc", "auc"], asked) == ["gauc", "auc", "mrr"]
    assert slicings_needed(["item_events"], asked) == ["item_events", "history"]


WHOLE = report(
    row("decoder", 0.78),
    row("base", 0.70, -0.08),
    row("bm25", 0.76, -0.02),
    row("logistic", 0.77, -0.01, loss=0.5),
    row("random", 0.5, -0.28),
)


def results(report: Report, *texts: str) -> list[RequirementResult]:
    return results_of(report, parse_requirements(texts))


def test_the_values_decide_and_the_interval_is_shown() -> None:
    holds, fails, number = results(WHOLE, "auc >= base + 0.05", "auc > base + .1", "auc < 0.7")
    assert (holds.holds, holds.ranker, holds.short_by) == (True, "base", None)
    assert (holds.value, holds.limit) == pytest.approx((0.78, 0.75))
    # Of the difference decoder - base, by the corrected ends.
    assert (holds.low, holds.high) == pytest.approx((0.05, 0.11))
    assert (fails.holds, number.holds) == (False, False)
    assert (fails.short_by, number.short_by) == pytest.approx((0.02, 0.08))
    assert (number.low, number.high) == pytest.approx((0.73, 0.83))
    assert requirement_text(holds) == (
        "holds: auc .780 is above base + .05 = .750 by .030 "
        "(interval of the difference +.050 to +.110; 100 subjects)"
    )
    assert requirement_text(fails) == (
        "FAILS: auc .780 is below base + .1 = .800 by .020 "
        "(interval of the difference +.050 to +.110; 100 subjects)"
    )
    assert requirement_text(number) == (
        "FAILS: auc .780 is above .700 by .080 (interval .730 to .830; 100 subjects)"
    )


def test_clear_wants_the_near_end_of_the_interval() -> None:
    asked = ("auc >= base + 0.04 clear", "auc >= base + 0.06 clear", "auc >= 0.75 clear")
    far, near, number = results(WHOLE, *asked)
    assert (far.holds, near.holds, number.holds) == (True, False, False)
    assert near.short_by == pytest.approx(0.01)
    assert number.short_by == pytest.approx(0.02)
    assert requirement_text(far).startswith(
        "holds: auc .780 is above base + .04 = .740 by .040, clearly (interval of the difference"
    )
    assert requirement_text(near).startswith(
        "FAILS: auc .780 is above base + .06 = .760 by .020, not clearly: the interval is .010 "
    )
    (wrong,) = results(WHOLE, "auc >= base + 0.1 clear")
    assert "is below base + .1 = .800 by .020 (interval" in requirement_text(wrong)
    (down,) = results(WHOLE, "log_loss <= base + 0.01 clear")
    assert down.holds is False
    assert down.short_by == pytest.approx(0.01)
    bare = report(row("decoder", 0.78), RankerRow("base", 0, {"auc": cell(0.7)}, {}))
    bare = replace(
        bare,
        rankers=(
            bare.rankers[0],
            replace(bare.rankers[1], differences={"auc": Difference(-0.08, None, None, None)}),
        ),
    )
    plain, clear = results(bare, "auc >= base", "auc >= base clear")
    assert (plain.holds, clear.holds) == (True, None)
    assert "`clear` needs one" in requirement_text(clear)


def test_the_best_baseline_is_the_best_on_that_metric_and_is_neither_chance_nor_served() -> None:
    served = replace(WHOLE, rankers=(*WHOLE.rankers, row("logged", 0.9, 0.12, loss=0.1)))
    for given in (WHOLE, served):
        auc, loss, named = results(
            given, "auc >= baseline:best", "log_loss <= baseline:best", "auc >= baseline:bm25"
        )
        assert (auc.ranker, auc.limit) == ("logistic", 0.77)
        assert (loss.ranker, loss.limit, loss.holds) == ("logistic", 0.5, False)
        assert (named.ranker, named.limit) == ("bm25", 0.76)


def test_slices_have_numbers_of_their_own() -> None:
    few = ReportSlice(
        "history",
        "1-2",
        Counts(30, 30, 300, 100, 0, 0, 0),
        (row("decoder", 0.6), row("bm25", 0.65, 0.05), row("logistic", 0.64, 0.04)),
    )
    with_slices = replace(WHOLE, slices=(few,))
    inside, empty = results(
        with_slices, "auc[history=1-2] >= baseline:best", "auc[history=0] >= base"
    )
    assert (inside.holds, inside.ranker, inside.subjects) == (False, "bm25", 30)
    assert (inside.low, inside.high) == pytest.approx((-0.08, -0.02))
    assert (empty.holds, empty.reason) == (None, "no compared candidate is in history 0")


def test_what_is_undefined_is_not_decided() -> None:
    flat = report(row("decoder", None), row("base", 0.7), absent={"bm25": "no words"})
    undefined, missing = results(flat, "auc >= 0.5", "log_loss >= bm25")
    assert undefined.holds is None
    assert undefined.reason == "auc of decoder is undefined: all candidates are relevant"
    assert (missing.holds, missing.reason) == (None, "bm25 is not compared: no words")


def test_a_fused_ranker_is_judged_by_its_own_differences() -> None:
    fused = replace(
        row("fused", 0.8, 0.02), differences={"auc": Difference(0.02, 0.01, 0.03, "better")}
    )
    lead = {"auc": Difference(0.02, 0.012, 0.028, "better", 0.011, 0.029, 0.01)}
    decoder = replace(row("decoder", 0.78), behind=lead)
    (result,) = results(report(decoder, fused, judged="fused"), "auc > decoder clear")
    assert (result.value, result.limit, result.holds) == (0.8, 0.78, True)
    assert (result.low, result.high) == (0.011, 0.029)


def test_requirements_decide_the_verdict() -> None:
    def said(*texts: str) -> tuple[str, str]:
        verdict = verdict_of(replace(WHOLE, requirements=tuple(results(WHOLE, *texts))))
        assert verdict is not None
        return verdict.outcome, verdict.text

    assert said("auc >= base") == ("ships", "ships: 1 requirement of decoder holds")
    assert said("auc >= base", "auc >= .9", "auc[history=0] >= 0") == (
        "does not ship",
        "does not ship: 1 of 3 requirements fails (auc >= .9)",
    )
    assert said("auc >= base", "auc[history=0] >= 0") == (
        "the data cannot tell",
        "the data cannot tell: 1 of 2 requirements cannot be decided (auc[history=0] >= 0)",
    )


def test_a_plain_name_stands_for_the_metric_over_sampled_negatives() -> None:
    one = RankerRow("decoder", 0, {"auc~u99": cell(0.8)})
    given = replace(report(one), metrics=("auc~u99",))
    asked = [parse_requirement(f"{name} >= 0.7") for name in ("auc", "auc~u99", "auc~p9")]
    assert [each.holds for each in results_of(given, asked)] == [True, True, None]
