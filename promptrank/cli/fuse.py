"""``promptrank fuse``."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.stopping import GOES_ON, if_stopped
from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, say_once

if TYPE_CHECKING:
    from promptrank.fusion.layers import FittedFusion


def fuse(
    task: options.TaskName,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="A .json file. Default: beside the adapter, else in fusions/."
        ),
    ] = None,
    requests: options.RequestFile = None,
    limit: options.Limit = None,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    adapter: options.Adapter = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    allow_changed: options.AllowChanged = False,
    report: options.SideReport = None,
) -> None:
    """Fit `score: fused` on the validation part: decoder and declared numbers, or a calibration.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from promptrank.api.fuse import fuse as run

    with (
        if_stopped(GOES_ON),
        progress_bar("ranking", "requests") as progress,
    ):
        fused = run(
            task,
            requests=requests,
            limit=limit,
            engine=engine,
            model=model,
            adapter=adapter,
            project=project,
            settings=set_,
            threads=threads,
            device=device,
            dtype=dtype,
            report=report,
            out=out,
            allow_changed=allow_changed,
            say=say_once(),
            progress=progress,
        )
    rows = fused.fusion.fitted_on
    say(
        f"fitted on {rows.candidates:,} candidates ({rows.relevant:,} relevant) of "
        f"{rows.requests:,} validation requests -> {fused.path}"
    )
    for line in _form(fused.fusion):
        say(f"  {line}")


def _form(fusion: "FittedFusion") -> Iterator[str]:
    if fusion.by == "temperature":
        yield f"temperature {1 / fusion.fused.weights[0].slope:.3f}: every rank stays"
    elif fusion.by == "isotonic":
        levels = len({chance for _, chance in fusion.knots})
        yield f"isotonic, {levels} levels: equal scores on one, in the decoder's order"
    for weight in fusion.fused.weights if fusion.by in ("logistic", "platt") else ():
        yield f"{weight.name}: {weight.slope:+.3f} per standard deviation"
