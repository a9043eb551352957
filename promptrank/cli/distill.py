"""``promptrank distill``: a small ranker from a decoder's answers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from promptrank.basics.stopping import if_stopped
from promptrank.cli import cache_option, options
from promptrank.cli.terminal import progress_bar, say, say_once
from promptrank.errors import InputError

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
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    cache: cache_option.Cache = None,
    report: options.SideReport = None,
) -> None:
    """Train a small ranker on a decoder's answers and the labels, and write students/NAME/.

    The teacher's answers are kept in the score cache: the next student does not ask again.
    """
    from promptrank.api.distill import distill as run

    with (
        if_stopped("the same command goes on; what the teacher has answered is kept"),
        progress_bar("asking the teacher", "requests") as progress,
    ):
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
            device=device,
            dtype=dtype,
            cache=cache_option.chosen(cache) or True,
            report=report,
            say=say_once(),
            progress=progress,
        )
    card = made.student.card
    for metric, value in card.metrics.items():
        say(f"{metric} on valid: {_number(value)}")
    if card.latency:
        say(
            f"{card.latency['us_per_candidate']} microseconds a candidate on one core, "
            f"{made.student.size:,} bytes"
        )
    say(f"-> {made.student.folder}")


def _options(given: Any) -> dict[str, Any]:
    from promptrank.schema.yaml_values import yaml_value

    typed = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"--option {text}: write NAME=VALUE, such as rounds=300")
        try:
            typed[name] = yaml_value(value)
        except ValueError as error:
            raise InputError(f"--option {text[:60]}: no YAML value ({error})") from None
    return typed


def _number(value: Any) -> str:
    if isinstance(value, dict):
        ends = [value[k] for k in ("value", "low", "high")]
        return "-" if None in ends else "{:.3f} ({:.3f}-{:.3f})".format(*ends)
    return f"{value:.3f}" if isinstance(value, float) else str(value)
