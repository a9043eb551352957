"""``promptrank parity``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say

if TYPE_CHECKING:
    from promptrank.api.parity import Parity, ParityRow


def parity(
    task: options.TaskName,
    adapter: options.Adapter = None,
    engines: Annotated[
        list[str] | None,
        typer.Option("--engine", help="packed, vllm or merged; repeatable. Default: all."),
    ] = None,
    requests: options.RequestFile = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The part to score. Default: test.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many requests, sampled.")] = 8,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the result as JSON here.")
    ] = None,
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
) -> None:
    """Check that every engine scores as one prompt at a time does; exit code 2 if one does not.

    Engines: packed, vllm (where it is installed), and with an adapter its weights merged into the
    base model.
    """
    from promptrank.api.parity import parity as run

    with progress_bar("scoring", "requests") as progress:
        found = run(
            task,
            adapter=adapter,
            engines=engines,
            requests=requests,
            split=split,
            limit=limit,
            model=model,
            project=project,
            settings=set_,
            threads=threads,
            out=out,
            say=say,
            progress=progress,
        )
    _show(found)
    if not found.passed:
        raise typer.Exit(2)


def _show(found: "Parity") -> None:
    """Print the table and what a reader must know of it."""
    candidates = max((row.agreement.candidates for row in found.rows), default=0)
    out = [
        f"{found.task}, adapter {found.adapter or 'none'}: {found.requests} requests, {candidates} "
        "candidates, against one prompt at a time",
        f"{'engine':<8} {'log-odds apart':>14} {'allowed':>8} {'rank corr.':>10} {'top-1':>6}",
    ]
    out += [_line(row) for row in found.rows]
    out += [f"{name}: left out, {reason}" for name, reason in found.left_out.items()]
    if len({row.notes for row in found.rows}) > 1:
        out.append("the engines did not run alike; what they say of themselves:")
    out += [f"{row.engine}: {note}" for row in found.rows for note in row.notes]
    sys.stdout.write("\n".join(out) + "\n")


def _line(row: "ParityRow") -> str:
    a = row.agreement
    correlation = "-" if a.rank_correlation is None else f"{a.rank_correlation:.4f}"
    missing = f", {a.missing} candidates missing" if a.missing else ""
    return (
        f"{row.engine:<8} {a.difference:>14.1e} {a.tolerance:>8.0e} {correlation:>10} "
        f"{a.top:>6.3f}  {'pass' if a.passed else 'FAIL'}{missing}"
    )
