"""The commands, run as a user runs them, on a toy project with a tiny random model."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.api.render import render
from promptrank.cli.main import app, main
from promptrank.engine.contract import Answers, Steps, Tree
from promptrank.errors import InputError
from promptrank.workspace.request_files import given_file, request_file
from promptrank.workspace.tasks import open_task
from support.toys import PEOPLE, make_project

Run = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path / "project", tiny_llama_path)


@pytest.fixture
def run(project: Path) -> Run:
    """Runs a command in the project; the words on stdout, or the input error it raised."""

    def command(*words: str | Path) -> str:
        result = CliRunner().invoke(app, [*map(str, words), "--project", str(project)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return command


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()  # type: ignore[no-any-return]


def test_ls_names_the_projects_tasks_beside_the_built_in_ones(run: Run) -> None:
    lines = run("ls").splitlines()
    assert any(line.split()[:2] == ["toys/like", "project"] for line in lines)
    assert any(line.split()[:2] == ["movies/like", "built-in"] for line in lines)


@pytest.mark.long
def test_validate_is_content_with_a_good_task(run: Run) -> None:
    assert run("validate", "toys/like").rstrip().endswith("toys/like: fine")


@pytest.mark.long
def test_validate_shows_all_problems_together(run: Run, project: Path) -> None:
    template = project / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("item.color", "item.colour"))
    task = project / "tasks/toys/like.yaml"
    task.write_text(
        task.read_text().replace("member: people", "member: {table: people, column: x}")
    )
    found = promptrank.validate("toys/like", project=project)
    assert any("item.colour; did you mean item.color?" in p for p in found.problems)
    assert any("no column 'x'" in p for p in found.problems)
    result = CliRunner().invoke(app, ["validate", "toys/like", "--project", str(project)])
    assert result.exit_code == 2
    assert result.stdout.count("problem: ") == len(found.problems)


@pytest.mark.long
def test_validate_tries_nulls_that_the_template_prints_unguarded(project: Path) -> None:
    template = project / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("{% if item.color %}", "{% if true %}"))
    found = promptrank.validate("toys/like", project=project)
    assert any("6 of 20 rows have no item.color" in w for w in found.warnings), found


@pytest.mark.long
def test_rank_writes_scores_errors_and_a_config(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out" / "scores.parquet"
    run("rank", "toys/like", "-o", out)
    rows = rows_of(out)
    assert len(rows) == PEOPLE * 5
    assert {row["split"] for row in rows} == {"test"}
    by_request: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_request.setdefault(row["request_id"], []).append(row)
        assert row["score"] == pytest.approx(row["like_probability"])
        assert 0 < row["like_label_mass"] < 1
    for ranked in by_request.values():
        assert [row["rank"] for row in ranked] == [1, 2, 3, 4, 5]
        scores = [row["score"] for row in ranked]
        assert scores == sorted(scores, reverse=True)
    config = json.loads((tmp_path / "out" / "scores.config.json").read_text())
    assert config["config"]["ratings"]["group"]["last"] == 5
    assert config["engine"]["name"] == "packed"
    assert len(config["engine"]["digest"]) == len(config["prompt"]) == 64
    assert (tmp_path / "out" / "scores.errors.jsonl").read_text() == ""
    assert not list((tmp_path / "out").glob("*.partial"))


@pytest.mark.long
def test_build_then_rank_is_rank(run: Run, tmp_path: Path) -> None:
    for suffix in ("parquet", "jsonl"):
        requests = tmp_path / f"requests.{suffix}"
        run("build", "toys/like", "-o", requests)
        run(
            "rank",
            "toys/like",
            "--requests",
            requests,
            "--split",
            "test",
            "-o",
            tmp_path / suffix / "s.parquet",
        )
    run("rank", "toys/like", "-o", tmp_path / "direct.parquet")
    direct = rows_of(tmp_path / "direct.parquet")
    for suffix in ("parquet", "jsonl"):
        assert rows_of(tmp_path / suffix / "s.parquet") == direct


@pytest.mark.long
def test_a_run_that_was_stopped_goes_on_and_ends_the_same(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 2)
    whole = promptrank.rank("toys/like", tmp_path / "whole.parquet", project=project)

    class Stopped(Exception):
        pass

    def stop(done: int, total: int | None) -> None:
        if done == 5:
            raise Stopped

    out = tmp_path / "again.parquet"
    with pytest.raises(Stopped):
        promptrank.rank("toys/like", out, project=project, progress=stop)
    assert not out.exists()
    ranked = promptrank.rank("toys/like", out, project=project)
    assert (ranked.resumed, ranked.requests) == (4, whole.requests)
    assert not list(tmp_path.glob("*.partial"))
    again, direct = rows_of(out), rows_of(tmp_path / "whole.parquet")
    assert [r["candidate_id"] for r in again] == [r["candidate_id"] for r in direct]
    assert [r["score"] for r in again] == pytest.approx([r["score"] for r in direct], abs=1e-5)


@pytest.mark.long
def test_rank_of_another_template_does_not_resume(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 1)
    out = tmp_path / "s.jsonl"

    def stop(done: int, total: int | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promptrank.rank("toys/like", out, project=project, progress=stop)
    template = project / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("Toy:", "A toy:"))
    assert promptrank.rank("toys/like", out, project=project).resumed == 0


@pytest.mark.long
def test_a_candidate_that_cannot_be_used_is_an_error_row_and_the_ranking_is_partial(
    run: Run, project: Path, tmp_path: Path
) -> None:
    requests = tmp_path / "r.jsonl"
    rows = [
        {"request_id": "r1", "member": {"name": "Ann"}, "item_id": "t1"},
        {"request_id": "r1", "item_id": "nowhere"},
        {"request_id": "r1", "item_id": "t2", "item": {"title": None, "color": "red"}},
        {"request_id": "r2", "member": {}, "item_id": "t3"},
        {"request_id": "r3", "member": {"name": "Bob"}, "item_id": "t4"},
    ]
    requests.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("rank", "toys/like", "--requests", requests, "-o", tmp_path / "s.parquet")
    scored = {
        (r["request_id"], r["candidate_id"]): r["partial"] for r in rows_of(tmp_path / "s.parquet")
    }
    assert scored == {("r1", "t1"): True, ("r3", "t4"): False}
    errors = [json.loads(x) for x in (tmp_path / "s.errors.jsonl").read_text().splitlines()]
    assert {(e["request_id"], e.get("candidate_id"), e["reason"]) for e in errors} == {
        ("r1", "nowhere", "item_not_found"),
        ("r1", "t2", "null"),
        ("r2", None, "undefined"),
    }


@pytest.mark.long
def test_error_rows_beside_a_file_quote_the_data_where_that_is_asked_for(
    run: Run, project: Path, tmp_path: Path
) -> None:
    requests = tmp_path / "r.jsonl"
    row = {"request_id": "r1", "member": {"name": "Ann"}, "item_id": "t1"}
    requests.write_text(json.dumps({**row, "outcomes": {"like": "Secret"}}) + "\n")
    told = []
    for name, options in (("a", ()), ("b", ("--with-text",))):
        given = ("--requests", requests, "-o", tmp_path / f"{name}.parquet")
        run("rank", "toys/like", *given, *options)
        told.append((tmp_path / f"{name}.errors.jsonl").read_text())
    assert all("unknown_label" in text for text in told)
    assert ["Secret" in text for text in told] == [False, True]


@pytest.mark.long
def test_rows_that_building_sets_aside_are_told_by_rank_and_eval(
    run: Run, project: Path, tmp_path: Path
) -> None:
    with (project / "ratings.csv").open("a", newline="") as file:
        file.write("p1,nowhere,1014500,5\r\n")
    run("rank", "toys/like", "-o", tmp_path / "s.parquet")
    errors = [json.loads(x) for x in (tmp_path / "s.errors.jsonl").read_text().splitlines()]
    assert [(e["candidate_id"], e["reason"]) for e in errors] == [("nowhere", "item_not_found")]
    partial = {r["subject_id"] for r in rows_of(tmp_path / "s.parquet") if r["partial"]}
    assert partial == {"p1"}
    run("eval", "toys/like", "-o", tmp_path / "report.json", "--draws", "100")
    assert json.loads((tmp_path / "report.json").read_text())["errors"] == {"item_not_found": 1}


@pytest.mark.slow
def test_a_request_whose_rows_lie_far_apart_is_ranked_once(
    run: Run, project: Path, tmp_path: Path
) -> None:
    names = ["r0", *(f"f{i}" for i in range(5000)), "r0"]
    requests = tmp_path / "r.jsonl"
    rows = [
        {"request_id": name, "member": {"name": "Ann"}, "item_id": f"t{1 + (place > 0)}"}
        for place, name in enumerate(names)
    ]
    requests.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "s.parquet"
    ranked = promptrank.rank("toys/like", out, project=project, requests=requests, engine="fake")
    assert (ranked.requests, ranked.candidates, ranked.errors) == (5001, 5001, 1)
    error = json.loads((tmp_path / "s.errors.jsonl").read_text())
    assert (error["request_id"], error["reason"]) == ("r0", "scattered")


@pytest.mark.long
def test_other_items_or_another_adapter_do_not_resume(
    run: Run, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 1)
    requests = tmp_path / "r.jsonl"
    row = {"member": {"name": "Ann"}, "item_id": "t1"}
    requests.write_text(
        "".join(json.dumps({"request_id": f"r{i}", **row}) + "\n" for i in range(4))
    )

    def stop(done: int, total: int | None) -> None:
        if done == 2:
            raise KeyboardInterrupt

    out = tmp_path / "s.parquet"
    with pytest.raises(KeyboardInterrupt):
        promptrank.rank("toys/like", out, project=project, requests=requests, progress=stop)
    toys = project / "toys.csv"
    toys.write_text(toys.read_text().replace("Toy 1,", "Another toy,"))
    ranked = promptrank.rank("toys/like", out, project=project, requests=requests)
    assert (ranked.resumed, ranked.requests) == (0, 4)


@pytest.mark.long
def test_adapters_from_the_command_line_and_several_in_one_run(
    run: Run, project: Path, tmp_path: Path, tiny_llama_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from support.engines import adapter

    for seed, folder in ((1, "one"), (2, "two")):
        model = AutoModelForCausalLM.from_pretrained(tiny_llama_path)
        adapter(model, project / "adapters" / folder, seed)
    scores: dict[str | None, dict[str, float]] = {}
    for name in (None, "one", "two"):
        out = tmp_path / f"{name}.parquet"
        run("rank", "toys/like", "-o", out, *(["--adapter", name] if name else []))
        scores[name] = {r["request_id"] + r["candidate_id"]: r["score"] for r in rows_of(out)}
    assert scores[None] != pytest.approx(scores["one"], abs=1e-3)
    requests = tmp_path / "r.parquet"
    run("build", "toys/like", "-o", requests, "--split", "test")
    opened = open_task("toys/like", project=project)
    names = [None, "one", "two"]
    with promptrank.open_ranker(opened) as ranker:
        asked = list(given_file(opened, requests).read())
        chosen = {r.request_id: names[i % 3] for i, r in enumerate(asked)}
        for ranking in ranker.rank_many(asked, adapter_of=lambda r: chosen[r.request_id]):
            expected = scores[chosen[ranking.request_id]]
            for scored in ranking.scored:
                key = ranking.request_id + scored.candidate_id
                assert scored.score == pytest.approx(expected[key], abs=1e-4)


class Watched:
    """An engine that keeps what another one is sent."""

    def __init__(self, engine: Answers[Tree]) -> None:
        self.engine, self.sent = engine, list[Tree]()
        self.info, self.window, self.groups = engine.info, engine.window, engine.groups
        self.size = engine.size

    def begin(self, works: Sequence[Tree]) -> Steps:
        self.sent += works
        return self.engine.begin(works)

    def close(self) -> None:
        """The engine behind it is closed by whoever opened it."""


@pytest.mark.long
def test_render_shows_the_very_ids_that_are_ranked(project: Path) -> None:
    opened = open_task("toys/like", project=project)
    with (
        promptrank.open_ranker(opened) as ranker,
        request_file(opened, None, splits=None, say=print) as file,
    ):
        request = next(file.read({"test"}))
        watched = Watched(ranker.opened.engine)
        ranker.put_before(watched)
        ranker.rank(request)
        name = request.candidates[2].candidate_id
        shown = render(opened, request=request.request_id, candidate=name)
    pieces = [*shown.preview.prefix, *shown.preview.candidates[2].pieces]
    question = shown.preview.candidates[2].questions[0]
    (sent,) = watched.sent
    branch = sent.branches[2]
    expected = [*sent.prefix, *branch.ids, *branch.slots[0].ids]
    assert [i for piece in (*pieces, *question) for i in piece.ids] == expected
    text = shown.as_text(only_text=True)
    assert text.startswith("You rank toys for a member.\nName: ")
    assert text.endswith("Will they like it? Answer:\n")
    assert "slot like:" in shown.as_text(ids=True)


@pytest.mark.long
def test_eval_compares_with_baselines_and_writes_a_report(run: Run, tmp_path: Path) -> None:
    text = run("eval", "toys/like", "-o", tmp_path / "report.json", "--draws", "100")
    report = json.loads((tmp_path / "report.json").read_text())
    names = [ranker["name"] for ranker in report["rankers"]]
    assert names[0] == "decoder"
    assert {"popularity", "item_member_mean", "logistic", "random"} <= set(names)
    assert all(name in text for name in names)
    assert report["counts"]["candidates"] == PEOPLE * 5
    again = run(
        "eval", "toys/like", "--scores", tmp_path / "report.scores.parquet", "--draws", "100"
    )
    assert again.splitlines()[2:5] == text.splitlines()[2:5]


def test_five_lines_of_python_rank_plain_dicts(project: Path) -> None:
    toys = [{"title": "Toy 1", "color": "red"}, {"title": "Toy 2", "color": None}]
    with promptrank.open_ranker("toys/like", project=project) as ranker:
        ranking = ranker.rank(
            {"member": {"name": "Ann"}, "candidates": [{"item": t} for t in toys]}
        )
    assert len(ranking.scored) == 2
    assert ranking.scored[0].score >= ranking.scored[1].score
    with pytest.raises(InputError, match=r"candidates\[0\]"):
        ranker.rank({"candidates": [7]})


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["rank", "toys/lik", "-o", "x.parquet"], "did you mean toys/like or"),
        (["rank", "toys/like", "-o", "x.csv"], ".parquet or .jsonl"),
        (["rank", "toys/like", "-o", "a_file/x.jsonl"], "no folder can be made"),
        (["rank", "toys/like", "-o", "a_folder.jsonl"], "is a folder"),
        (["build", "toys/like", "-o", "a_file/x.jsonl"], "no folder can be made"),
        (["eval", "toys/like", "-o", "x.parquet"], "ends in .html or .json"),
        (["rank", "toys/like", "-o", "a_file.jsonl", "--requests", "a_file"], "would overwrite"),
        (["rank", "toys/like", "-o", "x.jsonl", "--adapter", "misfit"], "misfit"),
        (["rank", "toys/like", "-o", "x.jsonl", "--requests", "none.parquet"], "none.parquet"),
        (["rank", "toys/like", "-o", "x.jsonl", "--engine", "vlm"], "packed, vllm, plain, fake"),
        (["rank", "toys/like", "-o", "x.jsonl", "--adapter", "none"], "no adapter none"),
        (["rank", "toys/like", "-o", "x.jsonl", "--model", "none"], "none"),
        (["rank", "toys/like", "-o", "x.jsonl", "--set", "history=7"], "history: "),
        (["rank", "toys/like", "-o", "x.jsonl", "--split", "tset"], "no part 'tset'"),
        (["eval", "toys/like", "--scores", "none.parquet"], "none.parquet"),
        (["render", "toys/like", "--request", "none"], "no request 'none'"),
        (["validate", "missing.yaml"], "no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    words: list[str],
    message: str,
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("")
    (tmp_path / "a_folder.jsonl").mkdir()
    misfit = project / "adapters" / "misfit"
    misfit.mkdir(parents=True)
    (misfit / "adapter_config.json").write_text("{}")
    monkeypatch.setattr(sys, "argv", ["promptrank", *words, "--project", str(project)])
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stopped.value.code == 2
    assert message in error
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.long
def test_our_own_bug_is_exit_code_1_with_a_traceback() -> None:
    code = (
        "import sys; sys.argv = ['promptrank', 'ls'];"
        "import promptrank.api.tasks as t; t.ls = lambda *a: 1 / 0;"
        "from promptrank.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.long
def test_fake_engine_needs_no_weights(run: Run, project: Path, tmp_path: Path) -> None:
    run("rank", "toys/like", "--engine", "fake", "-o", tmp_path / "s.parquet")
    config = json.loads((tmp_path / "s.config.json").read_text())
    assert config["engine"]["name"] == "fake"
    assert len(rows_of(tmp_path / "s.parquet")) == PEOPLE * 5


@pytest.mark.long
def test_what_each_verb_writes(project: Path, tmp_path: Path, run: Run) -> None:
    """The table of docs/reference/command-line.md; ``plain`` is written down as itself."""

    def wrote(*words: str | Path) -> set[str]:
        before = {path.name for path in tmp_path.iterdir()}
        run(*words)
        return {path.name for path in tmp_path.iterdir()} - before

    built = wrote("build", "toys/like", "-o", tmp_path / "r.parquet")
    assert built == {"r.parquet", "r.items.arrow", "r.errors.jsonl", "r.config.json"}
    given = ("--engine", "plain", "--limit", "2")
    ranked = wrote("rank", "toys/like", *given, "-o", tmp_path / "s.parquet")
    assert ranked == {"s.parquet", "s.errors.jsonl", "s.config.json"}
    config = json.loads((tmp_path / "s.config.json").read_text(encoding="utf-8"))
    origin = json.loads(pq.read_schema(tmp_path / "s.parquet").metadata[b"promptrank.origin"])
    assert config["engine"]["name"] == origin["engine"]["name"] == "plain"
    measured = wrote("eval", "toys/like", *given, "--draws", "100", "-o", tmp_path / "e.json")
    kept = {"e.scores.parquet", "e.scores.errors.jsonl", "e.scores.config.json"}
    assert measured == {"e.json", *kept}
    report = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert report["rankers"][0]["origin"]["engine"]["name"] == "plain"
    again = ("--scores", tmp_path / "s.parquet", "--draws", "100", "-o", tmp_path / "f.json")
    assert wrote("eval", "toys/like", *again) == {"f.json"}
