"""Slices: which candidate lies where, parts that sum to the whole, and a planted cold start."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import promptrank
from promptrank.errors import InputError
from promptrank.evaluation.compare import compare
from promptrank.evaluation.prompt_slices import named_by_prompts, prompt_slicings
from promptrank.evaluation.report_markdown import markdown
from promptrank.evaluation.report_table import table
from promptrank.evaluation.seen import SeenInTraining
from promptrank.evaluation.slices import BY_COUNT, Slicing, check_names, fit_slicings
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores
from support.data import built, make_task, write_rows
from support.measured import scores_by


def task_of(*metrics: str) -> Task:
    answers = {"1": {"say": "Yes", "value": 1}, "0": {"say": "No", "value": 0}}
    return make_task(questions={"q": {"ask": "?", "answers": answers}}, metrics=list(metrics))


def request(name: str, events: int, *candidates: Candidate) -> Request:
    history = tuple(Event(Item("h", {}), time=float(i)) for i in range(events))
    return Request(name, Subject(name), candidates, history, time=100.0)


def candidate(name: str, label: str = "1", count: float | None = 0.0) -> Candidate:
    baseline = {} if count is None else {"item_count": count, "mean": 0.5}
    return Candidate(name, Item(name, {}), outcomes={"q": label}, baseline=baseline)


@pytest.mark.parametrize(
    ("events", "label"),
    [
        (0, "0"),
        (1, "1-2"),
        (2, "1-2"),
        (3, "3-5"),
        (5, "3-5"),
        (10, "6-10"),
        (11, "11-100"),
        (101, "101+"),
    ],
)
def test_where_a_member_lies(events: int, label: str) -> None:
    slicing = BY_COUNT["history"]
    assert slicing.labels[slicing.code(request("a", events), candidate("x"))] == label


@pytest.mark.parametrize(
    ("count", "label"),
    [(0.0, "0"), (2.0, "1-2"), (19.0, "6-19"), (100.0, "100+"), (None, "unknown")],
)
def test_where_an_item_lies(count: float | None, label: str) -> None:
    slicing = BY_COUNT["item_events"]
    assert slicing.labels[slicing.code(request("a", 0), candidate("x", count=count))] == label


def test_an_item_without_a_count_beside_other_numbers_is_new() -> None:
    new = Candidate("x", Item("x", {}), baseline={"item_count": None, "mean": 0.5})
    assert BY_COUNT["item_events"].code(request("a", 0), new) == 0


@pytest.mark.long
def test_slices_sum_to_the_whole_and_show_a_planted_cold_start() -> None:
    generator = np.random.default_rng(3)
    requests = []
    for i in range(200):
        made = []
        for j in range(6):
            truth = bool(generator.random() < 0.5)
            count = float(generator.choice([0, 1, 50]))
            made.append(candidate(f"c{j}", str(int(truth)), count))
        requests.append(request(f"r{i}", i % 8, *made))

    def text(request: Request) -> Values:  # right for everybody, with the same noise
        return Values([float(c.outcomes["q"]) + generator.normal() for c in request.candidates])

    def behaviour(request: Request) -> Values:  # knows nothing of a new item
        return Values(
            [
                (float(c.outcomes["q"]) + 0.3 * generator.normal()) * bool(c.baseline["item_count"])
                for c in request.candidates
            ]
        )

    task = task_of("auc", "gauc")
    report = compare(
        task,
        requests,
        scores_by(requests, {"text": text, "behaviour": behaviour}),
        draws=200,
        slicings=fit_slicings(["item_events", "history", "history"], requests),
    )
    names = [(part.by, part.name) for part in report.slices]
    assert names[:3] == [("item_events", "0"), ("item_events", "1-2"), ("item_events", "20-99")]
    assert names[3:] == [("history", n) for n in ("0", "1-2", "3-5", "6-10")]
    for by in ("item_events", "history"):
        parts = [part for part in report.slices if part.by == by]
        assert sum(part.counts.candidates for part in parts) == report.counts.candidates == 1200
        assert sum(part.counts.positives for part in parts) == report.counts.positives
    verdicts = [part.rankers[1].differences["auc"].verdict for part in report.slices[:3]]
    assert verdicts == ["worse", "better", "better"]
    blind = report.slices[0].rankers[1].cells["auc"]
    assert (blind.value, blind.low, blind.high) == pytest.approx((0.5, 0.5, 0.5))
    # The metric of a slice is the metric of those rows alone.
    few = [r for r in requests if len(r.history) in (1, 2)]
    alone = compare(
        task,
        few,
        scores_by(few, {"truth": lambda r: Values([float(c.outcomes["q"]) for c in r.candidates])}),
        draws=0,
    )
    part = next(p for p in report.slices if (p.by, p.name) == ("history", "1-2"))
    assert part.counts.subjects == alone.counts.subjects == 50
    assert part.rankers[0].cells["gauc"].used == alone.rankers[0].cells["gauc"].used
    shown = io.StringIO()
    Console(file=shown, width=100).print(table(report))
    for said in (shown.getvalue(), markdown(report)):
        assert "history 1-2: 50 subjects, 50 requests, 300 candidates" in said
    assert '"by": "history"' in report.to_json()


def by_history() -> Slicing:
    counted = BY_COUNT["history"]
    return Slicing("history", counted.labels, counted.code)


def test_a_slice_without_both_kinds_says_so() -> None:
    requests = [request("a", 0, candidate("x", "1")), request("b", 1, candidate("y", "0"))]
    scores = scores_by(requests, {"r": lambda r: Values([0.0] * len(r.candidates))})
    report = compare(task_of("auc"), requests, scores, slicings=[by_history()])
    cells = [part.rankers[0].cells["auc"] for part in report.slices]
    assert [cell.value for cell in cells] == [None, None]
    assert [cell.reason for cell in cells] == [
        "all candidates are relevant",
        "all candidates are not relevant",
    ]


def test_slicings_that_cannot_be() -> None:
    with pytest.raises(InputError, match="--slice item_event: did you mean 'item_events'"):
        check_names(["item_event"])
    judged = [request("a", 0, candidate("x", count=None))]
    with pytest.raises(InputError, match="no candidate has a count of events"):
        fit_slicings(["item_events"], judged)
    with pytest.raises(InputError, match="no request has a history"):
        fit_slicings(["history"], judged)
    with pytest.raises(InputError, match="no candidate has a logged position"):
        fit_slicings(["position"], judged)
    with pytest.raises(InputError, match="no request is of the part train"):
        fit_slicings(["item_seen"], judged, SeenInTraining())
    fit_slicings(["history"], [*judged, request("b", 1, candidate("x"))])


def of_items(field: str, values: Sequence[Any]) -> list[Request]:
    return [
        request(f"r{i}", 0, Candidate("x", Item("x", {field: value}), outcomes={"q": "1"}))
        for i, value in enumerate(values)
    ]


def placed(slicing: Slicing, requests: Sequence[Request]) -> list[str]:
    return [slicing.labels[slicing.code(r, c)] for r in requests for c in r.candidates]


def test_a_field_of_texts_has_a_slice_for_each() -> None:
    requests = of_items("brand", ["b", "a", None, "a", True])
    (slicing,) = fit_slicings(["item.brand"], requests)
    assert slicing.labels == ("a", "True", "b", "none")
    assert placed(slicing, requests) == ["b", "a", "none", "a", "True"]


def test_rare_texts_are_one_slice() -> None:
    values = [name for k, name in enumerate("abcdefghijkl") for _ in range(20 - k)]
    requests = of_items("brand", values)
    (slicing,) = fit_slicings(["item.brand"], requests)
    assert slicing.labels == (*"abcdefghi", "others (3 values)", "none")
    assert placed(slicing, requests).count("others (3 values)") == 11 + 10 + 9


def test_a_field_of_numbers_is_parted_at_its_fifths() -> None:
    requests = of_items("price", [*range(100), math.nan, None])
    (slicing,) = fit_slicings(["item.price"], requests)
    labels = ("below 20", "20 to 40", "40 to 60", "60 to 80", "80 and more")
    assert slicing.labels == (*labels, "none")
    assert placed(slicing, requests) == [labels[k // 20] for k in range(100)] + ["none"] * 2


def test_a_number_that_most_have_is_a_slice_of_its_own() -> None:
    requests = of_items("price", [0] * 90 + [*range(1, 11)])
    (slicing,) = fit_slicings(["item.price"], requests)
    assert slicing.labels == ("below 1", "1 and more", "none")


@given(st.lists(st.sampled_from([None, 0, 1, 2.5, -3, 7, 1e9, *range(20, 32)]), min_size=1))
def test_every_number_lies_between_the_bounds_of_its_slice(values: list[float | None]) -> None:
    if all(value is None for value in values):
        return
    requests = of_items("price", values)
    (slicing,) = fit_slicings(["item.price"], requests)
    for value, label in zip(values, placed(slicing, requests), strict=True):
        if value is None:
            assert label == "none"
        elif label.startswith("below "):
            assert value < float(label.split()[1])
        elif " to " in label:
            low, high = map(float, label.split(" to "))
            assert low <= value < high
        elif label.endswith(" and more"):
            assert value >= float(label.split()[0])
        else:
            assert value == float(label)


@pytest.mark.parametrize(
    "values",
    [
        [1234567, 1234568, 1234569],
        ["a" * 50 + "b", "a" * 50 + "c"],
        ["none", None],
        [1.0, "1"],
        [1e-9 * k for k in range(1, 40)],
    ],
)
def test_every_slice_has_a_name_of_its_own(values: list[Any]) -> None:
    requests = of_items("x", values)
    (slicing,) = fit_slicings(["item.x"], requests)
    assert len(set(slicing.labels)) == len(slicing.labels)
    assert len(set(placed(slicing, requests))) == min(len(values), 5)


def test_what_is_no_field_to_slice_by() -> None:
    requests = of_items("brand", ["a", ["b"]])
    with pytest.raises(InputError, match=r"item\.brand: it holds lists or objects"):
        fit_slicings(["item.brand"], requests)
    with pytest.raises(InputError, match=r"item\.brnd: no candidate has it; did you mean 'brand'"):
        fit_slicings(["item.brnd"], requests[:1])
    with pytest.raises(InputError, match=r"item\.brand: no candidate has it; it is empty"):
        fit_slicings(["item.brand"], of_items("brand", [None]))


def test_what_training_knew() -> None:
    seen = SeenInTraining()
    seen.add(replace(request("a", 0, candidate("x")), split="train"))  # at 100 seconds
    requests = [request("a", 0, candidate("x"), candidate("y")), request("b", 0, candidate("y"))]
    subject, item = fit_slicings(["subject_seen", "item_seen"], requests, seen)
    assert placed(subject, requests) == ["seen in training"] * 2 + ["new"]
    assert placed(item, requests) == ["seen in training", "new", "new"]
    later = [
        replace(requests[1], time=time)
        for time in (99.0, 100.0, 100 + 86_400.0, 100 + 27.5 * 86_400, 100 + 28 * 86_400, None)
    ]
    (days,) = fit_slicings(["days_after_training"], later, seen)
    assert placed(days, later) == ["before the end", "0", "1-6", "7-27", "28+", "unknown"]


def test_an_expression_over_fields_has_slices_as_a_field_has() -> None:
    requests = of_items("year", [1989, 1990, None, 2001, "?"])
    (recent,) = fit_slicings(["item.year >= 1990"], requests)
    assert recent.labels == ("True", "False", "none")
    assert placed(recent, requests) == ["False", "True", "none", "True", "none"]
    (decade,) = fit_slicings(["item.year // 10 * 10"], requests)
    assert placed(decade, requests) == ["1980", "1990", "none", "2000", "none"]
    listed = of_items("genres", [["Drama"], [], ["Comedy", "Drama"]])
    (drama,) = fit_slicings(["'Drama' in item.genres"], listed)
    assert placed(drama, listed) == ["True", "False", "True"]
    # A column may be called as no expression is written.
    odd = of_items("release-date", ["a", "b"])
    (dated,) = fit_slicings(["item.release-date"], odd)
    assert placed(dated, odd) == ["a", "b"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("item.year >=", "no expression over fields"),
        ("item.yaer > 1990", r"no candidate has item\.yaer; did you mean 'year'"),
        ("itm.year > 1990", "itm: did you mean 'item'"),
        ("item.year.upper()", "no value for any candidate: 'upper' of a int cannot be used"),
        ("item.year / 0", "no value for any candidate: division by zero"),
        ("'x' * 10 ** 9", "no value for any candidate: .* more than 1,000,000 characters"),
        ("[item.year]", "holds lists or objects"),
        ("(2 ** 30) ** 50", "no value for any candidate"),
        ("1e400", "no value for any candidate: it has a number that is too large"),
        ("not " * 250 + "item.year", r"--slice not [not ]*n\.\.\.: no expression over fields"),
        ("-" * 300 + "1", r"--slice -{57}\.\.\.: no expression over fields"),
        ("9" * 5000, r"--slice 9{57}\.\.\.: no expression over fields"),
    ],
)
def test_what_is_no_expression_to_slice_by(expression: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_names([expression])
        fit_slicings([expression], of_items("year", [1989, 1990]))


@pytest.mark.long
def test_where_labels_come_from(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", [{"item_id": i} for i in "abcdefgh"])
    shown = [{"request": f"r{k}", "item_id": i, "time": k} for k in range(4) for i in "abc"]
    write_rows(tmp_path / "shown.parquet", shown)
    acted = [{"request": "r0", "item_id": "a", "label": "like"}]
    write_rows(tmp_path / "acted.parquet", acted)
    task = make_task(
        ratings=None,
        history=None,
        requests={
            "path": "shown.parquet",
            "id": "request",
            "time": "time",
            "subject": {"query": "request"},
            "candidate": {"item": "items"},
            "negatives": {"count": 2, "label": "dislike"},
        },
        outcomes={
            "path": "acted.parquet",
            "key": ["request", "item_id"],
            "label": "label",
            "none": "dislike",
        },
    )
    requests = [*built(task, tmp_path).values()]
    (slicing,) = fit_slicings(["label_source"], requests)
    assert slicing.labels == ("no outcome", "sampled", "outcomes", "not said")
    by = {
        (r.request_id, c.candidate_id): slicing.labels[slicing.code(r, c)]
        for r in requests
        for c in r.candidates
    }
    assert by["r0", "a"] == "outcomes"
    assert {by[f"r{k}", i] for k in range(4) for i in "abc"} == {"outcomes", "no outcome"}
    assert sum(source == "sampled" for source in by.values()) == 4 * 2
    assert all(by[key] == "sampled" for key in by if key[1] not in "abc")
    with pytest.raises(InputError, match="all labels of this task come from one place"):
        fit_slicings(["label_source"], [request("a", 0, candidate("x"))])


def test_prompts_have_slices_that_sum_to_the_whole() -> None:
    requests = [request(f"r{i}", 1, candidate("x", str(i % 2)), candidate("y")) for i in range(4)]
    keys = [(r.request_id, c.candidate_id) for r in requests for c in r.candidates]
    table = pa.table(
        {
            "request_id": [key[0] for key in keys],
            "candidate_id": [key[1] for key in keys],
            "score": [0.5] * 7 + [None],
            "prompt_tokens": [1, 128, 129, 256, 257, 8192, 8193, None],
            "events_dropped": [0, 0, 2, 2, 0, 0, 0, None],
            "fields_shortened": ["", "", "", "", "item.text", "", "", None],
        }
    )
    scores = Scores(table.slice(0, 7), Origin("decoder"))
    tokens, cut = prompt_slicings(["prompt_tokens", "history", "cut"], scores)
    bands = ["up to 128"] * 2 + ["129-256"] * 2 + ["257-512", "4097-8192", "8193+", "unknown"]
    assert placed(tokens, requests) == bands
    assert placed(cut, requests) == [
        *("whole", "whole", "cut", "cut", "cut", "whole", "whole", "unknown")
    ]
    scores_all = Scores(table, Origin("decoder"))
    report = compare(
        task_of("auc"), requests, {"decoder": scores_all}, draws=0, slicings=[tokens, cut]
    )
    for by in ("prompt_tokens", "cut"):
        counts = [part.counts.candidates for part in report.slices if part.by == by]
        assert sum(counts) == report.counts.candidates == 7
    names = {slicing.name: slicing.labels for slicing in named_by_prompts(["cut", "item.x"])}
    assert names == {"cut": cut.labels}
    theirs = Scores(table.select(["request_id", "candidate_id", "score"]), Origin("bm25"))
    for name in ("prompt_tokens", "cut"):
        with pytest.raises(InputError, match=f"--slice {name}: the scores of bm25 say nothing"):
            prompt_slicings([name], theirs)


@pytest.mark.slow
def test_eval_takes_slices(toys: Path) -> None:
    report = promptrank.evaluate(
        "toys/like",
        project=toys,
        engine="fake",
        draws=100,
        slices=["history", "item_events", "prompt_tokens", "cut", "item.title > 'Toy 3'"],
    )
    assert {part.by for part in report.slices} == {
        "history",
        "item_events",
        "prompt_tokens",
        "cut",
        "item.title > 'Toy 3'",
    }
    for by in ("prompt_tokens", "cut"):
        parts = [part for part in report.slices if part.by == by]
        assert sum(part.counts.candidates for part in parts) == report.counts.candidates
        assert "unknown" not in {part.name for part in parts}
    with pytest.raises(InputError, match="--slice cut: baseline:bm25 reads no prompts"):
        promptrank.evaluate("toys/like", project=toys, engine="baseline:bm25", slices=["cut"])
