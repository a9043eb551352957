"""Texts into files: conflicts worked out by hand, and what a file keeps."""

import stat
from pathlib import Path

import pytest

from promptrank.errors import InputError
from promptrank.project import Project
from promptrank.workbench.text_diff import Half, Row, Span, differing
from promptrank.workbench.writing import (
    FileText,
    held,
    place_of_task,
    place_of_template,
    sharing,
    write_texts,
)
from promptrank.workspace.tasks import open_task


def test_a_file_that_nobody_changed_is_written_and_keeps_what_it_is(tmp_path: Path) -> None:
    real, link = tmp_path / "real.j2", tmp_path / "link.j2"
    real.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    real.chmod(0o640)
    link.symlink_to(real)
    began = held(link)
    assert began.text == "one\ntwo\n"
    assert write_texts([FileText(link, "one\r\nthree", began.digest)]) == []
    assert real.read_bytes() == b"\xef\xbb\xbfone\r\nthree\r\n"
    assert link.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.j2", "real.j2"]


def test_one_conflict_keeps_every_file_from_being_written(tmp_path: Path) -> None:
    task, template = tmp_path / "t.yaml", tmp_path / "t.j2"
    task.write_text("task\n")
    template.write_text("template\n")
    began = held(task).digest, held(template).digest
    template.write_text("somebody else's\n")
    wanted = [FileText(task, "my task\n", began[0]), FileText(template, "mine\n", began[1])]
    (conflict,) = write_texts(wanted)
    assert (conflict.path, conflict.text) == (template, "somebody else's\n")
    assert task.read_text() == "task\n" and template.read_text() == "somebody else's\n"
    # Whoever has seen what is there now may write over it.
    chosen = [wanted[0], FileText(template, "mine\n", conflict.digest)]
    assert write_texts(chosen) == []
    assert (task.read_text(), template.read_text()) == ("my task\n", "mine\n")


@pytest.mark.parametrize(
    ("now", "mine", "conflicts", "after"),
    [
        ("base\n", "mine\n", False, "mine\n"),  # nobody else was there
        ("theirs\n", "mine\n", True, "theirs\n"),
        ("mine\n", "mine\n", False, "mine\n"),  # somebody else made the same change
        ("theirs\n", "base\n", False, "theirs\n"),  # this one was not edited here
        (None, "mine\n", True, None),  # it is gone
    ],
)
def test_who_changed_what_decides(
    tmp_path: Path, now: str | None, mine: str, conflicts: bool, after: str | None
) -> None:
    path = tmp_path / "t.j2"
    path.write_text("base\n")
    began = held(path).digest
    path.unlink()
    if now is not None:
        path.write_text(now)
    assert bool(write_texts([FileText(path, mine, began)])) == conflicts
    assert (path.read_text() if path.exists() else None) == after


def test_a_new_file_is_made_unless_somebody_made_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.j2"
    assert write_texts([FileText(path, "mine", "")]) == []
    assert path.read_text() == "mine\n"
    (conflict,) = write_texts([FileText(path, "other", "")])
    assert conflict.text == "mine\n"


def test_what_cannot_be_a_file_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "t.j2"
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8 at byte 0"):
        held(path)
    path.write_text("base\n")
    began = held(path).digest
    with pytest.raises(InputError, match="half a character"):
        write_texts([FileText(path, "\ud800", began)])
    with pytest.raises(InputError, match="more than 1,048,576"):
        write_texts([FileText(path, "x" * (1 << 21), began)])
    assert [each.name for each in tmp_path.iterdir()] == ["t.j2"]
    assert path.read_text() == "base\n"


def test_files_of_a_project_are_its_own_and_built_in_ones_are_copied_into_it(toys: Path) -> None:
    own = open_task("toys/like", project=toys)
    assert place_of_task(own) == toys / "tasks/toys/like.yaml"
    assert place_of_template(own, own.task.template) == toys / "templates/toys/like.j2"
    built_in = open_task("movies/like", project=toys)
    assert place_of_task(built_in) == toys / "tasks/movies/like.yaml"
    assert (
        place_of_template(built_in, built_in.task.template)
        == toys / "templates" / built_in.task.template
    )
    for outside in ("../out.j2", "/etc/out.j2", ""):
        with pytest.raises(InputError, match="no file below templates/"):
            place_of_template(own, outside)


@pytest.mark.long
def test_tasks_that_share_a_template_are_named_whichever_way_they_use_it(toys: Path) -> None:
    text = (toys / "tasks/toys/like.yaml").read_text()
    for name, template in (("twin", "toys/like.j2"), ("child", "toys/child.j2"), ("no", "own.j2")):
        changed = text.replace("toys/like.j2", template)
        (toys / f"tasks/toys/{name}.yaml").write_text(changed)
    (toys / "templates/toys/child.j2").write_text("{% extends 'toys/like.j2' %}")
    (toys / "templates/own.j2").write_text((toys / "templates/toys/like.j2").read_text())
    (toys / "tasks/toys/broken.yaml").write_text("nothing: at all")
    opened = open_task("toys/like", project=toys)
    shared = sharing(opened, place_of_template(opened, opened.task.template), Project(toys))
    assert shared == ["toys/child", "toys/twin"]


def test_a_diff_shows_which_words_changed_and_folds_what_did_not() -> None:
    first = "a\nb\nc\nd\ne\nName: Ann\nlast"
    second = "a\nb\nc\nd\ne\nNames: Ann\nlast\nmore"
    skipped, d, e, name, last, more = differing(first, second, around=2)
    assert skipped == Row("skipped", count=3)
    assert (d.kind, e.kind, last.kind) == ("same",) * 3
    rest = Span(": Ann", False)
    assert name == Row(
        "changed",
        Half(6, (Span("Name", True), rest)),
        Half(6, (Span("Names", True), rest)),
    )
    assert more == Row("added", None, Half(8, (Span("more", True),)))
    assert differing("same", "same") == []


def test_lines_that_have_nothing_in_common_stand_by_themselves() -> None:
    rows = differing("completely\n", "0123456789\n")
    assert [row.kind for row in rows] == ["removed", "added"]
