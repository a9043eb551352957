"""``promptrank parity``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli import options
from promptrank.cli.terminal import print_table, progress_bar, say_once

if TYPE_CHECKING:
    from rich.table import Table

    from promptrank.evaluation.report import Report


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
    device: options.Device = "auto",
    dtype: options.Dtype = None,
) -> None:
    """Check that every engine scores as one prompt at a time does; exit code 2 if one does not.

    Engines: packed, vllm (where it is installed), and with an adapter its weights merged into the
    base model.
    """
    from promptrank.api.parity import parity as run

    with progress_bar("scoring", "requests") as progress:
        report = run(
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
            device=device,
            dtype=dtype,
            out=out,
            say=say_once(),
            progress=progress,
        )
    conclude(report)


def conclude(report: "Report") -> None:
    """Print the table and what a reader must know of it; exit code 2 where an engine fails."""
    from promptrank.api.parity import passed

    about, counts = report.provenance, report.counts
    asked = f"{counted(counts.requests, 'request')}, {counted(counts.candidates, 'candidate')}"
    sys.stdout.write(
        f"{about['task']}, adapter {about['adapter'] or 'none'}: {asked}, against one prompt at a "
        "time\n"
    )
    print_table(_table(report))
    notes = [f"{name}: left out, {reason}" for name, reason in report.absent.items()]
    sys.stdout.write("".join(f"{note}\n" for note in [*notes, *report.notes]))
    if not passed(report):
        raise typer.Exit(2)


def _table(report: "Report") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("engine")
    for name in ("log-odds apart", "allowed", "rank corr.", "top-1"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for row in report.rankers:
        agreement = row.agreement
        if agreement is None:  # the reference
            continue
        correlation = agreement.rank_correlation
        missing = (
            f", {counted(agreement.missing, 'candidate')} missing" if agreement.missing else ""
        )
        table.add_row(
            Text(row.name),
            f"{agreement.difference:.1e}",
            f"{agreement.tolerance:.0e}",
            "-" if correlation is None else f"{correlation:.4f}",
            f"{agreement.top:.3f}",
            f"{'pass' if agreement.passed else 'FAIL'}{missing}",
        )
    return table
