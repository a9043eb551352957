"""What a run of `distill` or `compare_students` refuses, says and keeps, on the toys."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import promptrank
from promptrank.adapters.shelf import adapter_digest
from promptrank.api.compare_students import compare_students
from promptrank.api.distill import Distilled, distill
from promptrank.errors import DataError, InputError, ModelError
from promptrank.students.card import StudentCard, StudentFolder, new_student
from promptrank.students.comparison import pairs_of
from promptrank.students.gbdt import trees as gbdt
from promptrank.students.sequence import sasrec as sequence
from promptrank.workspace.tasks import open_task
from support.adapters import a_folder
from support.models import make_model
from support.toys import make_project

FEW = {"rounds": 3, "leaves": 4}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toys")
    make_project(root, make_model(root / "model"))
    promptrank.build("toys/like", root / "requests.parquet", project=root)
    return root


def make(project: Path, name: str, **given: Any) -> Distilled:
    requests = project / "requests.parquet"
    options = {"options": FEW, "project": project, "requests": requests, "replace_": True}
    return distill("toys/like", name=name, **{**options, "timed": 1, **given})


@pytest.mark.long
@pytest.mark.parametrize(
    ("student", "given"),
    [
        ("gbdt", {"rounds": "x"}),
        ("sequence", {"heads": 5}),
        ("decoder", {"layers": 0}),
        ("decoder", {"layers": 9}),
    ],
)
def test_options_are_checked_before_the_teacher_is_asked(
    project: Path, student: str, given: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"teacher": "adapter:nobody", "loss": "direct"}
    with pytest.raises(InputError, match=f"option {next(iter(given))}"):
        make(project, "x", student=student, options=given, **asked)
    with pytest.raises(ModelError, match="no adapter nobody"):
        make(project, "x", **asked)


@pytest.mark.long
def test_a_device_that_is_not_there_is_refused_before_the_teacher_is_asked(project: Path) -> None:
    asked: dict[str, Any] = {"teacher": "adapter:nobody", "loss": "direct"}
    with pytest.raises(ModelError, match="device cuda:9: "):
        make(project, "x", student="decoder", options={}, device="cuda:9", **asked)


@pytest.mark.long
@pytest.mark.parametrize("loss", ["direct", "self-auxiliary"])
def test_a_teacher_of_another_part_is_refused(project: Path, tmp_path: Path, loss: str) -> None:
    scores = tmp_path / "s.parquet"
    promptrank.rank("toys/like", scores, engine="fake", project=project)  # the test part
    with pytest.raises(DataError, match="has answered for no training candidate of toys/like"):
        make(project, "x", loss=loss, teacher=f"scores:{scores}")


@pytest.mark.long
def test_candidates_that_could_not_be_asked_are_counted(project: Path, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    rows = [
        {"request_id": f"new{i}", "member_id": "p1", "item_id": f"t{i}", "item_row": None}
        | {"member": {"name": "New"}, "item": {"title": "Toy", "color": ""} if i else {}}
        for i in range(3)
    ]
    more.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    make(project, "few", teacher="base", engine="fake", unlabelled=more, say=said.append)
    (line,) = [text for text in said if "could not be asked" in text]
    assert line.startswith("1 candidates could not be asked, first: ")
    assert "title" in line
    said.clear()
    make(project, "few", teacher="base", engine="fake", say=said.append)
    assert not [text for text in said if "could not be asked" in text]


@pytest.mark.long
def test_a_card_knows_the_digest_of_the_teachers_adapter(project: Path, tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "tuned")
    card = make(project, "tuned", teacher=f"adapter:{folder}", engine="fake").student.card
    assert card.teacher is not None
    assert card.teacher["adapter_digest"] == adapter_digest(folder)


@pytest.mark.long
def test_the_old_student_stays_where_the_new_one_cannot_be_opened(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make(project, "kept", loss="labels").student

    def broken(*_: Any) -> None:
        raise ModelError("not a whole student")

    monkeypatch.setattr(gbdt, "load", broken)
    with pytest.raises(ModelError, match="not a whole student"):
        make(project, "kept", loss="labels", seed=1)
    monkeypatch.undo()
    assert json.loads((old.folder / "card.json").read_text())["seed"] == 0
    assert not [p.name for p in old.folder.parent.iterdir() if p.name.startswith(".")]


def test_a_folder_that_could_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "students/s"
    with pytest.raises(OSError, match="no space"), new_student(place, replace=False) as folder:
        (folder / "half").write_text("half")
        raise OSError("no space left on device")
    assert list(place.parent.iterdir()) == []


@pytest.mark.long
def test_inputs_of_a_sequence_student_are_plain_json(project: Path) -> None:
    made = make(project, "seq", student="sequence", loss="labels", options={"epochs": 1})

    def never(name: str) -> None:
        raise AssertionError(name)

    text = (made.student.folder / "inputs.json").read_text()
    assert None in json.loads(text, parse_constant=never)["spread"]
    task = open_task("toys/like", project=project).task
    again = sequence.load(task, made.student.folder, None)
    assert (again.inputs.spread == float("inf")).any()


def folder(kind: str, loss: str, labels: int, seed: int = 0, taught: bool = False) -> StudentFolder:
    teacher = {"name": "base"} if taught else None
    data = {"labels": {"like": labels}}
    card = StudentCard("s", kind, "t", "q", loss, teacher, seed=seed, data=data)
    return StudentFolder(Path("s"), card, "", 0)


def test_a_student_is_paired_with_its_like_on_the_same_labels() -> None:
    said: list[str] = []
    plain = folder("gbdt", "labels", 40)
    folders = {
        "taught": folder("gbdt", "direct", 40, seed=3, taught=True),
        "own": folder("gbdt", "self-auxiliary", 40, seed=3),
        "plain": plain,
        "like": replace(plain, card=replace(plain.card, seed=3)),
        "more": folder("gbdt", "labels", 400, seed=3),
        "network": folder("sequence", "direct", 40, taught=True),
    }
    assert pairs_of(folders, said.append) == {"taught": "like"}
    assert not said
    other = {name: folders[name] for name in ("taught", "own", "more")}
    assert pairs_of(other, said.append) == {}
    assert said == ["taught: no gain, for more learned from other labels; distill one like it"]


@pytest.mark.long
def test_a_comparison_takes_students_by_path_and_refuses_names_of_other_lines(
    project: Path, tmp_path: Path
) -> None:
    made = make(project, "plain", loss="labels").student
    given: dict[str, Any] = {"teacher": "base", "engine": "fake", "project": project, "draws": 100}
    for name in ("teacher", "logistic", "popularity"):
        shutil.copytree(made.folder, made.folder.with_name(name))
        with pytest.raises(InputError, match=f"student {name}: that is another line of the table"):
            compare_students("toys/like", students=[name], **given)
        shutil.rmtree(made.folder.with_name(name))
    before = sorted(p.name for p in made.folder.parent.iterdir())
    path = str(made.folder)
    report = compare_students("toys/like", students=[path, "plain"], **given)
    cells = [report.ranker(name).cells["ndcg@10"].value for name in (path, "plain")]
    assert cells[0] == cells[1]
    assert sorted(p.name for p in made.folder.parent.iterdir()) == before
