"""Commands about tasks themselves: ``ls``, ``pull``, ``validate``, ``render``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.terminal import columns, print_table, say_once


def ls(project: options.ProjectFolder = None) -> None:
    """List the tasks that can be named, and where each comes from."""
    from promptrank.api.tasks import ls as run

    rows = [
        (task.name, task.origin + (", shadows built-in" if task.shadows else ""), str(task.path))
        for task in run(project)
    ]
    print_table(columns(("task", "from", "file"), rows))


def pull(
    name: Annotated[
        str | None, typer.Argument(help="Model or data set; without it, the known names.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only look at what is here already.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the terms that it is given under.")
    ] = False,
) -> None:
    """Fetch a model or a data set into the cache and print its folder."""
    from promptrank.api.tasks import pull as run
    from promptrank.assets import pull_names

    if name is None:
        for known in pull_names():
            sys.stdout.write(f"{known}\n")
        return
    with if_stopped("the same command fetches it again"):
        folder = run(name, offline=offline, accept=accept, say=say_once())
    sys.stdout.write(f"{folder}\n")


def validate(
    task: options.TaskName,
    requests: Annotated[
        Path | None, typer.Option("--requests", help="Also read all of this request file.")
    ] = None,
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    leaks: Annotated[
        bool,
        typer.Option(
            "--leaks",
            help="Also look for fields that tell the label better than they should; takes the time "
            "of building all requests.",
        ),
    ] = False,
) -> None:
    """Check a task without scoring anything; every problem is listed, exit code 2 if there is one.

    Checks, in this order: the file (keys, types, references, score expression); the template
    (syntax, blocks, sandbox); the tables (files, columns, keys); template variables against the
    fields that tables and statistics supply; null values that the template prints unguarded; the
    answers in their real context (collisions, merges, empty ones); one block joined with the next
    against joint tokenization; the first requests, rendered within the budget. Propensities that
    are no probabilities are counted in the tables, and in a request file with --requests.
    """
    from promptrank.api.validate import validate as run

    checked = run(
        task,
        model=model,
        project=project,
        settings=set_,
        leaks=leaks,
        requests=requests,
        say=say_once(),
    )
    for line in checked.facts:
        sys.stdout.write(f"{line}\n")
    for line in checked.warnings:
        sys.stdout.write(f"warning: {line}\n")
    for line in checked.problems:
        sys.stdout.write(f"problem: {line}\n")
    if checked.problems:
        raise typer.Exit(2)
    sys.stdout.write(f"{checked.task}: fine\n")


def render(
    task: options.TaskName,
    request: Annotated[
        str | None, typer.Option("--request", help="Id of the request. Default: the first.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Id of the candidate. Default: the first.")
    ] = None,
    requests: options.RequestFile = None,
    ids: Annotated[bool, typer.Option("--ids", help="Show token ids too.")] = False,
    text: Annotated[bool, typer.Option("--text", help="Only the prompt's text.")] = False,
    model: options.ModelName = None,
    adapter: options.Adapter = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
) -> None:
    """Show the exact prompt of one candidate: its fragments, token ids, answer slots and cuts."""
    from promptrank.api.render import render as run

    shown = run(
        task,
        request=request,
        candidate=candidate,
        requests=requests,
        model=model,
        adapter=adapter,
        project=project,
        settings=set_,
        say=say_once(),
    )
    sys.stdout.write(shown.as_text(ids=ids, only_text=text))
