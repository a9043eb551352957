"""Slices: which candidate lies where, parts that sum to the whole, and a planted cold start."""

import io
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import promptrank
from promptrank.errors import InputError
from promptrank.evaluation.compare import compare
from promptrank.evaluation.report_markdown import markdown
from promptrank.evaluation.report_table import table
from promptrank.evaluation.seen import SeenInTraining
from promptrank.evaluation.slices import BY_COUNT, Slicing, check_names, fit_slicings
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task
from support.data import make_task
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


@pytest.mark.slow
def test_eval_takes_slices(toys: Path) -> None:
    report = promptrank.evaluate(
        "toys/like",
        project=toys,
        engine="fake",
        draws=100,
        slices=["history", "item_events", "item_seen", "item.title"],
    )
    assert {part.by for part in report.slices} == {
        "history",
        "item_events",
        "item_seen",
        "item.title",
    }
