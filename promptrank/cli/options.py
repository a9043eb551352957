"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

TaskName = Annotated[str, typer.Argument(help="Name of a task, or path of its .yaml file.")]
ProjectFolder = Annotated[
    Path | None,
    typer.Option("--project", help="Folder with tasks/ and templates/. Default: working folder."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a key of the task: --set budget.tokens=512. Repeatable."),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="packed, vllm, http://HOST:PORT, plain (slow), fake (no weights), student:NAME, "
        "baseline:NAME.",
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Model name or path. Default: the task's.")
]
Adapter = Annotated[
    str | None,
    typer.Option("--adapter", help="An adapter's name, alias (movies@prod) or folder."),
]
AllowChanged = Annotated[
    bool,
    typer.Option(
        "--allow-changed",
        help="Go on where template or answers changed since the adapter was trained.",
    ),
]
RequestFile = Annotated[
    Path | None,
    typer.Option("--requests", help="Request file (docs/reference/requests.md). Else the tables."),
]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="Only this part: train, valid or test. Repeatable."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, help="At most this many requests, sampled."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        help="CPU threads. Default: every core allowed; fewer are faster where others use them.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (cuda if there, else mps, else cpu), cpu, cuda, cuda:1 or mps.",
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        help="Of the weights: float32, bfloat16, float16, or int8 (CPU only). Default: bfloat16 on "
        "cuda (vllm: float32), else float32.",
    ),
]
PlanFile = Annotated[
    Path | None,
    typer.Option("--plan", help="A plan in place of TASK: a .yaml file that lists runs."),
]
ReportFile = Annotated[
    Path | None, typer.Option("--out", "-o", help="Also write the report as JSON here.")
]
PageFile = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Also write the report here: .html to read (with its .json beside it), or .json.",
    ),
]
SideReport = Annotated[
    Path | None, typer.Option("--report", help="Write how it does on validation as JSON here.")
]
