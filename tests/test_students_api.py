"""From a teacher to a student that ranks: the verbs, the folder, and what is refused."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import promptrank
from promptrank.api.compare_students import compare_students
from promptrank.api.distill import Distilled, distill
from promptrank.api.students import list_students, show_student
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError, ModelError
from promptrank.records import Item
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import open_task
from support.models import make_model
from support.toys import make_project

FEW = {"rounds": 10, "leaves": 4}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toys, with scores of all parts by a fake decoder."""
    root = tmp_path_factory.mktemp("toys")
    make_project(root, make_model(root / "model"), rounds=25)
    promptrank.build("toys/like", root / "requests.parquet", project=root)
    promptrank.rank(
        "toys/like",
        root / "scores.parquet",
        splits={"train", "valid", "test"},
        engine="fake",
        project=root,
    )
    return root


def make(project: Path, name: str, **given: Any) -> Distilled:
    requests = project / "requests.parquet"
    options = {"options": FEW, "project": project, "requests": requests, "replace_": True}
    # Nobody reads how fast these students are.
    return distill("toys/like", name=name, **{**options, "timed": 2, **given})


@pytest.fixture(scope="module")
def students(project: Path) -> Path:
    make(project, "taught", teacher=f"scores:{project}/scores.parquet")
    make(project, "plain", loss="labels")
    return project


@pytest.mark.long
def test_a_student_of_a_scores_file(students: Path) -> None:
    student = show_student("taught", project=students)
    assert student.card.data["labels"] == student.card.data["taught"] == {"like": 180}
    assert student.card.teacher is not None
    assert student.card.teacher["engine"]["name"] == "fake"
    assert student.card.metrics["like.teacher_candidates"] == 60
    assert student.card.latency["candidates"] == 100
    names = sorted(p.name for p in student.folder.iterdir())
    assert names == ["card.json", "features.json", "like.lgb.txt"]
    assert [s.card.name for s in list_students(students)] == ["plain", "taught"]


@pytest.mark.long
def test_a_card_holds_figures_of_valid_and_never_of_test(students: Path) -> None:
    card = show_student("taught", project=students).card
    given: dict[str, Any] = {"engine": "student:taught", "project": students, "draws": 0}
    auc = {
        part: promptrank.evaluate("toys/like", split=part, **given).rankers[0].cells["auc"].value
        for part in ("valid", "test")
    }
    assert card.metrics["auc"]["value"] == pytest.approx(auc["valid"])
    assert auc["test"] != auc["valid"]


@pytest.mark.long
def test_it_ranks_wherever_an_engine_does(students: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.parquet"
    ranked = promptrank.rank("toys/like", out, engine="student:taught", project=students)
    assert (ranked.requests, ranked.candidates, ranked.errors) == (12, 60, 0)
    assert ranked.label_mass == {"like": 1.0}
    config = json.loads((tmp_path / "s.config.json").read_text())
    assert config["engine"]["model"] == "student:taught"
    report = promptrank.evaluate(
        "toys/like",
        engine="student:taught",
        vs=["student:plain", f"scores:{students}/scores.parquet"],
        project=students,
        draws=100,
    )
    assert [r.name for r in report.rankers][:2] == ["student:taught", "student:plain"]
    assert report.provenance["label_mass"] == {"like": 1.0}
    assert "auc" in report.rankers[1].differences
    with pytest.raises(
        InputError, match=r"write student:NAME, adapter:NAME, base, .*scores:FILE or rrf:decoder"
    ):
        promptrank.evaluate("toys/like", vs=["pupil:x"], project=students)
    with pytest.raises(InputError, match="--slice cut: student:taught reads no prompts"):
        # No such split either: what is wanted is refused before requests are read.
        promptrank.evaluate(
            "toys/like",
            engine="student:taught",
            slices=["cut"],
            split="nowhere",
            project=students,
        )


@pytest.mark.long
def test_scores_of_a_candidate_are_its_own(students: Path) -> None:
    opened = open_task("toys/like", project=students)
    with (
        request_file(opened, None, splits={"test"}, say=lambda _: None) as file,
        promptrank.open_ranker(opened, engine="student:taught") as ranker,
    ):
        for request in list(file.read({"test"}))[:3]:
            whole = {s.candidate_id: s.score for s in ranker.rank(request).scored}
            for candidate in request.candidates:
                (alone,) = ranker.rank(replace(request, candidates=(candidate,))).scored
                assert alone.score == whole[candidate.candidate_id]


@pytest.mark.long
def test_a_second_student_makes_no_teacher_call(project: Path) -> None:
    first = make(project, "one", teacher="base", engine="fake")
    second = make(project, "two", teacher="base", engine="fake", loss="direct", labels=0)
    assert first.asked > 0
    assert second.asked == 0
    data = second.student.card.data
    assert data["labels"] == data["valid_labels"] == {"like": 0}
    assert data["taught"] == {"like": 180}


@pytest.mark.long
def test_few_labels_of_each_part_and_many_answers(project: Path) -> None:
    teacher = f"scores:{project}/scores.parquet"
    # Requests of five: 11 of 36 are labelled in train, and 11 of 12 in valid.
    card = make(project, "few", teacher=teacher, labels=11).student.card
    assert card.data["labels"] == card.data["valid_labels"] == {"like": 55}
    assert card.data["taught"] == {"like": 180}
    # It is measured on all labels of valid, and by all of the teacher's answers there.
    assert card.metrics["like.teacher_candidates"] == 60
    assert card.metrics["auc"]["value"] is not None


@pytest.mark.long
def test_rank_fills_the_store_and_unlabelled_requests_are_taught(
    project: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.jsonl"
    rows = [
        {
            "request_id": f"new{i}",
            "member_id": f"p{i % 12}",
            "item_id": f"t{i % 20}",
            "item_row": None,
        }
        | {"member": {"name": "New"}, "item": {"title": f"Toy {i % 20}", "color": "red"}}
        for i in range(30)
    ]
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    promptrank.rank(
        "toys/like",
        tmp_path / "s.parquet",
        requests=more,
        engine="fake",
        project=project,
        cache=True,
    )
    make(project, "known", teacher="base", engine="fake")
    made = make(project, "more", teacher="base", engine="fake", unlabelled=more)
    assert made.asked == 0
    assert made.student.card.data["taught"]["like"] == 210
    assert made.student.card.data["labels"]["like"] == 180


@pytest.mark.long
def test_teacher_students_and_baselines_in_one_report(students: Path) -> None:
    said: list[str] = []
    report = compare_students(
        "toys/like",
        teacher="base",
        engine="fake",
        students=["taught", "plain"],
        project=students,
        draws=100,
        out=students / "students.json",
        say=said.append,
    )
    assert not [line for line in said if "cache" in line]
    assert [row.name for row in report.rankers][:3] == ["teacher", "taught", "plain"]
    assert report.metrics[0] == "ndcg@10"
    taught, plain = report.ranker("taught"), report.ranker("plain")
    cells = [row.cells["ndcg@10"].value or 0 for row in (taught, plain)]
    (gain,) = report.pairs
    assert (gain.name, gain.against) == ("taught", "plain")
    assert gain.differences["ndcg@10"].value == pytest.approx(cells[0] - cells[1])
    best = report.ranker(report.best_baseline or "").cells["ndcg@10"].value or 0
    teacher = report.ranker("teacher").cells["ndcg@10"].value or 0
    if teacher > best:
        assert taught.kept == pytest.approx((cells[0] - best) / (teacher - best))
    else:
        assert taught.kept is None
    assert taught.cost is not None
    assert taught.cost.size == show_student("taught", project=students).size
    assert (taught.cost.us_per_candidate or 0) > 0
    assert taught.origin["ranker"] == "student:taught"
    written = json.loads((students / "students.json").read_text())
    assert written == json.loads(report.to_json())
    assert written["provenance"]["command"] == "students compare"


@pytest.mark.long
def test_distill_writes_how_the_student_does_on_valid(project: Path, tmp_path: Path) -> None:
    made = make(project, "told", loss="labels", report=tmp_path / "report.json")
    assert made.report is not None
    written = json.loads((tmp_path / "report.json").read_text())
    assert written == json.loads(made.report.to_json())
    (row,) = written["rankers"]
    assert (row["name"], row["origin"]["ranker"]) == ("student:told", "student:told")
    assert row["cells"]["auc"]["value"] == made.student.card.metrics["auc"]["value"]
    assert written["counts"]["requests"] == 12
    about = written["provenance"]
    assert (about["command"], about["task"], about["student"]) == ("distill", "toys/like", "told")
    with pytest.raises(InputError, match=r"write to a file that ends in \.json"):
        make(project, "untold", loss="labels", report=tmp_path / "report.txt")
    assert not (project / "students/untold").exists()


@pytest.mark.long
def test_fallbacks_are_counted_and_named(students: Path, tmp_path: Path) -> None:
    opened = open_task("toys/like", project=students)
    with (
        request_file(opened, None, splits={"test"}, say=lambda _: None) as file,
        promptrank.open_ranker(opened, engine="student:taught") as ranker,
    ):
        request = next(file.read({"test"}))
        known, *_ = request.candidates
        odd = replace(known, item=Item("new", {"title": "Toy", "color": "mauve"}), baseline={})
        ranking = ranker.rank(replace(request, candidates=(odd,)))
        assert len(ranking.scored) == 1
        notes = " ".join(ranker.notes())
    assert "item.color: a value not seen in training, taken as missing (1 times)" in notes


@pytest.mark.long
def test_bad_input_is_refused(students: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is there already"):
        make(students, "plain", loss="labels", replace_=False)
    with pytest.raises(InputError, match="name a student with letters"):
        make(students, "../out", loss="labels")
    with pytest.raises(InputError, match="learns from a teacher"):
        make(students, "x")
    with pytest.raises(InputError, match="a fusion is over a decoder's log-odds; distil the task"):
        fused = ["score=fused", "fusion={fields: [item.color]}"]
        make(students, "x", loss="labels", settings=fused)
    with pytest.raises(InputError, match="gbdt has no option 'round'"):
        make(students, "x", loss="labels", options={"round": 3})
    with pytest.raises(DataError, match="too few"):
        make(students, "x", loss="labels", labels=3)
    with pytest.raises(ModelError, match="no student 'nobody'"):
        promptrank.open_ranker("toys/like", engine="student:nobody", project=students)
    assert not (students / "students/x").exists()
    other = students / "tasks/toys/other.yaml"
    other.write_text((students / "tasks/toys/like.yaml").read_text())
    with pytest.raises(InputError, match="made for toys/like, not for toys/other"):
        promptrank.open_ranker("toys/other", engine="student:plain", project=students)
    with pytest.raises(InputError, match="questions or answers of toys/like have changed"):
        promptrank.open_ranker(
            "toys/like",
            engine="student:plain",
            project=students,
            settings=["questions.like.answers.like.value=2"],
        )


@pytest.mark.long
def test_scores_of_other_prompts_are_refused(students: Path) -> None:
    template = students / "templates/toys/like.j2"
    before = template.read_text()
    template.write_text(before.replace("Toy:", "A toy:"))
    try:
        with pytest.raises(DataError, match="made with other prompts than toys/like words today"):
            make(students, "x", teacher=f"scores:{students}/scores.parquet")
    finally:
        template.write_text(before)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gbdt", "sequence"])
def test_serving_needs_no_torch(students: Path, kind: str) -> None:
    options = FEW if kind == "gbdt" else {"epochs": 1}
    made = make(students, f"bare-{kind}", student=kind, loss="labels", options=options)
    given = f"'toys/like', engine='student:bare-{kind}', project={str(students)!r}"
    code = (
        "import sys, promptrank\n"
        f"with promptrank.open_ranker({given}) as ranker:\n"
        "    ranker.rank({'member': {'name': 'x'}, 'candidates': [{'item': {'title': 'Toy 1'}}]})\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    shutil.rmtree(made.student.folder)


@pytest.mark.long
def test_the_command_line(students: Path) -> None:
    runner = CliRunner()
    where = ["--project", str(students)]
    made = runner.invoke(
        app,
        [
            "distill",
            "toys/like",
            "--name",
            "cli",
            "--loss",
            "labels",
            "--option",
            "rounds=3",
            *where,
        ],
    )
    assert made.exit_code == 0, made.output
    listed = runner.invoke(app, ["students", "ls", *where])
    assert "taught  gbdt  toys/like  auxiliary" in listed.stdout
    shown = runner.invoke(app, ["students", "show", "cli", *where])
    assert json.loads(shown.stdout)["facts"]["rounds"]["like"] <= 3
    teacher = ["--teacher", f"scores:{students}/scores.parquet"]
    table = runner.invoke(
        app,
        ["students", "compare", "toys/like", "taught", "plain", *teacher, "--draws", "100", *where],
    )
    assert table.exit_code == 0, table.output
    assert "us/cand" in table.stdout


@pytest.mark.long
def test_a_pruned_decoder_learns_the_answers_and_ranks(project: Path, tmp_path: Path) -> None:
    scores = f"scores:{project}/scores.parquet"
    options = {"layers": 1, "epochs": 2, "learning_rate": 0.003}
    made = make(
        project,
        "small",
        student="decoder",
        loss="direct",
        labels=0,
        teacher=scores,
        options=options,
        limit=12,
    )
    facts = made.student.card.facts
    assert facts["layers"] == [0]
    assert facts["loss"][1] < facts["loss"][0]
    ranked = promptrank.rank(
        "toys/like", tmp_path / "s.parquet", engine="student:small", project=project
    )
    assert (ranked.candidates, ranked.errors) == (60, 0)
    with pytest.raises(InputError, match="a decoder has one output"):
        make(project, "small", student="decoder", teacher=scores, options={})


def test_layers_are_dropped_evenly() -> None:
    from promptrank.students.decoder.pruned import kept_layers

    assert kept_layers(30, 15) == sorted(set(kept_layers(30, 15)))
    assert len(kept_layers(30, 15)) == 15
    assert kept_layers(5, 3) == [0, 2, 4]
    assert kept_layers(2, 1) == [0]
    with pytest.raises(InputError, match="from 1 to 2"):
        kept_layers(2, 3)
