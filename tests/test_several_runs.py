"""Several runs in one go: a plan's problems, one model for all, order, numbers that one can see."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from promptrank.api.build import build
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.cli.main import app
from promptrank.cli.progress import LogSteps
from promptrank.cli.run_line import RunLine
from promptrank.cli.run_words import say_run
from promptrank.engine.contract import Branch, Slot, Steps, Tree
from promptrank.engine.fake import FakeEngine
from promptrank.engine.vllm_engine.vllm import VllmEngine
from promptrank.errors import DataError, ErrorRow, InputError, TaskError
from promptrank.ranking.loop import rankings
from promptrank.ranking.method import Asking
from promptrank.requests.sampling import request_count
from promptrank.requests.source import RequestFile
from promptrank.runs.error_texts import without_text
from promptrank.runs.planning import shared_length
from promptrank.runs.read_run import read_run, run_scores
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.runs.throughput import AskedTokens, Throughput
from promptrank.runtime.opened import Opened
from promptrank.schema.run_plan import load_plan
from promptrank.workspace.kept_scores import weights_known
from promptrank.workspace.planned_runs import open_plan
from promptrank.workspace.tasks import open_task
from support.models import make_model
from support.pages import DOCS, write_files
from support.toys import adapters_for, make_project
from support.vllm import skip_without_vllm

TASK = "toys/like"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    """The toys with a second task, and a file of requests."""
    toys = make_project(tmp_path_factory.mktemp("several") / "toys", tiny_llama_path)
    first = (toys / "tasks/toys/like.yaml").read_text()
    second = first.replace("Will they like it?", "Would they buy it?").replace("like:", "buy:", 1)
    (toys / "tasks/toys/buy.yaml").write_text(second)
    build(TASK, toys / "requests.parquet", project=toys)
    return toys


@pytest.fixture
def two(made: Path, tmp_path: Path) -> Path:
    """Them, for one test to change."""
    return Path(shutil.copytree(made, tmp_path / "toys"))


def planned(root: Path, text: str) -> Path:
    (root / "nightly.yaml").write_text(text)
    return root / "nightly.yaml"


def ranked(root: Path, plan: Any, folder: str = "runs", **more: Any) -> dict[str, RunSummary]:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 9}
    given |= {"requests": root / "requests.parquet"} | more
    return rank_plan(plan, root / folder, **given)


def invoke(root: Path, *words: str | Path) -> Any:
    more = ["--project", root, "--engine", "fake", "--requests", root / "requests.parquet"]
    return CliRunner().invoke(app, [*map(str, (*words, *more))])


def files(folder: Path) -> dict[str, bytes]:
    """Every file of runs but what only tells of their starts, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


PLAN = """\
runs:
  - task: toys/like
    requests: requests.parquet
  - task: toys/buy
    name: short
    split: test
    limit: 4
    set: {history.last: 2}
"""


@pytest.mark.long
def test_each_run_of_a_plan_is_a_run_in_its_own_right(two: Path) -> None:
    done = ranked(two, planned(two, PLAN))
    assert list(done) == ["toys-like", "short"]
    alone = rank_run(
        TASK, two / "alone", engine="fake", project=two, size=9, requests=two / "requests.parquet"
    )
    assert files(two / "runs" / "toys-like") == files(two / "alone")
    assert alone.counted == done["toys-like"].counted
    buy = open_task("toys/buy", project=two)
    scores = read_run(two / "runs" / "short", buy.task, buy.name)
    assert scores.origin.task == "toys/buy"
    assert done["short"].counted.requests == 4
    whole = json.loads((two / "runs" / "summary.json").read_text())
    both = [summary.counted for summary in done.values()]
    assert whole["scored"] == sum(counted.scored for counted in both)
    assert {name: run["candidates"] for name, run in whole["runs"].items()} == {
        name: summary.counted.candidates for name, summary in done.items()
    }
    with pytest.raises(DataError, match="holds several runs; name the folder of one"):
        list(run_scores(two / "runs"))
    with pytest.raises(InputError, match="holds several runs; name another folder for one"):
        rank_run(TASK, two / "runs", engine="fake", project=two)


def test_the_plan_that_the_reference_shows_is_one(tmp_path: Path) -> None:
    write_files(DOCS / "reference" / "several-runs.md", tmp_path)
    first, untuned, rating = load_plan(tmp_path / "nightly.yaml").runs
    assert first.given() == {"adapter": "movies", "splits": {"test"}}
    assert untuned.given() == {"splits": {"valid", "test"}, "limit": 200}
    assert (rating.settings, rating.engine) == (["budget.tokens=1024"], "fake")


@pytest.mark.long
def test_requests_in_an_object_store_are_not_looked_for_beside_the_plan(two: Path) -> None:
    store, beside = "s3://b/r.parquet", "requests.parquet"
    text = (
        f"runs: [{{task: toys/like, requests: '{store}'}}, {{task: toys/buy, requests: {beside}}}]"
    )
    first, second = open_plan(planned(two, text), {}, project=two)
    assert (first.given["requests"], second.given["requests"]) == (store, two / beside)


@pytest.mark.long
def test_a_folder_of_one_run_or_of_something_else_is_refused(two: Path) -> None:
    requests = two / "requests.parquet"
    rank_run(TASK, two / "one", engine="fake", project=two, requests=requests)
    with pytest.raises(InputError, match="holds one run; name another folder for several"):
        ranked(two, [TASK, "toys/buy"], "one")
    (two / "other").mkdir()
    (two / "other" / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match="a folder of something else"):
        ranked(two, [TASK, "toys/buy"], "other")


@pytest.mark.long
def test_runs_go_on_where_they_were_stopped(two: Path) -> None:
    plan = planned(two, PLAN)
    ranked(two, plan, "unbroken")
    left = 3

    def stop() -> bool:
        nonlocal left
        left -= 1
        return left < 0

    with pytest.raises(StoppedBetween):
        ranked(two, plan, stop=stop)
    assert not (two / "runs" / "summary.json").exists()
    done = ranked(two, plan)
    assert sum(summary.resumed for summary in done.values()) == 3
    assert files(two / "runs") == files(two / "unbroken")


@pytest.mark.long
def test_a_finished_run_is_passed_over_without_its_requests(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"engine": "fake", "project": two, "size": 3}
    given["requests"] = two / "requests.parquet"
    first = rank_run(TASK, two / "run", **given)
    before = files(two / "run")
    decoded: list[int] = []
    read = RequestFile.read

    def noted(self: RequestFile, *more: Any) -> Any:
        decoded.append(1)
        return read(self, *more)

    monkeypatch.setattr(RequestFile, "read", noted)
    again = rank_run(TASK, two / "run", **given)
    assert not decoded
    assert (again.resumed, again.counted) == (first.shards, first.counted)
    assert again.throughput.requests == 0
    scores = two / "run" / "scores" / "000001.parquet"
    scores.write_bytes(scores.read_bytes()[:-1])
    mended = rank_run(TASK, two / "run", **given)
    assert decoded and mended.resumed == first.shards - 1
    assert files(two / "run") == before


@pytest.mark.long
def test_since_takes_over_the_run_of_the_same_name(two: Path) -> None:
    ranked(two, [TASK], "one")
    ranked(two, ["toys/buy", TASK], "old")
    said: list[str] = []
    plan = planned(two, "runs: [{task: toys/like}, {task: toys/buy, name: new}]")
    done = ranked(two, plan, since=two / "old", say=said.append)
    like, new = done["toys-like"].counted, done["new"].counted
    assert (like.reused, new.reused) == (like.requests, 0)
    assert like.tokens == 0 < new.tokens
    assert any("has no run new" in line for line in said)
    with pytest.raises(InputError, match="is no folder of runs"):
        ranked(two, plan, "again", since=two / "nowhere")


@pytest.mark.slow
def test_several_runs_are_compared_by_name(two: Path) -> None:
    ranked(two, [TASK, "toys/buy"], "then")
    ranked(two, [TASK, "toys/buy"], "again")
    ranked(two, planned(two, "runs: [{task: toys/like}, {task: toys/buy, name: new}]"), "now")
    runner = CliRunner()
    ran = runner.invoke(app, ["diff", str(two / "then"), str(two / "again")])
    assert ran.exit_code == 0 and ran.stdout.count(" is the same as ") == 2, ran.output
    words = ["diff", str(two / "then"), str(two / "now"), "--out", str(two / "diff.json")]
    ran = runner.invoke(app, words)
    assert ran.exit_code == 3
    assert "has no run toys-buy" in ran.stdout and "had no run new" in ran.stdout
    told = json.loads((two / "diff.json").read_text())
    assert list(told["runs"]) == ["toys-like"] and told["new_runs"] == ["new"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- task: x\n", "expected keys and values"),
        ("runs: []\n", r"line 1: runs: has 0 entries; give 1 or more"),
        ("runs: x\n", r"line 1: runs: expected a list: each entry after a dash, .*got 'x'"),
        ("runs: [x]\n", r"line 1: runs\.0: expected keys and values, got 'x'"),
        ("runs:\n  - task: 5\n", r"line 2: runs\.0\.task: expected text, got 5"),
        ("runs:\n  - task: ''\n", r"line 2: runs\.0\.task: is empty; write something"),
        (
            "runs:\n  - task: toys/like\n    split: 3\n    allow_changed: maybe\n",
            r"line 3: runs\.0\.split: expected a list(.|\n)*line 4: .*: expected true or false",
        ),
        (
            "runs:\n  - task: toys/like\n    set: {budget.tokens: x}\n",
            r"line 3: runs\.0\.set: budget\.tokens: expected a whole number, got 'x'",
        ),
        ("runs:\n  - task: toys/like\n    limt: 3\n", r"line 3: runs\.0\.limt: .*'limit'"),
        (
            "runs:\n  - task: toys/like\n    limit: 0\n",
            r"line 3: runs\.0\.limit: expected 1 or more, got 0",
        ),
        ("runs:\n  - adapter: x\n", r"line 2: runs\.0\.task: is missing"),
        (
            "runs:\n  - task: toys/like\n    name: ../up\n",
            r"line 3: runs\.0\.name: expected up to 100 let",
        ),
        ("runs:\n  - task: toys/like\n    name: plan.json\n", r"line 3: .*a file of the folder"),
        ("runs:\n  - task: toys/lke\n  - task: toys/like\n", r"line 2: runs\.0\.task: .*toys/like"),
        (
            "runs:\n  - task: toys/like\n  - task: toys/like\n",
            r"line 3: .*called toys-like as runs\.0",
        ),
        ("", r"p.*\.yaml: expected keys and values, such as `runs: \["),
    ],
)
def test_a_plan_that_is_none_is_told_with_its_line(two: Path, text: str, told: str) -> None:
    with pytest.raises(TaskError, match=told):
        ranked(two, planned(two, text))
    assert not (two / "runs").exists()


def test_what_is_wrong_with_any_run_is_told_before_anything_is_ranked(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(self: FakeEngine, trees: list[Tree]) -> Steps:
        raise AssertionError("something was ranked")

    monkeypatch.setattr(FakeEngine, "begin", begin)
    (two / "templates/toys/broken.j2").write_text("{% block candidate %}")
    (two / "cut.parquet").write_bytes((two / "requests.parquet").read_bytes()[:-90])
    pq.write_table(pa.table({"request_id": ["r"], "item": ["i"]}), two / "other.parquet")
    rounds = (
        (
            ("{task: toys/lke}", "toys/lke"),
            ("{task: toys/like, name: b, set: {lables: 1}}", "lables"),
            ("{task: toys/like, name: c, requests: nowhere.parquet}", "nowhere"),
            ("{task: toys/like, name: d, split: [tset]}", "tset"),
            ("{task: toys/like, name: e, requests: cut.parquet}", "not a parquet file"),
            ("{task: toys/like, name: f, requests: other.parquet}", "'item_id' is missing"),
        ),
        (  # what has to be opened is told once these are right
            ("{task: toys/like, name: a, adapter: nobody}", "nobody"),
            ("{task: toys/like, name: b, set: {template: toys/broken.j2}}", "broken.j2"),
            ("{task: toys/like, name: c, engine: baseline:popularity}", "baseline"),
        ),
    )
    for wrong in rounds:
        entries = ["{task: toys/like}", *(entry for entry, _ in wrong)]
        plan = planned(two, "runs:\n" + "".join(f"  - {entry}\n" for entry in entries))
        with pytest.raises(TaskError) as told:
            ranked(two, plan, requests=None)
        lines = str(told.value).splitlines()
        for line, (_, words) in enumerate(wrong, 3):
            assert any(f"line {line}: runs.{line - 2}" in t and words in t for t in lines)
    assert not (two / "runs" / "plan.json").exists()


@pytest.mark.long
def test_a_request_file_at_fault_costs_its_own_run_alone(two: Path) -> None:
    (two / "empty.jsonl").write_text("")
    text = "runs: [{task: toys/like, name: a, requests: empty.jsonl}, {task: toys/buy}]"
    with pytest.raises(DataError, match=r"1 of 2 runs did not finish\na: no request to rank"):
        ranked(two, planned(two, text))
    assert (two / "runs/toys-buy/summary.json").is_file()
    assert not (two / "runs/summary.json").exists()


@pytest.mark.slow
def test_adapters_share_one_model(two: Path, tiny_llama_path: Path) -> None:
    names = adapters_for(two, tiny_llama_path, 2)
    text = "runs:\n" + "".join(
        f"  - {{task: toys/like, name: {name}, adapter: {name}, limit: 3}}\n" for name in names
    )
    from promptrank.runtime import runtime

    opened: list[str] = []
    open_engine = getattr(runtime, "open_engine")  # noqa: B009 (it is not exported)

    def noted(*given: Any) -> Any:
        opened.append(given[0])
        return open_engine(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "open_engine", noted)
        ranked(two, planned(two, text), engine="packed", threads=1)
    assert opened == ["packed"]
    columns = []
    for name in names:
        rank_run(
            TASK,
            two / f"alone-{name}",
            project=two,
            adapter=name,
            limit=3,
            threads=1,
            requests=two / "requests.parquet",
        )
        together, alone = two / "runs" / name, two / f"alone-{name}"
        columns.append(pq.read_table(together / "scores/000000.parquet").column("score"))
        assert columns[-1] == pq.read_table(alone / "scores/000000.parquet").column("score")
    assert columns[0] != columns[1]


class Listed:
    """A method whose requests are trees."""

    name, answers, fingerprint = "listed", True, ""

    def __init__(self, trees: list[Tree]) -> None:
        self.trees = trees

    def start(self, requests: Any, adapter_of: Any) -> Iterator[Asking]:
        return map(self._ask, self.trees)

    def _ask(self, tree: Tree) -> Asking:
        yield [tree]
        return SimpleNamespace(request_id=tree.tree_id)  # type: ignore[return-value]


ids = st.lists(st.integers(0, 2), max_size=4).map(tuple)
slots = st.tuples(ids, st.sampled_from([((1,), (2,)), ((1, 3), (2,))]))
trees_ = st.builds(
    lambda prefix, ends, adapter: Tree(
        "",
        (7, *prefix),
        tuple(Branch(end, (Slot(tail, paths),)) for end, (tail, paths) in ends),
        shared=1,
        adapter=adapter,
    ),
    ids,
    st.lists(st.tuples(ids, slots), min_size=1, max_size=3),
    st.sampled_from([None, "a", "b"]),
)


@pytest.mark.long
@settings(max_examples=30)
@given(st.lists(trees_, max_size=9), st.integers(1, 5))
def test_tokens_are_those_of_a_trie_and_order_is_of_adapter_and_prefix(
    drawn: list[Tree], window: int
) -> None:
    trees = [replace(tree, tree_id=str(number)) for number, tree in enumerate(drawn)]
    order: list[str] = []
    tokens = AskedTokens()

    def watch(works: Any, results: Any) -> None:
        order.extend(work.tree_id for work in works)
        tokens(works, results)

    engine = Opened(FakeEngine())
    given = [r.request_id for r in rankings(Listed(trees), engine, (), None, watch, window)]
    expected = [
        tree.tree_id
        for start in range(0, len(trees), window)
        for tree in sorted(
            trees[start : start + window], key=lambda t: (t.adapter or "", tuple(t.prefix))
        )
    ]
    assert order == given == expected
    prompts = {
        tree.tree_id: [(*tree.prefix, *b.ids, *b.slots[0].ids) for b in tree.branches]
        for tree in trees
    }
    before: Tree | None = None
    for tree in (trees[int(name)] for name in order):
        counted = tokens.of(tree.tree_id)
        own = prompts[tree.tree_id]
        known = len(tree.prefix) + len(
            {p[:end] for p in own for end in range(len(tree.prefix) + 1, len(p) + 1)}
        )
        there = 0
        if before is not None and before.adapter == tree.adapter:
            pairs = zip(before.prefix, tree.prefix, strict=False)
            there = next(
                (n for n, (a, b) in enumerate(pairs) if a != b),
                min(len(before.prefix), len(tree.prefix)),
            )
            assert shared_length(tuple(before.prefix), tuple(tree.prefix)) == there
        assert counted.tokens == sum(map(len, own))
        assert counted.shared == counted.tokens - known + there
        before = tree


def test_the_line_tells_of_this_start_alone() -> None:
    said: list[str] = []
    now = 0.0
    steps = LogSteps("ranking", "requests", said.append, clock=lambda: now)
    throughput = Throughput()
    steps.beside = RunLine(throughput)
    for done in (1000, 2000, 3000):  # taken over in no time at all
        throughput.taken_over = done
        steps(done, 4000)
    for done in range(3001, 3801):
        now += 0.5
        throughput.tokens = type(throughput.tokens)(unique=100 * (done - 3000))
        throughput.errors["too_long"] = 3
        steps(done, 4000)
    assert said[-1] == (
        "ranking: 3,600 of 4,000 requests, 2.0 requests a second, 3 min left, "
        "200 unique tokens a second, 3 error rows"
    )
    steps.close()
    assert said[-1] == "ranking: 800 requests in 6 min 40 s"


@pytest.mark.long
@pytest.mark.parametrize("size", [3, 4, 1000])
def test_what_is_kept_is_not_told_as_ranked(two: Path, size: int) -> None:
    requests = two / "requests.parquet"
    given: dict[str, Any] = {"engine": "fake", "project": two, "requests": requests}
    rank_run(TASK, two / "then", limit=(request_count(requests) or 0) - 4, **given)
    said: list[str] = []
    steps = LogSteps("ranking", "requests", said.append)
    steps.beside = RunLine(throughput := Throughput())
    given |= {"since": two / "then", "throughput": throughput, "progress": steps}
    done = rank_run(TASK, two / "now", size=size, **given)
    assert done.counted.requests - done.counted.reused == 4
    assert said == ["ranking: 4 requests in less than a second"]


@pytest.mark.long
def test_summary_and_metrics_say_what_came_of_each_run(two: Path) -> None:
    plan, prom, out = planned(two, PLAN), two / "night.prom", two / "night.json"
    ran = invoke(
        two, "rank", "--plan", plan, "--run", two / "runs", "--metrics", prom, "--summary", out
    )
    assert ran.exit_code == 0, ran.output
    told = json.loads(out.read_text())
    whole = json.loads((two / "runs/summary.json").read_text())
    assert [run["name"] for run in told["runs"]] == ["toys-like", "short"]
    assert told["scored"] == whole["scored"]
    values = {
        (sample.name, sample.labels["run"]): sample
        for family in text_string_to_metric_families(prom.read_text())
        for sample in family.samples
    }
    for run in told["runs"]:
        sample = values["promptrank_run_unique_tokens", run["name"]]
        assert sample.value == run["unique_tokens"] > 0
        assert sample.labels["task"] == run["task"]
        assert values["promptrank_run_label_mass", run["name"]].value == pytest.approx(0.75)
        assert values["promptrank_run_finished_timestamp_seconds", run["name"]].value > 1e9
        assert run["start"]["unique_tokens"] == run["unique_tokens"]
    again = invoke(two, "rank", "--plan", plan, "--run", two / "runs", "--summary", "-")
    runs = json.loads(again.stdout)["runs"]
    assert [run["start"]["requests"] for run in runs] == [0, 0]
    assert runs[0]["unique_tokens"] == told["runs"][0]["unique_tokens"]


@pytest.mark.long
def test_errors_are_told_by_reason(two: Path) -> None:
    template = two / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("{{ item.title }}{%", "{{ item.nope }}{%"))
    row = {"request_id": "r", "candidate_id": "c", "item_id": "i", "item": {"title": "Ball"}}
    row |= {"member_id": "m", "member": {"name": "Ann"}}
    (two / "bad.jsonl").write_text(json.dumps(row) + "\nno json\n")
    with pytest.raises(DataError, match=r"nothing in bad.jsonl could be ranked: all 2 rows of it"):
        rank_run(TASK, two / "bad", engine="fake", project=two, requests=two / "bad.jsonl")
    told = (two / "bad/errors/000000.jsonl").read_text()
    assert [told.count(f'"{reason}"') for reason in ("bad_row", "undefined")] == [1, 1]
    assert "item.nope: no field 'nope'" in told and "title" not in told
    assert "bad.jsonl:2: not JSON in UTF-8 (Expecting value: line 1 column 1)" in told


@pytest.mark.long
def test_error_rows_hold_ids_and_not_what_people_say(two: Path) -> None:
    template = two / "templates/toys/like.j2"
    text = template.read_text()
    broken = {
        "c": text.replace("Toy: {{ item.title }}", "Toy: {{ item.title | int(base=item.title) }}"),
        "e": text.replace("{{ event.action }}: {{", "{{ event.action }}: {{ 1 + "),
    }
    row: dict[str, Any] = {"request_id": "r", "candidate_id": "c", "item_id": "i", "time": 9}
    row |= {
        "item": {"title": "Secret", "color": "red"},
        "member_id": "m",
        "member": {"name": "Ann"},
    }
    row["history"] = [
        {
            "item_id": "h",
            "item": {"title": "Secret: a diary", "color": "red"},
            "time": 1,
            "action": "like",
        }
    ]
    row["outcomes"] = {"like": "Secret"}
    (two / "text.jsonl").write_text(json.dumps(row) + "\n")
    for name, words in broken.items():
        template.write_text(words)
        run = two / "run"
        shutil.rmtree(run, ignore_errors=True)
        given: dict[str, Any] = {"engine": "fake", "project": two, "requests": two / "text.jsonl"}
        done = rank_run(TASK, run, **given)
        rows = (run / "errors/000000.jsonl").read_text()
        assert "Secret" not in rows and done.counted.reasons["unknown_label"] == 1
        shutil.rmtree(run)
        rank_run(TASK, run, **given, with_text=True)
        assert "no answer 'Secret'" in (run / "errors/000000.jsonl").read_text(), name


def test_a_failing_template_keeps_its_place() -> None:
    said = "template a: b.j2, block candidate, line 3: could not convert 'Ann, block 7: x'"
    row = ErrorRow("r", "c", "prompt", "template", said)
    assert without_text(row).message.startswith("template a: b.j2, block candidate, line 3: it f")
    assert "Ann" not in without_text(row).message
    event = replace(row, reason="event_template", message=f"event with item 7: {said}")
    assert without_text(event).message.startswith("event with item 7: template a: b.j2, block can")
    absent = replace(row, reason="undefined", message=f"{said[:46]}: no field 'Ann'")
    assert "Ann" not in without_text(absent).message
    kept = replace(row, reason="too_long", message="request r: 400 tokens")
    assert without_text(kept) == kept


def test_what_an_engine_or_a_row_quotes_is_left_out() -> None:
    tail = "2 times when it was asked this alone; try another engine (--engine)"
    said = f"request r: engine packed raised ValueError: no float: 'Ann, 3 times when x', {tail}"
    row = ErrorRow("r", None, "engine", "engine_error", said)
    told = without_text(row).message
    assert told.startswith("request r: engine packed raised ValueError (what the data says is")
    assert told.endswith(tail) and "Ann" not in told
    full = replace(row, reason="out_of_memory", message="request r: does not fit into memory")
    assert without_text(full) == full
    for message, kept in (
        ("r.jsonl:7: not JSON in UTF-8 (Ann)", "r.jsonl:7: it cannot be read"),
        ("r.jsonl:7: not an object", "r.jsonl:7: not an object"),
        ("item 7: its fields are no object", "item 7: its fields are no object"),
        ("weight: -41 is less than 0", "weight: it is less than 0 (what the data"),
        ("history[0]: time: 41.5 is not finite", "history[0]: time: it is not finite (what"),
        ("history[0]: time: Ann is not finite", "history[0]: it cannot be read"),
        ("history[0]: time: expected a number, got str", "history[0]: time: expected a number, g"),
    ):
        told = without_text(replace(row, reason="bad_row", message=message)).message
        assert told.startswith(kept) and "Ann" not in told and "41" not in told
    for line in (
        b'{"Ann": \n',
        b'{"Ann" 41}',
        b'["\\A"]',
        b'"Ann',
        b"{Ann: 41}",
        b'"\x00Ann"',
        b"\xe9Ann",
    ):
        with pytest.raises(ValueError) as wrong:
            json.loads(line.decode("utf-8"))
        message = f"r.jsonl:7: not JSON in UTF-8 ({wrong.value})"
        told = without_text(replace(row, reason="bad_row", message=message)).message
        assert re.fullmatch(
            r"r\.jsonl:7: not JSON in UTF-8 \((byte 0|[A-Z].*: line . column \d+)\)", told
        ), told
        assert "Ann" not in told
    told = without_text(replace(row, reason="a_new_one", message="Ann")).message
    assert "Ann" not in told and told.startswith("a_new_one: docs/reference/errors.md")


@pytest.mark.long
def test_options_that_do_not_go_together_are_told(two: Path) -> None:
    plan = planned(two, PLAN)
    for words, told in (
        (["--plan", plan, "-o", "s.parquet"], "--plan goes with --run"),
        ([TASK, "toys/buy", "-o", "s.parquet"], "name one task, not 2"),
        ([TASK, "--plan", plan, "--run", two / "x"], "or a --plan"),
        (["--run", two / "x"], "name a task"),
        ([TASK, TASK, "--run", two / "x"], f"^rank: {TASK} is named twice; name it once, or"),
        ([TASK, "--run", two / "x", "-o", "s.parquet"], "-o and --run are both given"),
        ([plan, "--run", two / "x"], "is a plan, no task; give it by --plan"),
        ([TASK, "--run", two / "x", "--metrics", two / "no/x.prom"], "no folder .*no; make it"),
        ([TASK, "--run", two / "x", "--summary", two / "no/x.json"], "no folder .*no; make it"),
        ([TASK, "--run", two / "x", "--metrics", two / "x.txt"], r"\.prom"),
    ):
        ran = invoke(two, "rank", *words)
        assert isinstance(ran.exception, InputError), ran.output
        assert ran.exception.args and re.search(told, str(ran.exception))


@pytest.mark.slow
def test_two_adapters_live_in_one_vllm(tmp_path: Path) -> None:
    skip_without_vllm()
    from promptrank.engine.vllm_engine import open as opening

    model = make_model(tmp_path / "model", head_dim=32)
    two = make_project(tmp_path / "toys", model)
    names = adapters_for(two, model, 2)
    text = "runs:\n" + "".join(
        f"  - {{task: toys/like, name: {name}, adapter: {name}}}\n" for name in names
    )
    plan = planned(two, text + "  - {task: toys/like, name: base}\n")
    started: list[VllmEngine] = []
    with pytest.MonkeyPatch.context() as patch:

        def noted(*given: Any) -> VllmEngine:
            started.append(VllmEngine(*given))
            return started[-1]

        patch.setattr(opening, "VllmEngine", noted)
        done = ranked(two, plan, engine="vllm", threads=1, size=100, requests=None)
    assert len(started) == 1
    given: dict[str, Any] = {"threads": 1, "size": 100, "requests": None}
    packed = ranked(two, plan, "packed", engine="packed", **given)
    like = open_task(TASK, project=two)
    sides = [
        [read_run(two / folder / name, like.task, like.name).table for name in ("base", *names)]
        for folder in ("runs", "packed")
    ]
    key = [("request_id", "ascending"), ("candidate_id", "ascending")]
    for ours, theirs in zip(*sides, strict=True):
        pair = [table.sort_by(key).column("score").to_pylist() for table in (ours, theirs)]
        assert pair[0] == pytest.approx(pair[1], abs=1e-4)
    for name, summary in done.items():
        assert summary.counted.tokens == packed[name].counted.tokens
        told = summary.throughput
        assert told.prompt_tokens == summary.counted.tokens  # answers here are of one token
        expected = summary.counted.shared_tokens / summary.counted.tokens
        assert 0 < (told.cached_share or 0) <= expected


@pytest.mark.long
def test_since_takes_the_last_night_in_which_a_run_was_finished(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = planned(two, "runs: [{task: toys/like}, {task: toys/buy}]")
    said: list[str] = []
    nights = two / "nights"
    first = ranked(two, plan, "nights/2026-11-26", since=nights, say=said.append)
    assert [done.counted.reused for done in first.values()] == [0, 0]
    assert sum("has no finished run" in line for line in said) == 2
    ranked(two, plan, "nights/2026-11-27", since=nights)
    # In the last night one of the runs was not finished.
    (nights / "2026-11-27/toys-buy/summary.json").unlink()
    (nights / "2026-11-27/summary.json").unlink()
    said.clear()
    third = ranked(two, plan, "nights/2026-11-28", since=nights, say=said.append)
    assert all(done.counted.reused == done.counted.requests for done in third.values())
    for night, name in (("2026-11-27", "toys-like"), ("2026-11-26", "toys-buy")):
        assert any(line.endswith(f"taken over from {nights / night / name}") for line in said)
        capsys.readouterr()
        say_run(third[name], nights)
        assert f"kept the scores of {nights / night / name}\n" in capsys.readouterr().err
    given: dict[str, Any] = {"engine": "fake", "project": two}
    given["requests"] = two / "requests.parquet"
    for night in ("2026-11-26", "2026-11-27"):
        done = rank_run(TASK, two / "alone" / night, since=two / "alone", **given)
    assert done.counted.reused == done.counted.requests
    with pytest.raises(InputError, match="is no folder of a run"):
        rank_run(TASK, two / "x", since=two / "tasks", **given)


@pytest.mark.long
def test_nothing_is_taken_over_where_the_weights_are_not_known(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not weights_known("http://localhost:8000")
    given: dict[str, Any] = {"engine": "fake", "project": two}
    given["requests"] = two / "requests.parquet"
    rank_run(TASK, two / "then", **given)
    monkeypatch.setattr("promptrank.api.rank_run.weights_known", lambda engine: False)
    said: list[str] = []
    done = rank_run(TASK, two / "now", since=two / "then", say=said.append, **given)
    assert done.counted.reused == 0 < done.counted.tokens
    assert any("which weights answer at an address is not known" in line for line in said)
