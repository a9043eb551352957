"""``promptrank adapters``: what there is, what it was trained on, aliases, merging."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import columns, print_table, say, say_once

if TYPE_CHECKING:
    from promptrank.adapters.card import TaskCard

app = typer.Typer(
    name="adapters",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Adapters: list, show, merge into the base model, alias and roll back.",
)

Name = Annotated[str, typer.Argument(help="An adapter's name, alias (movies@prod) or folder.")]
Alias = Annotated[str, typer.Argument(help="NAME@LABEL, such as movies@prod.")]


@app.command()
def ls(project: options.ProjectFolder = None) -> None:
    """List adapters and aliases."""
    from promptrank.api.adapters import list_all, target_of

    listed = list_all(project)
    rows = [
        (a.name, a.origin, f"{a.folder}{f' ({a.problem})' if a.problem else ''}")
        for a in listed.adapters
    ]
    rows += [(name, "alias", f"-> {target_of(steps)}") for name, steps in listed.aliases.items()]
    print_table(columns(("adapter", "from", "folder"), rows))


@app.command()
def show(name: Name, project: options.ProjectFolder = None) -> None:
    """Show what an adapter was trained on, and its metrics before and after."""
    from promptrank.api.adapters import show as run

    shown = run(name, project=project)
    lines = [f"{shown.path.name}  {shown.path.origin}  {shown.path.folder}"]
    if shown.path.alias is not None:
        lines[0] = f"{shown.path.alias} -> {lines[0]}"
    lines.append(f"digest {shown.digest[:16]}, rank {shown.rank}")
    card = shown.card
    if card is None:
        lines.append("no card.json: peft made this folder, and nothing more is known of it")
    else:
        lines.append(f"base {card.base.name}, weights {card.base.digest[:16]}")
        if card.init is not None:
            lines.append(f"started from {card.init.name} ({card.init.digest[:16]})")
        for task, about in card.tasks.items():
            lines += [f"task {task}", *_task(about)]
        lines.append("made by: " + " ".join(card.command))
        versions = ", ".join(f"{library} {version}" for library, version in card.versions.items())
        lines.append(f"{card.created}; {versions}")
    sys.stdout.write("\n".join(lines) + "\n")


def _task(about: "TaskCard") -> list[str]:
    prints = ", ".join(f"{part} {value[:16]}" for part, value in about.fingerprints.items())
    lines = [f"  template {about.prompting.template}; {prints}", f"  split: {_split(about)}"]
    for metric in dict.fromkeys([*about.before, *about.after]):
        before, after = about.before.get(metric), about.after.get(metric)
        lines.append(f"  {metric}: {_number(before)} before, {_number(after)} after")
    return lines


def _split(about: "TaskCard") -> str:
    how = [f"{name} {value}" for name, value in about.split.items() if name != "requests"]
    counts = about.split.get("requests") or {}
    return ", ".join([*how, *(f"{count:,} {part} requests" for part, count in counts.items())])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


@app.command()
def merge(
    name: Name,
    out: Annotated[Path, typer.Option("--out", "-o", help="A new model folder.")],
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
) -> None:
    """Fold an adapter into its base model: a folder for --model, and for other servers."""
    from promptrank.api.adapters import merge as run

    difference = run(name, out, model=model, project=project, say=say_once())
    say(f"log-probs agree within {difference:.1e} -> {out}")


@app.command()
def alias(
    name: Alias,
    target: Annotated[str, typer.Argument(help="An adapter's name, alias or folder.")],
    project: options.ProjectFolder = None,
) -> None:
    """Point an alias at an adapter; what it stood for before is kept."""
    from promptrank.api.adapters import set_alias

    adapter = set_alias(name, target, project=project)
    say(f"{name} -> {adapter.name} ({adapter.folder})")


@app.command()
def rollback(name: Alias, project: options.ProjectFolder = None) -> None:
    """Point an alias at what it stood for before."""
    from promptrank.api.adapters import rollback as run

    say(f"{name} -> {run(name, project=project).target}")
