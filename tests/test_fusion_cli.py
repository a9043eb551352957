"""``promptrank fuse`` and tasks that say ``score: fused``, on the toy project."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError, ModelError, TaskError
from promptrank.fusion.fusion_files import read_fusion
from promptrank.schema.load import parse_task
from support.adapters import a_folder
from support.toys import TASK, make_project
from test_task_files import GOOD

Run = Callable[..., Any]

FUSION = """\
statistics:
  liked: {mean: "if(stars > 3, 1, 0)"}
fusion: {fields: [stats.liked, item.size]}
score: fused
"""
FAKE = ("--engine", "fake")


@pytest.fixture
def project(tmp_path: Path, tiny_llama_path: Path) -> Path:
    root = make_project(tmp_path / "project", tiny_llama_path)
    task = TASK.format(model=tiny_llama_path) + FUSION
    task = task.replace("key: toy_id", "key: toy_id, columns: {size: length(title)}")
    (root / "tasks/toys/like.yaml").write_text(task)
    return root


@pytest.fixture
def run(project: Path) -> Run:
    def command(*words: str | Path) -> Any:
        result = CliRunner().invoke(app, [*map(str, words), "--project", str(project)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return command


@pytest.mark.long
def test_fuse_rank_and_eval(run: Run, project: Path, tmp_path: Path) -> None:
    said = run("fuse", "toys/like", *FAKE).stderr
    path = project / "fusions" / "base" / "toys" / "like.json"
    assert f"of 12 validation requests -> {path}" in said
    assert [p.name for p in path.parent.iterdir()] == ["like.json"]
    fusion = read_fusion(path)
    assert fusion.fitted_on.candidates == 60
    out = tmp_path / "s.parquet"
    run("rank", "toys/like", "-o", out, *FAKE)
    rows = pq.read_table(out).to_pylist()
    requests = tmp_path / "r.parquet"
    run("build", "toys/like", "-o", requests, "--split", "test")
    built = {(r["request_id"], r["item_id"]): r for r in pq.read_table(requests).to_pylist()}
    titles = {f"t{i}": f"Toy {i}" for i in range(20)}
    for row in rows:
        liked = built[row["request_id"], row["item_id"]]["stats"]["liked"]
        odds = row["like_logprob_like"] - row["like_logprob_dislike"]
        size = float(len(titles[row["item_id"]]))
        values = {"decoder.like": odds, "stats.liked": liked, "item.size": size}
        assert row["score"] == pytest.approx(fusion.fused.log_odds(values), abs=1e-9)
    for request in {row["request_id"] for row in rows}:
        scores = [row["score"] for row in rows if row["request_id"] == request]
        assert scores == sorted(scores, reverse=True)
    config = json.loads((tmp_path / "s.config.json").read_text())
    assert config["fusion"] == str(path)
    assert len(config["fusion_digest"]) == 64
    shown = run("eval", "toys/like", *FAKE, "--draws", "100").stdout
    for name in ("decoder", "fused", "fused, no decoder", "fused - fused, no decoder"):
        assert name in shown
    again = run("eval", "toys/like", "--scores", out, "--draws", "100").stdout
    assert again.split("popularity")[0] == shown.split("popularity")[0]


@pytest.mark.long
def test_the_decoders_own_row_is_that_of_the_task_unfused(
    run: Run, project: Path, tmp_path: Path
) -> None:
    run("fuse", "toys/like", *FAKE)
    reports = {}
    required = ("--require", "auc >= decoder - 1")  # of the fused ranker, which is judged
    probes = ("--probe", "instruction", "--probe", "candidates:shuffled")
    for name, words in (("fused", required), ("alone", ("--set", "score=null"))):
        out = tmp_path / f"{name}.json"
        run("eval", "toys/like", *FAKE, "--draws", "100", "-o", out, *probes, *words)
        reports[name] = json.loads(out.read_text())
    decoder = {n: r["rankers"][0] for n, r in reports.items()}
    assert decoder["fused"]["name"] == decoder["alone"]["name"] == "decoder"
    assert decoder["fused"]["cells"] == decoder["alone"]["cells"]
    # It is the decoder that is probed, in a fused task too.
    assert reports["fused"]["probes"] == reports["alone"]["probes"]
    assert [probe["largest_change"] == 0 for probe in reports["fused"]["probes"]] == [False, True]
    assert [p["name"] for p in reports["fused"]["pairs"]] == ["fused"]
    assert reports["alone"]["pairs"] == []
    rows = {row["name"]: row for row in reports["fused"]["rankers"]}
    (result,) = reports["fused"]["requirements"]
    assert (reports["fused"]["judged"], reports["alone"]["judged"]) == ("fused", "decoder")
    assert (result["holds"], result["value"]) == (True, rows["fused"]["cells"]["auc"]["value"])
    lead = rows["decoder"]["behind"]["auc"]
    assert lead["value"] == rows["fused"]["differences"]["auc"]["value"]
    assert (result["low"], result["high"]) == (lead["adjusted_low"], lead["adjusted_high"])


@pytest.mark.long
def test_fuse_reports_on_the_rows_of_its_fit(run: Run, tmp_path: Path) -> None:
    run("fuse", "toys/like", *FAKE, "--report", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert [row["name"] for row in report["rankers"]] == ["decoder", "fused", "fused, no decoder"]
    assert report["counts"]["candidates"] == 60
    (pair,) = report["pairs"]
    assert (pair["name"], pair["against"]) == ("fused", "fused, no decoder")
    assert any("rows that the fusion was fitted on" in note for note in report["notes"])
    assert report["provenance"]["command"] == "fuse"
    assert report["rankers"][0]["origin"]["engine"]["name"] == "fake"


@pytest.mark.slow
def test_scores_of_no_fusion_or_of_one_that_has_changed_are_not_taken_apart(
    run: Run, project: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    words = ("eval", "toys/like", "--scores", out, "--draws", "100")
    run("rank", "toys/like", "-o", out, *FAKE, "--set", "score=null")
    with pytest.raises(DataError, match="no fusion made them"):
        run(*words)
    run("fuse", "toys/like", *FAKE)
    run("rank", "toys/like", "-o", out, *FAKE)
    run(*words)
    path = project / "fusions" / "base" / "toys" / "like.json"
    path.write_text(path.read_text().replace('"created": "2', '"created": "3'))
    with pytest.raises(DataError, match="which has changed since"):
        run(*words)


@pytest.mark.long
def test_nothing_of_the_test_part_is_fitted_on(run: Run, project: Path, tmp_path: Path) -> None:
    """Turning round every label of the test part changes nothing in the file."""
    run("fuse", "toys/like", *FAKE, "-o", tmp_path / "one.json")
    ratings = project / "ratings.csv"
    head, *lines = ratings.read_text().splitlines()
    turned = []
    for line in lines:
        person, toy, at, stars = line.split(",")
        # The last five rounds of each member are the test part.
        late = int(at) >= 1_000_000 + 1000 * 10
        turned.append(f"{person},{toy},{at},{6 - int(stars) if late else stars}")
    assert turned != lines
    ratings.write_text("\n".join([head, *turned]) + "\n")
    run("fuse", "toys/like", *FAKE, "-o", tmp_path / "two.json")
    one, two = (read_fusion(tmp_path / f"{name}.json") for name in ("one", "two"))
    assert one.fused == two.fused
    assert one.without == two.without


@pytest.mark.long
def test_validate_checks_the_fields(run: Run, project: Path) -> None:
    assert "fine" in run("validate", "toys/like").stdout
    found = promptrank.validate(
        "toys/like",
        project=project,
        settings=["fusion.fields=[item.title, item.sise, member.age, stats.liked]"],
    )
    assert [line.partition(":")[2].partition(";")[0] for line in found.problems] == [
        " item.title is VARCHAR, and fusion takes numbers",
        " nothing supplies item.sise",
        " nothing supplies member.age",
    ]


def test_without_a_file_ranking_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="fit one: promptrank fuse toys/like"):
        run("rank", "toys/like", "-o", tmp_path / "s.parquet", *FAKE)


@pytest.mark.long
def test_a_file_that_does_not_fit_is_refused(run: Run, project: Path, tmp_path: Path) -> None:
    run("fuse", "toys/like", *FAKE)
    rank = ("rank", "toys/like", "-o", tmp_path / "s.parquet")
    with pytest.raises(ModelError, match="fitted with another fields"):
        run(*rank, *FAKE, "--set", "fusion.fields=[stats.liked]")
    with pytest.raises(ModelError, match="fitted with another model"):
        run(*rank)  # the file is of the engine without weights
    template = project / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("You rank", "Rank"))
    with pytest.raises(InputError, match=r"other template.*--allow-changed"):
        run(*rank, *FAKE)
    assert "warning" in run(*rank, *FAKE, "--allow-changed").stderr


@pytest.mark.long
def test_a_fusion_belongs_to_its_adapter(run: Run, project: Path, tmp_path: Path) -> None:
    one, two = (a_folder(project / "adapters" / name, i) for i, name in enumerate(("one", "two")))
    run("fuse", "toys/like", *FAKE, "--adapter", "one")
    path = one / "fusion" / "toys" / "like.json"
    assert path.is_file()
    rank = ("rank", "toys/like", "-o", tmp_path / "s.parquet", *FAKE)
    run(*rank, "--adapter", "one")
    with pytest.raises(ModelError, match="promptrank fuse toys/like --adapter two"):
        run(*rank, "--adapter", "two")
    with pytest.raises(ModelError, match="fitted with another adapter"):
        run(*rank, "--adapter", "two", "--set", f"fusion.file={path}")
    assert two.is_dir()


@pytest.mark.long
def test_a_stopped_fit_goes_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptrank.runs.scored_file.FILE_SHARD", 3)

    def stop(done: int, total: int | None) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        promptrank.fuse("toys/like", project=project, engine="fake", progress=stop)
    assert not (project / "fusions/base/toys/like.json").exists()
    seen: list[int] = []
    promptrank.fuse(
        "toys/like", project=project, engine="fake", progress=lambda done, _: seen.append(done)
    )
    assert min(seen) >= 3
    assert (project / "fusions/base/toys/like.json").exists()


@pytest.mark.long
def test_python_ranks_one_request_fused(project: Path) -> None:
    promptrank.fuse("toys/like", project=project, engine="fake")
    items = [{"title": f"Toy {i}", "color": None, "size": size} for i, size in enumerate((5, "x"))]
    request = {"member": {"name": "Ann"}, "candidates": [{"item": item} for item in items]}
    with promptrank.open_ranker("toys/like", project=project, engine="fake") as ranker:
        ranking = ranker.rank(request)
        with pytest.raises(InputError, match="one adapter"):
            next(ranker.rank_many([request], adapter_of=lambda one: None))
    assert len(ranking.scored) == 1
    assert ranking.partial
    assert [row.reason for row in ranking.errors] == ["fusion_not_a_number"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": "fused"}, "score: fused needs fusion.fields"),
        ({"fusion": {"fields": ["stats.none"]}}, "no statistic 'none'"),
        ({"fusion": {"fields": ["price"]}}, "fusion.fields: 'price': write stats.X"),
        ({"fusion": {"fields": ["item.a", "item.a"]}}, "stands twice"),
        ({"fusion": {"fields": []}}, "fusion.fields"),
        (
            {"score": "fused", "fusion": {"fields": ["item.a"], "score": "like + love"}},
            "fusion.score: no question 'love'",
        ),
    ],
)
def test_mistakes_in_the_task_file(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError) as raised:
        parse_task({**GOOD, **change}, "t.yaml")
    assert message in str(raised.value)


def test_several_questions_need_an_expression_of_their_own() -> None:
    questions = {name: GOOD["questions"]["like"] for name in ("like", "love")}
    two = {**GOOD, "questions": questions, "score": "fused", "fusion": {"fields": ["item.a"]}}
    with pytest.raises(TaskError, match=r"fusion\.score: say how the questions combine"):
        parse_task(two, "t.yaml")
    two["fusion"] = {"fields": ["item.a"], "score": "0.5*like + 0.5*love"}
    task = parse_task(two, "t.yaml")
    assert task.score_expression == "0.5*like + 0.5*love"
    assert task.unfused.score == "0.5*like + 0.5*love"
    assert not task.unfused.fused


def test_a_task_without_a_validation_part_cannot_be_fused(project: Path) -> None:
    with pytest.raises(TaskError, match=r"split\.valid: is missing"):
        promptrank.fuse(
            "toys/like", project=project, engine="fake", settings=["split={by: last, test: 1}"]
        )
    with pytest.raises(TaskError, match="fusion: is missing"):
        promptrank.fuse(
            "toys/like", project=project, engine="fake", settings=["score=null", "fusion=null"]
        )
