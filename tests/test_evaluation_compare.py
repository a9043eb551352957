"""Rankers side by side: which rows count, intervals, differences, and the report."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from promptrank.errors import DataError, InputError
from promptrank.evaluation.compare import compare, report_of
from promptrank.evaluation.labelled import Labelled, label_rows
from promptrank.evaluation.report import Report, write_report
from promptrank.evaluation.report_markdown import markdown
from promptrank.evaluation.report_table import table
from promptrank.evaluation.seen import Seen
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of
from support.data import make_task
from support.measured import labelled_of, rows_of, scores_by, simulated

ALL = ["auc", "gauc", "ndcg@5", "mrr", "recall@2", "log_loss", "ece"]


def candidate(name: str, label: str | None = None, **more: Any) -> Candidate:
    outcomes = {"q": label} if label is not None else {}
    return Candidate(name, Item(f"item-{name}", {}), outcomes=outcomes, **more)


def gain_of(candidate: Candidate) -> float | None:
    return float(candidate.outcomes["q"]) if "q" in candidate.outcomes else None


def requests() -> list[Request]:
    return [
        Request("a", Subject("m1"), (candidate("x", "1"), candidate("y", "0"), candidate("z"))),
        Request("b", Subject("m2"), (candidate("x", "0", weight=3.0), candidate("y", "2"))),
        Request("c", Subject("m1"), (candidate("x"),)),
        Request("d", Subject(), (candidate("x", "1"), candidate("w", "0"))),
    ]


def both(size: int = 60, seed: int = 0) -> Labelled:
    generator = np.random.default_rng(seed)
    rows, score = simulated(size, 8, generator)
    worse = score + 2 * generator.normal(size=len(score))
    chance = 1 / (1 + np.exp(-score))
    return labelled_of(
        rows,
        {"decoder": score, "twin": score, "worse": worse},
        {"decoder": chance, "twin": chance},
    )


def table_of(
    scores: dict[tuple[str, str], float], chances: dict[tuple[str, str], float] | None = None
) -> Scores:
    given = [chances.get(key) for key in scores] if chances else None
    return scores_of(list(scores), list(scores.values()), given, Origin("table"))


def test_labelling_makes_one_row_per_labelled_candidate() -> None:
    scores = {(r, c): i + 1.0 for i, (r, c) in enumerate([("a", "x"), ("a", "y"), ("b", "x")])}
    flat = scores_by(requests(), {"flat": lambda request: Values([0] * len(request.candidates))})
    labelled = label_rows(
        iter(requests()),
        {"table": table_of(scores, {("a", "x"): 0.5}), **flat},
        gain_of=gain_of,
        relevant_at=1,
    )
    assert labelled.request_ids == ("a", "b", "d")
    assert labelled.subject_ids == ("m1", "m2", "request d")
    assert labelled.request.tolist() == [0, 0, 1, 1, 2, 2]
    assert labelled.subject.tolist() == [0, 0, 1, 1, 2, 2]
    assert labelled.gain.tolist() == [1, 0, 0, 2, 1, 0]
    assert labelled.relevant.tolist() == [True, False, False, True, True, False]
    assert labelled.weight.tolist() == [1, 1, 3, 1, 1, 1]
    assert labelled.scores["table"].tolist()[:3] == [1, 2, 3]
    assert np.isnan(labelled.scores["table"][3:]).all()
    assert labelled.scores["flat"].tolist() == [0] * 6
    assert labelled.probabilities["table"][0] == 0.5
    assert np.isnan(labelled.probabilities["table"][1:]).all()
    assert "flat" not in labelled.probabilities
    assert labelled.unlabelled == 2


def test_the_order_of_scores_and_scores_of_others_change_nothing() -> None:
    scores = {("a", "y"): 1.0, ("b", "x"): 2.0, ("elsewhere", "x"): 3.0, ("a", "x"): 4.0}
    backwards = dict(reversed(scores.items()))
    for given in (scores, backwards):
        labelled = label_rows(
            requests()[:2], {"table": table_of(given)}, gain_of=gain_of, relevant_at=1
        )
        assert labelled.scores["table"].tolist()[:3] == [4, 1, 2]
        assert np.isnan(labelled.scores["table"][3])


def test_labelling_refuses_a_request_that_comes_twice() -> None:
    twice = [*requests(), requests()[0]]
    with pytest.raises(DataError, match="'a' comes twice"):
        label_rows(twice, {"t": table_of({})}, gain_of=gain_of, relevant_at=1)


def test_labelling_without_any_label_says_so() -> None:
    with pytest.raises(DataError, match="no candidate has a label"):
        label_rows(requests()[2:3], {"t": table_of({})}, gain_of=gain_of, relevant_at=1)


def liked(name: str, split: str = "test") -> Request:
    outcomes = {"a": "like", "b": "dislike", "c": None}
    candidates = tuple(
        Candidate(each, Item(each, {}), outcomes={"like": answer} if answer is not None else {})
        for each, answer in outcomes.items()
    )
    return Request(name, Subject(f"m{name}"), candidates, split=split)


def test_the_one_comparison_takes_scores_and_says_where_they_come_from() -> None:
    task = make_task()
    keys = [(name, candidate) for name in "xy" for candidate in "abc"]
    good = scores_of(keys, [3, 2, 1] * 2, [0.9, 0.2, 0.5] * 2, Origin("decoder", prompt="p"))
    bad = scores_of(keys, [1, 2, 3] * 2, None, Origin("student:s"))
    asked = [liked("x"), liked("y")]
    report = compare(
        task, asked, {"mine": good, "theirs": bad}, metrics=["auc", "log_loss"], draws=20
    )
    assert report.reference == "mine"
    assert report.metrics == ("auc", "log_loss")
    assert (report.counts.candidates, report.counts.unlabelled) == (4, 2)
    assert report.ranker("mine").origin == {"ranker": "decoder", "prompt": "p", "versions": {}}
    assert report.ranker("theirs").origin["ranker"] == "student:s"
    assert report.ranker("mine").cells["auc"].value == 1.0
    assert report.ranker("theirs").cells["auc"].value == 0.0
    loss = report.ranker("mine").cells["log_loss"].value
    assert loss == pytest.approx(-(np.log(0.9) + np.log(0.8)) / 2)
    assert report.ranker("theirs").cells["log_loss"].reason == "offers no probabilities"
    assert report.ranker("mine").agreement is None
    pairs = compare(task, asked, {"a": good, "b": good, "c": bad}, draws=0, pairs=[("b", "c")])
    assert pairs.metrics == tuple(task.metrics)
    assert pairs.pairs[0].differences["auc"].value == 1.0


def test_without_metrics_nothing_is_measured_and_labels_are_not_needed() -> None:
    task = make_task()
    bare = Request("x", Subject("m"), (candidate("a"), candidate("b")))
    keys = [("x", "a"), ("x", "b")]
    answered = Scores(
        scores_of(keys, [1.0, 0.0], None, Origin("plain"))
        .table.append_column("like_logprob_like", [[-1.0, -2.0]])
        .append_column("like_logprob_dislike", [[-2.0, -1.0]]),
        Origin("plain"),
    )
    report = compare(
        task, [bare], {"plain": answered, "same": answered}, metrics=[], tolerances={"same": 0.0}
    )
    assert (report.metrics, report.draws, report.counts.candidates) == ((), 0, 2)
    agreed = report.ranker("same").agreement
    assert agreed is not None
    assert agreed.passed
    assert report.ranker("plain").agreement is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gain": np.array([1.0, np.nan])}, "labelled.gain"),
        ({"gain": np.array([1.0])}, "shape"),
        ({"weight": np.array([1.0, -1.0])}, "labelled.weight"),
        ({"weight": np.array([0.0, 0.0])}, "all weights are 0"),
        ({"request": np.array([0, 5])}, "codes must lie in"),
        ({"subject": np.array([0, 1]), "subject_ids": ["s", "t"]}, "several subjects"),
        ({"relevant": np.array([1, 0])}, "expected booleans"),
        ({"scores": {}}, "no ranker"),
        ({"probabilities": {"on": np.array([0.5, 0.5])}}, "did you mean 'one'"),
        ({"probabilities": {"one": np.array([0.5, 1.5])}}, "outside \\[0, 1\\]"),
    ],
)
def test_what_is_wrong_with_labelled_rows_is_said(change: dict[str, Any], message: str) -> None:
    good = labelled_of(rows_of([1, 0]), {"one": [1, 2]})
    with pytest.raises(DataError, match=message):
        dataclasses.replace(good, **change)


def test_a_row_that_one_ranker_lost_counts_for_none() -> None:
    rows = rows_of([1, 0, 0, 1, 0, 0], request=[0, 0, 0, 1, 1, 1])
    labelled = labelled_of(
        rows,
        {"decoder": [3, 1, 2, np.nan, 2, 1], "other": [1, 2, 3, 1, 2, 3]},
    )
    report = report_of(labelled, ["auc", "ndcg@5"], reference="decoder", draws=10)
    assert report.counts.candidates == 5
    assert (report.counts.left_out, report.counts.partial_requests) == (1, 1)
    first = report.rankers[0]
    assert (first.name, first.unscored) == ("decoder", 1)
    # The lost row is not a zero: only request 0 still has both labels.
    assert first.cells["ndcg@5"].value == 1.0
    assert (first.cells["ndcg@5"].used, first.cells["ndcg@5"].left_out) == (1, 1)
    # Positive 3 against the negatives 1, 2, 2 and 1.
    assert first.cells["auc"].value == 1.0
    told = "left out for all rankers: 1 labelled candidate that some ranker has no score for"
    assert any(told in line and line.endswith("partial: 1 request") for line in lines(report))


def test_a_ranker_that_scores_little_is_set_aside() -> None:
    rows = rows_of([1, 0, 0, 1])
    nothing = [np.nan] * 4
    labelled = labelled_of(
        rows, {"decoder": [4, 3, 2, 1], "logged": nothing, "some": [1, np.nan, np.nan, np.nan]}
    )
    report = report_of(labelled, ["auc"], reference="decoder", draws=10)
    assert report.absent == {
        "logged": "scores none of the 4 labelled candidates",
        "some": "scores 1 of the 4 labelled candidates (25%); with less than 50% of them it would "
        "take the rest from all others",
    }
    assert report.counts.candidates == 4
    with pytest.raises(DataError, match="'logged' scored none of 4"):
        report_of(labelled, ["auc"], reference="logged")
    with pytest.raises(DataError, match="did you mean 'decoder'"):
        report_of(labelled, ["auc"], reference="decode")
    with pytest.raises(InputError, match="rocauc"):
        report_of(labelled, ["rocauc"], reference="decoder")


def test_no_common_row_is_an_error_with_counts() -> None:
    nan = np.nan
    labelled = labelled_of(rows_of([1, 0]), {"a": [1, nan], "b": [nan, 1]})
    with pytest.raises(DataError, match="a 1, b 1"):
        report_of(labelled, ["auc"], reference="a")


def test_the_same_ranker_twice_differs_by_exactly_nothing() -> None:
    report = report_of(both(), ALL, reference="decoder", draws=200)
    twin = report.ranker("twin")
    assert set(twin.differences) == set(ALL)
    for name, one in twin.differences.items():
        assert (one.value, one.low, one.high, one.verdict) == (0.0, 0.0, 0.0, None), name


def test_a_worse_ranker_is_flagged_and_paired_intervals_are_narrow() -> None:
    labelled = both()
    report = report_of(labelled, ALL, reference="decoder", draws=300)
    decoder, worse = report.rankers[0], report.rankers[2]
    for name in ("auc", "gauc", "ndcg@5"):
        difference = worse.differences[name]
        assert difference.verdict == "worse", name
        assert difference.high is not None and difference.high < 0
    assert "log_loss" not in worse.differences  # it offers no probabilities
    assert worse.cells["log_loss"].reason == "offers no probabilities"
    mirrored = report_of(labelled, ALL, reference="worse", draws=300)
    back = mirrored.ranker("decoder").differences["auc"]
    assert back.verdict == "better"
    assert back.value == -worse.differences["auc"].value
    cell = decoder.cells["auc"]
    assert cell.low is not None and cell.high is not None and cell.value is not None
    assert cell.low < cell.value < cell.high


def test_intervals_are_corrected_for_the_rankers_beside_the_reference() -> None:
    labelled = both()
    alone = labelled.take(np.ones(len(labelled), dtype=np.bool_), ["decoder", "worse"])
    (lone,) = report_of(alone, ["auc"], reference="decoder", draws=300).rankers[1:]
    gap = lone.differences["auc"]
    assert (gap.adjusted_low, gap.adjusted_high) == (gap.low, gap.high)
    generator = np.random.default_rng(4)
    others = {f"r{i}": generator.normal(size=len(labelled)) for i in range(8)}
    many = dataclasses.replace(labelled, scores={**labelled.scores, **others})
    report = report_of(many, ["auc"], reference="decoder", draws=300, judged="worse")
    wide = report.ranker("worse").differences["auc"]
    assert (wide.low, wide.high) == (gap.low, gap.high)  # its own interval stays what it was
    assert wide.adjusted_low is not None and wide.low is not None
    assert wide.adjusted_low < wide.low
    # The ranker that is judged has differences to all others, the reference too.
    assert report.ranker("worse").behind == {}
    assert report.ranker("decoder").behind["auc"].value == wide.value
    assert report.ranker("r3").behind["auc"].value == pytest.approx(
        wide.value - report.ranker("r3").differences["auc"].value
    )
    assert report.ranker("r3").behind["auc"].verdict == "better"


def test_less_loss_is_better() -> None:
    generator = np.random.default_rng(1)
    chance = generator.uniform(0.1, 0.9, 800)
    gain = (generator.random(800) < chance).astype(float)
    rows = rows_of(list(gain), list(np.repeat(np.arange(100), 8)))
    over = np.clip(chance + 0.1, 0, 1)
    both_ways = {"decoder": over, "fit": chance}
    report = report_of(
        labelled_of(rows, both_ways, both_ways), ["log_loss", "ece"], reference="decoder", draws=200
    )
    verdicts = {name: one.verdict for name, one in report.rankers[1].differences.items()}
    assert verdicts == {"log_loss": "better", "ece": "better"}


def test_probabilities_are_compared_on_rows_where_all_have_one() -> None:
    rows = rows_of([1, 0, 1, 0], request=[0, 0, 1, 1])
    score = [4, 3, 2, 1]
    labelled = labelled_of(
        rows,
        {"decoder": score, "b": score},
        {"decoder": [0.5, 0.5, 0.5, 0.5], "b": [np.nan, 0.5, 0.5, 0.5]},
    )
    report = report_of(labelled, ["log_loss", "auc"], reference="decoder", draws=10)
    assert [one.cells["log_loss"].used for one in report.rankers] == [3, 3]
    assert report.rankers[0].cells["log_loss"].value == pytest.approx(np.log(2))
    assert report.rankers[0].cells["auc"].used == 4


def test_all_labels_alike_is_a_reason_and_not_a_crash() -> None:
    labelled = labelled_of(rows_of([1] * 6, [0, 0, 1, 1, 2, 2]), {"decoder": [6, 5, 4, 3, 2, 1]})
    report = report_of(labelled, ["auc", "gauc", "ndcg@5", "mrr"], reference="decoder", draws=20)
    cells = report.rankers[0].cells
    assert [cells[name].value for name in ("auc", "gauc", "ndcg@5")] == [None, None, None]
    assert cells["auc"].reason == "all candidates are relevant"
    assert cells["mrr"].value == 1.0
    assert "auc: all candidates are relevant" in lines(report)


def test_one_subject_has_values_and_no_interval() -> None:
    labelled = labelled_of(rows_of([1, 0, 1]), {"decoder": [3, 2, 1]})
    report = report_of(labelled, ["auc"], reference="decoder")
    cell = report.rankers[0].cells["auc"]
    assert (cell.value, cell.low, cell.high) == (0.5, None, None)
    assert cell.reason is not None and cell.reason.startswith("no interval")
    assert any("only 1 subject" in note for note in report.notes)


def test_row_order_and_unused_ids_change_nothing() -> None:
    labelled = both(40)
    order = np.random.default_rng(2).permutation(len(labelled))
    shuffled = Labelled(
        labelled.request[order],
        labelled.subject[order],
        [*labelled.request_ids, "unused"],
        [*labelled.subject_ids, "unused"],
        labelled.gain[order],
        labelled.relevant[order],
        labelled.weight[order],
        {name: values[order] for name, values in labelled.scores.items()},
        {name: values[order] for name, values in labelled.probabilities.items()},
    )
    one, two = (
        report_of(given, ALL, reference="decoder", draws=50) for given in (labelled, shuffled)
    )
    assert one.counts == two.counts
    for a, b in zip(one.rankers, two.rankers, strict=True):
        for name, cell in a.cells.items():
            ends = (cell.value, cell.low, cell.high)
            other = b.cells[name]
            assert ends == pytest.approx((other.value, other.low, other.high), abs=1e-12)


def test_seed_decides_the_intervals() -> None:
    labelled = both(40)
    one = report_of(labelled, ["auc"], reference="decoder", draws=50)
    assert report_of(labelled, ["auc"], reference="decoder", draws=50) == one
    assert report_of(labelled, ["auc"], reference="decoder", draws=50, seed=1) != one


def full_report() -> Report:
    return dataclasses.replace(
        report_of(both(), ALL, reference="decoder", draws=50),
        absent={"logged": "scores none of the labelled candidates"},
        seen=Seen(60, 54, 200, 150),
        cuts={"events": 12},
        errors={"too_long": 3},
        provenance={"task": "movies/like"},
    )


def lines(report: Report) -> list[str]:
    return [line.removeprefix("- ") for line in markdown(report).splitlines()]


def test_report_is_json_beside_and_renamed(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    write_report(full_report(), path)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["provenance"] == {"task": "movies/like"}
    assert read["rankers"][2]["cells"]["ece"]["value"] is None
    assert read["rankers"][0]["cells"]["auc"]["low"] < read["rankers"][0]["cells"]["auc"]["high"]
    assert [one.name for one in path.parent.iterdir()] == ["report.json"]


def test_markdown_says_all_of_it() -> None:
    text = markdown(full_report())
    for words in (
        "| ranker ",
        "Difference to decoder, paired",
        " worse ",
        "60 subjects, 60 requests, 480 candidates",
        "54 of 60 (90%) of the subjects, 150 of 200 (75%) of the items",
        "logged is not compared",
        "cut from prompts: events 12",
        "errors: too_long 3",
        "log_loss, ece of worse: offers no probabilities",
        "gauc: 6 of 60 subjects are left out",
    ):
        assert words in text
    grid = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in grid[:5]}) == 1


@pytest.mark.parametrize("width", [60, 80, 140])
def test_table_fits_its_width_and_shows_every_metric(width: int) -> None:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(full_report(), width))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for name in [*ALL, "decoder", "twin", "▼"]:
        assert name in text


def test_reliability_says_what_was_said_and_what_happened() -> None:
    generator = np.random.default_rng(1)
    chance = generator.uniform(0.0, 1.0, 1000)
    gain = (generator.random(1000) < chance**2).astype(float)
    rows = rows_of(list(gain), list(np.repeat(np.arange(100), 10)))
    labelled = labelled_of(rows, {"a": chance, "b": chance}, {"a": chance})
    bins = report_of(labelled, ["brier"], reference="a", draws=200).ranker("a").reliability
    order = np.argsort(chance).reshape(10, 100)
    assert [one.rows for one in bins] == [100] * 10
    assert [one.predicted for one in bins] == pytest.approx(chance[order].mean(axis=1))
    assert [one.observed for one in bins] == pytest.approx(gain[order].mean(axis=1))
    for one in bins:
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.observed <= one.high
    assert sum(one.high is not None and one.high < one.predicted for one in bins) >= 4
    both_ways = report_of(labelled, ["auc", "brier"], reference="a", draws=0)
    assert both_ways.ranker("b").reliability == ()
    assert both_ways.ranker("a").reliability[0].low is None
    assert report_of(labelled, ["auc"], reference="a", draws=0).ranker("a").reliability == ()


def test_orders_stand_beside_the_reference_and_the_incoming_order() -> None:
    rows = rows_of([1, 0, 0, 1, 0, 0], request=[0, 0, 0, 1, 1, 1])
    scores = {"decoder": [3, 2, 1, 3, 2, 1], "other": [3, 1, 2, 1, 2, 3]}
    position = np.array([3, 2, 1, 1, 2, np.nan])
    labelled = dataclasses.replace(labelled_of(rows, scores), position=position)
    orders = report_of(labelled, ["auc"], reference="decoder", draws=20).orders
    assert [(one.name, one.against) for one in orders] == [
        ("other", "decoder"),
        ("decoder", "incoming"),
        ("other", "incoming"),
    ]
    beside, came = orders[0], orders[1]
    assert beside.top1.value == 0.5
    assert beside.kendall_tau.value == pytest.approx((1 / 3 - 1) / 2)
    assert beside.kendall_tau.low is not None and beside.kendall_tau.low < 0
    # Only request 0 has all its positions: they are the other way round.
    assert (came.top1.value, came.kendall_tau.value) == (0.0, -1.0)
    assert (came.top1.used, came.top1.left_out) == (1, 1)
    assert report_of(labelled_of(rows, scores), ["auc"], reference="other").orders[0].name == (
        "decoder"
    )


def sampled(name: str, sampler: str | None, wanted: Any = 99) -> Request:
    meta = {} if sampler is None else {"negatives": {"sampler": sampler, "wanted": wanted}}
    both_kinds = (candidate("x", "1", position=1), candidate("y", "0", position=2))
    return Request(name, Subject(name), both_kinds, meta=meta)


def flat(given: list[Request]) -> dict[str, Scores]:
    return scores_by(given, {"flat": lambda request: Values([0.0] * len(request.candidates))})


def test_metrics_over_sampled_negatives_say_so_in_their_name() -> None:
    answers = {"1": {"say": "Yes", "value": 1}, "0": {"say": "No", "value": 0}}
    task = make_task(questions={"q": {"ask": "?", "answers": answers}}, metrics=["auc", "mrr@5"])
    given = [sampled("a", "uniform"), sampled("b", "uniform")]
    report = compare(task, given, flat(given), draws=0)
    assert report.metrics == ("auc~u99", "mrr@5~u99")
    assert set(report.rankers[0].cells) == {"auc~u99", "mrr@5~u99"}
    assert [one.against for one in report.orders] == ["incoming"]
    same = compare(task, given, flat(given), metrics=["auc~u99", "auc"], draws=0)
    assert same.metrics == ("auc~u99",)
    with pytest.raises(InputError, match=r"auc~p9: .* are sampled as u99; .* write auc~u99"):
        compare(task, given, flat(given), metrics=["auc~p9"], draws=0)
    plain = [sampled("a", None), sampled("b", None)]
    assert compare(task, plain, flat(plain), draws=0).metrics == ("auc", "mrr@5")
    with pytest.raises(InputError, match=r"auc~u99: .* are not sampled"):
        compare(task, plain, flat(plain), metrics=["auc~u99"], draws=0)


@pytest.mark.parametrize(
    ("others", "said"),
    [
        (sampled("b", "popular"), r"u99 \(request 'a'\) and p99 \(request 'b'\)"),
        (sampled("b", "uniform", 9), "u99 .* and u9 "),
        (sampled("b", None), "u99 .* and none "),
        (sampled("b", "hard"), "request 'b': meta.negatives needs `sampler`"),
        (sampled("b", "uniform", 0), "a count of 1 or more"),
    ],
)
def test_negatives_that_were_sampled_in_two_ways_are_refused(others: Request, said: str) -> None:
    given = [sampled("a", "uniform"), others]
    with pytest.raises(DataError, match=said):
        label_rows(given, flat(given), gain_of=gain_of, relevant_at=1)


def test_a_request_names_its_domain() -> None:
    given = [
        Request("a", Subject("a"), (candidate("x", "1"), candidate("y", "0")), meta={"domain": d})
        for d in ("books", None)
    ]
    given[1] = dataclasses.replace(given[1], request_id="b")
    labelled = label_rows(given, flat(given), gain_of=gain_of, relevant_at=1)
    assert labelled.domain is not None
    assert labelled.domain.tolist() == [0, 0, 1, 1]
    cell = report_of(labelled, ["wauc"], reference="flat", draws=0).rankers[0].cells["wauc"]
    assert (cell.value, cell.used, cell.unit) == (0.5, 2, "domains")
