"""``promptrank distill`` and ``promptrank students``: small rankers from a decoder's answers."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.students.comparison import Verdict

app = typer.Typer(
    name="students",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Students: list, show, and compare with teacher and baselines.",
)

Teacher = Annotated[
    str | None, typer.Option("--teacher", help="base, adapter:NAME, or scores:FILE.")
]


def distill(
    task: options.TaskName,
    name: Annotated[str, typer.Option("--name", help="Folder of the student in students/.")],
    teacher: Teacher = None,
    student: Annotated[
        str, typer.Option("--student", help="Kind: gbdt, sequence or decoder.")
    ] = "gbdt",
    loss: Annotated[
        str, typer.Option("--loss", help="labels, direct, auxiliary or self-auxiliary.")
    ] = "auxiliary",
    alpha: Annotated[
        float, typer.Option("--alpha", min=0.0, help="Weight of the teacher beside a label's 1.")
    ] = 1.0,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="Setting of the kind: rounds=300.")
    ] = None,
    requests: options.RequestFile = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option("--unlabelled", help="Further requests, for the teacher's answers alone."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most this many requests of each part.")
    ] = None,
    labels: Annotated[
        int | None,
        typer.Option(
            "--labels", min=0, help="Use the labels of so many requests of each part only."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in the place of one of that name.")
    ] = False,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
) -> None:
    """Train a small ranker on a decoder's answers and the labels, and write students/NAME/.

    The teacher's answers are kept in teacher/ by prompt and model: the next student does not ask
    again.
    """
    from promptrank.api.distill import distill as run

    with progress_bar("teacher", "requests") as progress:
        made = run(
            task,
            name=name,
            teacher=teacher,
            student=student,
            loss=loss,
            alpha=alpha,
            options=_options(option or ()),
            requests=requests,
            unlabelled=unlabelled,
            limit=limit,
            labels=labels,
            seed=seed,
            replace_=replace,
            engine=engine,
            model=model,
            project=project,
            settings=set_,
            threads=threads,
            say=say,
            progress=progress,
        )
    card = made.student.card
    for metric, value in card.metrics.items():
        say(f"{metric} on valid: {_number(value)}")
    if card.latency:
        say(f"{card.latency['us_per_candidate']} us a candidate, {made.student.size:,} bytes")
    say(f"-> {made.student.folder}")


@app.command()
def ls(project: options.ProjectFolder = None) -> None:
    """List the students of the project."""
    from promptrank.api.students import list_students

    cards = [found.card for found in list_students(project)]
    rows = [
        (c.name, c.kind, c.task, c.loss, str((c.teacher or {}).get("name", "-"))) for c in cards
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(5)]
    for row in rows:
        line = "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True))
        sys.stdout.write(f"{line.rstrip()}\n")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A student's name or folder.")],
    project: options.ProjectFolder = None,
) -> None:
    """Show a student's card: teacher, task, data, metrics, latency."""
    from dataclasses import asdict

    from promptrank.api.students import show_student

    found = show_student(name, project=project)
    card = {k: v for k, v in asdict(found.card).items() if v}
    about = {"folder": str(found.folder), "digest": found.digest, "bytes": found.size, **card}
    sys.stdout.write(json.dumps(about, indent=1, ensure_ascii=False) + "\n")


@app.command()
def verdict(
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
) -> None:
    """Compare teacher, students and baselines: quality, lift kept, time and size, in one table.

    A student that had a teacher is paired with one of its kind that learned from the same labels
    alone.
    """
    from promptrank.api.verdict import verdict as run

    with progress_bar("ranking", "requests") as progress:
        found = run(
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
            say=say,
            progress=progress,
        )
    show_verdict(found)


def show_verdict(found: "Verdict") -> None:
    """Print a verdict's table to stdout."""
    from rich.console import Console

    from promptrank.students.comparison_text import verdict_table

    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 140).print(verdict_table(found))


def _options(given: Any) -> dict[str, Any]:
    import yaml

    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"--option {text}: write NAME=VALUE, such as rounds=300")
        found[name] = yaml.safe_load(value)
    return found


def _number(value: Any) -> str:
    if isinstance(value, dict):
        ends = [value[k] for k in ("value", "low", "high")]
        return "-" if None in ends else "{:.3f} ({:.3f}-{:.3f})".format(*ends)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
