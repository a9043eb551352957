"""``promptrank students``: list, show, and compare with teacher and baselines."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import columns, print_table, progress_bar, say_once

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report

app = typer.Typer(
    name="students",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Students: list, show, and compare with teacher and baselines.",
)

WIDTH = 140  # characters of a comparison's line in a file or a pipe


@app.command()
def ls(project: options.ProjectFolder = None) -> None:
    """List the students of the project."""
    from promptrank.api.students import list_students

    cards = [student.card for student in list_students(project)]
    rows = [
        (c.name, c.kind, c.task, c.loss, str((c.teacher or {}).get("name", "-"))) for c in cards
    ]
    print_table(columns(("student", "kind", "task", "loss", "teacher"), rows))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A student's name or folder.")],
    project: options.ProjectFolder = None,
) -> None:
    """Show a student's card: teacher, task, data, metrics, latency."""
    from dataclasses import asdict

    from promptrank.api.students import show_student

    student = show_student(name, project=project)
    card = {key: value for key, value in asdict(student.card).items() if value}
    about = {
        "folder": str(student.folder),
        "digest": student.digest,
        "bytes": student.size,
        **card,
    }
    sys.stdout.write(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


@app.command()
def compare(
    task: options.TaskName,
    students: Annotated[list[str], typer.Argument(help="Names in students/.")],
    teacher: Annotated[str, typer.Option("--teacher", help="base, adapter:NAME or scores:FILE.")],
    requests: options.RequestFile = None,
    limit: options.Limit = None,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
    out: options.ReportFile = None,
) -> None:
    """Compare teacher, students and baselines: quality, lift kept, time and size, in one table.

    A student that had a teacher is paired with one of its kind that learned from the same labels
    alone.
    """
    from promptrank.api.compare_students import compare_students as run

    with progress_bar("ranking", "requests") as progress:
        report = run(
            task,
            teacher=teacher,
            students=students,
            requests=requests,
            limit=limit,
            engine=engine,
            model=model,
            project=project,
            settings=set_,
            draws=draws,
            out=out,
            say=say_once(),
            progress=progress,
        )
    show_students(report)


def show_students(report: "Report") -> None:
    """Print a comparison's table to stdout."""
    from promptrank.students.comparison_text import students_table

    print_table(students_table(report), WIDTH)
