"""Slices: which candidate lies where, parts that sum to the whole, and a planted cold start."""

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

import promptrank
from promptrank.errors import InputError
from promptrank.evaluation.compare import compare
from promptrank.evaluation.report_text import markdown, table
from promptrank.evaluation.slices import SLICINGS, check_slicings, slicings_of
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
    ("events", "label"), [(0, "0"), (1, "1-2"), (2, "1-2"), (3, "3-5"), (5, "3-5"), (6, "6+")]
)
def test_where_a_member_lies(events: int, label: str) -> None:
    slicing = SLICINGS["history"]
    assert slicing.labels[slicing.code(request("a", events), candidate("x"))] == label


@pytest.mark.parametrize(
    ("count", "label"),
    [(0.0, "0"), (2.0, "1-2"), (19.0, "6-19"), (100.0, "100+"), (None, "unknown")],
)
def test_where_an_item_lies(count: float | None, label: str) -> None:
    slicing = SLICINGS["item_events"]
    assert slicing.labels[slicing.code(request("a", 0), candidate("x", count=count))] == label


def test_an_item_without_a_count_beside_other_numbers_is_new() -> None:
    new = Candidate("x", Item("x", {}), baseline={"item_count": None, "mean": 0.5})
    assert SLICINGS["item_events"].code(request("a", 0), new) == 0


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
        slicings=slicings_of(["item_events", "history", "history"]),
    )
    names = [(part.by, part.name) for part in report.slices]
    assert names[:3] == [("item_events", "0"), ("item_events", "1-2"), ("item_events", "20-99")]
    assert names[3:] == [("history", n) for n in ("0", "1-2", "3-5", "6+")]
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


def test_a_slice_without_both_kinds_says_so() -> None:
    requests = [request("a", 0, candidate("x", "1")), request("b", 1, candidate("y", "0"))]
    scores = scores_by(requests, {"r": lambda r: Values([0.0] * len(r.candidates))})
    report = compare(task_of("auc"), requests, scores, slicings=slicings_of(["history"]))
    cells = [part.rankers[0].cells["auc"] for part in report.slices]
    assert [cell.value for cell in cells] == [None, None]
    assert [cell.reason for cell in cells] == [
        "all candidates are relevant",
        "all candidates are not relevant",
    ]


def test_slicings_that_cannot_be() -> None:
    with pytest.raises(InputError, match="--slice item_event: did you mean 'item_events'"):
        slicings_of(["item_event"])
    judged = [request("a", 0, candidate("x", count=None))]
    with pytest.raises(InputError, match="no candidate has a count of events"):
        check_slicings(slicings_of(["item_events"]), judged)
    with pytest.raises(InputError, match="no request has a history"):
        check_slicings(slicings_of(["history"]), judged)
    check_slicings(slicings_of(["history"]), [*judged, request("b", 1, candidate("x"))])


@pytest.mark.slow
def test_eval_takes_slices(toys: Path) -> None:
    report = promptrank.evaluate(
        "toys/like", project=toys, engine="fake", draws=100, slices=["history", "item_events"]
    )
    assert {part.by for part in report.slices} == {"history", "item_events"}
