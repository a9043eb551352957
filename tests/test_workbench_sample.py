"""An edit on a sample: the numbers of `promptrank eval`, what is reused, stopped and told."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import promptrank
from promptrank.errors import InputError
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.requests.source import RequestFile
from promptrank.runtime.runtime import Runtime
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores
from promptrank.workbench import sampled_run
from promptrank.workbench.beside_saved import certainty, changes_of, report_of_edit
from promptrank.workbench.database import Database
from promptrank.workbench.kept_rankings import KeptRankings
from promptrank.workbench.looks import Progress
from promptrank.workbench.sampled_run import SampledRun, Sides
from promptrank.workbench.versions import DONE, FAILED, STOPPED, KeptRun, Versions
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import open_task, with_template
from support.data import make_task
from support.serving import HeldEngine


class Bench:
    """A project with a request file, a template that was edited, and a database in memory."""

    def __init__(self, toys: Path) -> None:
        self.project, self.requests = toys, toys / "requests.parquet"
        promptrank.build("toys/like", self.requests, project=toys)
        self.opened = open_task("toys/like", project=toys)
        text = (toys / "templates/toys/like.j2").read_text()
        (toys / "templates/toys/edit.j2").write_text(text.replace("Toy:", "This toy:"))
        self.file = RequestFile(self.requests, self.opened.task)
        database = Database(None)
        self.versions, self.rankings = Versions(database), KeptRankings(database)
        self.runtime, self.turn, self.asked = Runtime(), threading.Lock(), list[str]()

    def ranker(self, template: str, engine: Any = None) -> promptrank.Ranker:
        opened = with_template(self.opened, template)
        ranker = open_ranker(opened, engine="fake", runtime=self.runtime)
        if engine is not None:
            ranker.put_before(engine)
        plain = ranker.rank_many

        def noted(requests: Any, **more: Any) -> Any:
            requests = list(requests)
            self.asked += [f"{template}:{request.request_id}" for request in requests]
            return plain(requests, **more)

        ranker.rank_many = noted  # type: ignore[method-assign]
        return ranker

    def run(
        self,
        size: int | None = None,
        edit: str = "toys/edit.j2",
        engine: Any = None,
        busy: Callable[[], bool] = lambda: False,
        part: str | None = "test",
    ) -> SampledRun:
        texts = TaskTexts("task", edit, "t.j2"), TaskTexts("task", "toys/like.j2", "t.j2")
        sides = Sides(
            lambda: self.ranker(edit, engine), lambda: self.ranker("toys/like.j2", engine), busy
        )
        run = KeptRun("toys/like", *texts, part=part)
        return SampledRun(run, size, sides, self.file, self.versions, self.rankings, self.turn)

    def ran(self, **how: Any) -> SampledRun:
        made = self.run(**how)
        made.start()
        assert made.join(30)
        return made


@pytest.fixture
def bench(toys: Path) -> Bench:
    return Bench(toys)


@pytest.mark.long
def test_the_numbers_are_those_of_eval_beside_the_template(bench: Bench) -> None:
    ran = bench.ran(size=9)
    assert ran.seen is not None and ran.seen.final and ran.seen.report is not None
    ours = ran.seen.report
    theirs = promptrank.evaluate(
        "toys/like",
        project=bench.project,
        requests=bench.requests,
        limit=9,
        engine="fake",
        vs=["template:toys/edit.j2"],
    )
    edit = theirs.ranker("template:toys/edit.j2")
    assert ours.metrics == theirs.metrics
    assert ours.ranker("saved").cells == theirs.ranker("decoder").cells
    assert ours.ranker("edit").cells == edit.cells
    for metric, gap in ours.ranker("edit").differences.items():
        other = edit.differences[metric]
        assert (gap.value, gap.low, gap.high) == (other.value, other.low, other.high)
        assert (gap.low, gap.high) == gap.ends  # there is nothing else to correct for
    assert ours.counts.requests == 9


@pytest.mark.slow
def test_samples_are_nested_and_nothing_is_ranked_twice(bench: Bench) -> None:
    few = bench.ran(size=4)
    assert len(bench.asked) == 8 and few.progress.reused == 0
    more = bench.ran(size=8)
    assert more.run.request_ids[:4] == few.run.request_ids
    assert len(bench.asked) == 16 and more.progress.reused == 8
    again = bench.ran(size=8)
    assert len(bench.asked) == 16 and again.progress.reused == 16
    assert again.seen is not None and more.seen is not None
    assert again.seen.changes == more.seen.changes
    same = bench.ran(size=8, edit="toys/like.j2")
    assert len(bench.asked) == 16 and same.run.edit_key == same.run.saved_key
    assert same.seen is not None and not any(change.moved for change in same.seen.changes)
    kept = bench.versions.every("toys/like")
    assert {run.state for run in kept} == {DONE} and len(kept) == 4
    assert bench.versions.report(more.run.run_id) == more.seen.report


@pytest.mark.long
def test_a_run_that_is_stopped_measures_what_it_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampled_run, "GROUP", 1)
    engine = HeldEngine()
    engine.let(4)  # a request of each side, and another of each
    run = bench.run(engine=engine)
    run.start()
    until(lambda: run.progress.done == 2 and engine.reached.is_set())
    run.stop()
    engine.open()
    assert run.join(30)
    assert run.progress.doing == STOPPED and run.progress.done == 2
    assert run.seen is not None and run.seen.requests == 2 and run.seen.report is not None
    assert run.seen.report.counts.requests == 2
    assert bench.versions.run(run.run.run_id).state == STOPPED


@pytest.mark.slow
def test_real_requests_go_first(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    traffic = threading.Event()
    traffic.set()
    run = bench.run(size=4, busy=traffic.is_set)
    run.start()
    until(lambda: run.progress.doing == "waiting")
    assert bench.asked == []
    traffic.clear()
    assert run.join(30)
    assert len(bench.asked) == 8
    monkeypatch.setattr(sampled_run, "PATIENCE", 0.05)
    assert bench.ran(size=8, busy=lambda: True).progress.doing == DONE  # it is never starved


@pytest.mark.slow
def test_what_keeps_a_run_from_ranking_is_said(bench: Bench) -> None:
    def refuse() -> promptrank.Ranker:
        raise InputError("template toys/like.j2:3: unexpected '}'")

    run = bench.run()
    run._sides = Sides(refuse, refuse)
    run.start()
    assert run.join(30)
    assert (run.progress.doing, run.progress.message) == (
        FAILED,
        "template toys/like.j2:3: unexpected '}'",
    )
    nothing = bench.ran(part="nowhere")
    assert "holds no request of this part" in nothing.progress.message


@pytest.mark.slow
def test_a_server_that_ends_stops_its_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_run, "GROUP", 1)
    run = bench.run()
    run._sides = replace(run._sides, ending=lambda: len(bench.asked) >= 4)
    run.start()
    assert run.join(30)
    assert run.progress.doing == STOPPED and run.progress.done == 1
    assert bench.versions.run(run.run.run_id).state == STOPPED


def until(condition: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(4000):
        if condition():
            return
        waited.wait(0.005)
    raise AssertionError("never came about")


# -- by hand ---------------------------------------------------------------------------------


def request(name: str, labels: str, subject: str | None = None) -> Request:
    """Candidates a, b, c..., each with the label of its letter: 1, 0, or none (-)."""
    return Request(
        name,
        Subject(subject or f"s{name}"),
        tuple(
            Candidate(c, Item(c, {}), outcomes={"like": label} if label != "-" else {})
            for c, label in zip("abcdef", labels, strict=False)
        ),
    )


def scores_of_orders(orders: dict[str, str]) -> Scores:
    """Scores that put each request's candidates in this order."""
    import pyarrow as pa

    rows = [
        (name, candidate, float(-place), place + 1)
        for name, order in orders.items()
        for place, candidate in enumerate(order)
    ]
    columns = ("request_id", "candidate_id", "score", "rank")
    table = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
    return Scores(table, Origin("table"))


TASK = make_task(
    questions={
        "like": {
            "ask": "?",
            "answers": {"1": {"say": "Y", "value": 1}, "0": {"say": "N", "value": 0}},
        }
    },
    metrics=["auc", "mrr"],
)


def test_changes_are_by_the_requests_own_metric_and_regressions_come_first() -> None:
    requests = [
        request("same", "10"),
        request("worse", "100"),
        request("better", "010"),
        request("unlabelled", "--"),
        request("alike", "11"),
        request("lost", "10"),
    ]
    before = dict.fromkeys(("same", "alike", "unlabelled", "lost"), "ab")
    saved = scores_of_orders(before | {"worse": "abc", "better": "acb"})
    after = {"same": "ab", "alike": "ba", "unlabelled": "ba", "worse": "bca", "better": "bac"}
    edit = scores_of_orders(after)  # which could rank nothing of "lost"
    changes = changes_of(TASK, requests, saved, edit)
    assert [(c.request_id, c.before, c.after, c.moved, c.first_moved) for c in changes] == [
        ("worse", 1.0, pytest.approx(1 / 3), 3, True),
        ("alike", 1.0, 1.0, 2, True),
        ("same", 1.0, 1.0, 0, False),
        ("better", pytest.approx(1 / 3), 1.0, 3, True),
        ("unlabelled", None, None, 2, True),
    ]
    passed = {which: [c.request_id for c in changes if c.passes(which)] for which in FILTERED}
    assert passed == FILTERED


FILTERED: dict[Any, list[str]] = {
    "all": ["worse", "alike", "same", "better", "unlabelled"],
    "different": ["worse", "alike", "better", "unlabelled"],
    "worse": ["worse"],
    "better": ["better"],
}


def planted(better: int, worse: int, same: int) -> tuple[list[Request], Scores, Scores]:
    """Requests of which so many have the relevant one first by the edit alone, and so on."""
    kinds = ["better"] * better + ["worse"] * worse + ["same"] * same
    requests = [request(f"r{i}", "10") for i in range(len(kinds))]
    saved = {f"r{i}": "ba" if kind == "better" else "ab" for i, kind in enumerate(kinds)}
    edit = {f"r{i}": "ba" if kind == "worse" else "ab" for i, kind in enumerate(kinds)}
    return requests, scores_of_orders(saved), scores_of_orders(edit)


@pytest.mark.parametrize(
    ("counts", "side", "says", "needs"),
    [
        ((30, 2, 28), "better", "auc is .467 above the saved version, and the interval", ""),
        ((2, 30, 28), "worse", "auc is .467 below the saved version, and the interval", ""),
        ((5, 3, 52), None, "within what chance does", "more requests would show it"),
        ((4, 4, 52), None, "auc is that of the saved version", "far more requests"),
    ],
)
def test_certainty_is_a_plain_sentence(
    counts: tuple[int, int, int], side: str | None, says: str, needs: str
) -> None:
    requests, saved, edit = planted(*counts)
    report = report_of_edit(TASK, requests, {"saved": saved, "edit": edit}, draws=300)
    told = certainty(report)
    assert told.side == side
    assert says in told.sentence
    assert needs in told.needed and bool(told.needed) == bool(needs)


def test_requests_that_are_not_there_are_not_asked_for() -> None:
    requests, saved, edit = planted(5, 3, 52)
    report = report_of_edit(TASK, requests, {"saved": saved, "edit": edit}, draws=300)
    assert report.verdict is not None and report.verdict.more_requests is not None
    enough = 60 + report.verdict.more_requests
    assert "not so many" not in certainty(report, enough).needed
    assert certainty(report, 75).needed.endswith("There are not so many: 75 requests in all.")


def test_what_it_takes_grows_with_the_inverse_square_of_the_difference() -> None:
    """n (detectable / difference)^2 - n more, worked out from the report's own numbers."""
    requests, saved, edit = planted(5, 3, 52)
    report = report_of_edit(TASK, requests, {"saved": saved, "edit": edit})
    gap = report.ranker("edit").differences["auc"]
    assert gap.detectable is not None and report.verdict is not None
    more = 60 * ((gap.detectable / gap.value) ** 2 - 1)
    assert report.verdict.more_requests == pytest.approx(more, rel=0.1)


def test_nothing_to_measure_is_said() -> None:
    from promptrank.errors import DataError

    requests, saved, edit = planted(1, 0, 0)
    with pytest.raises(DataError, match="no candidate has a label"):
        report_of_edit(TASK, [request("r0", "--")], {"saved": saved, "edit": edit})
    report = report_of_edit(TASK, requests, {"saved": saved, "edit": edit})
    assert "no interval" in certainty(report).sentence


@pytest.mark.parametrize(
    ("left", "done", "told"),
    [(None, 0, ""), (3.2, 4, "about 4 s left"), (334.0, 4, "about 6 min left"), (0.0, 20, "")],
)
def test_what_is_left_is_told_in_round_words(left: float | None, done: int, told: str) -> None:
    assert Progress("ranking", done, 20, 0, 1.0, left).left_told == told
