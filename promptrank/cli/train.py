"""``promptrank train``."""

import re
from typing import Annotated, Any

import typer

from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.terminal import progress_bar, say, say_once

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def train(
    tasks: Annotated[list[str] | None, typer.Argument(help="Names or paths of tasks.")] = None,
    adapter: Annotated[str, typer.Option("--adapter", help="Name of the new adapter.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="All of the project's own.")] = False,
    init: Annotated[str | None, typer.Option("--init", help="Adapter to start from.")] = None,
    shape: Annotated[str, typer.Option(help="turns, packed, or auto.")] = "auto",
    loss: Annotated[
        list[str] | None,
        typer.Option(help="answers, listwise or ranknet, with a weight: listwise=0.5. Repeatable."),
    ] = None,
    prompt_weight: Annotated[
        float, typer.Option(help="Weight of the prompt's own tokens against the answers'.")
    ] = 0.01,
    prompt_rows: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Prompt tokens of a forward pass that stand for all; 0: all. Default: all, or "
            "128 of a vocabulary above 100,000.",
        ),
    ] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="Weight of a question: apply=2. Repeatable.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="About this many labels of each task.")
    ] = None,
    rank: Annotated[int, typer.Option(help="Rank of the LoRA.")] = 8,
    alpha: Annotated[float | None, typer.Option(help="LoRA alpha. Default: 2 x rank.")] = None,
    lora: Annotated[
        list[str] | None, typer.Option(help="A field of peft's LoraConfig: KEY=VALUE. Repeatable.")
    ] = None,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = 5e-4,
    epochs: Annotated[float, typer.Option(help="Passes over the examples.")] = 1.0,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps, in place of epochs.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Requests in a step.")] = 8,
    micro: Annotated[int, typer.Option(min=1, help="Of these, in one forward pass.")] = 2,
    temperature: Annotated[
        float, typer.Option(help="Above 1 draws small tasks more often than their size.")
    ] = 1.0,
    valid: Annotated[int, typer.Option(min=0, help="Validation requests per task.")] = 100,
    metric: Annotated[str, typer.Option(help="What the best checkpoint is chosen by.")] = "auc",
    every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints. Default: a tenth.")
    ] = None,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many checkpoints without gain; 0: never.")
    ] = 3,
    average: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Average so many of the last checkpoints, and keep the mean if it is better.",
        ),
    ] = None,
    rewordings: Annotated[
        float, typer.Option(help="Share of examples with the answers' other wordings.")
    ] = 0.0,
    template: Annotated[
        list[str] | None,
        typer.Option(help="Another template for a share of the examples: FILE=0.2. Repeatable."),
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Save the adapter in bfloat16.")] = False,
    seed: Annotated[int, typer.Option(help="Of weights, sample and order.")] = 0,
    trainer: Annotated[
        list[str] | None,
        typer.Option(help="A field of TrainingArguments: report_to=tensorboard. Repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an adapter or a run of this name.")
    ] = False,
    requests: options.RequestFile = None,
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    report: options.SideReport = None,
) -> None:
    """Train a LoRA adapter on tasks' labelled requests; it is written to adapters/NAME.

    Several tasks share one adapter; a second run with --init goes on from it for one of them.
    """
    from promptrank.api.train import train as run
    from promptrank.training import processes
    from promptrank.training.settings import Settings

    settings = Settings(
        shape=shape,
        losses=_numbers("--loss", loss or ["answers"], 1.0),
        prompt_weight=prompt_weight,
        prompt_rows=prompt_rows,
        questions=_numbers("--question", question or []),
        limit=limit,
        rank=rank,
        alpha=alpha,
        lora=_values("--lora", lora or []),
        lr=lr,
        epochs=epochs,
        steps=steps,
        batch=batch,
        micro=micro,
        temperature=temperature,
        valid=valid,
        metric=metric,
        every=every,
        patience=patience,
        average=average,
        rewordings=rewordings,
        templates=_numbers("--template", template or []),
        half=half,
        seed=seed,
        trainer=_values("--trainer", trainer or []),
    )
    how = "the same command with --resume goes on from the last checkpoint"
    with (
        if_stopped(how),
        progress_bar("encoding", "requests") as encoding,
        progress_bar("training", "steps") as progress,
    ):
        trained = run(
            tasks or [],
            adapter,
            every_task=all_,
            init=init,
            requests=requests,
            model=model,
            project=project,
            settings=set_ or (),
            training=settings,
            resume=resume,
            overwrite=overwrite,
            threads=threads,
            device=device,
            report=report,
            say=say_once(),
            progress=progress,
            encoding=encoding,
        )
    if not processes.is_first():
        return
    for name, after in trained.after.items():
        before = trained.before.get(name, {})
        for metric_name, value in after.items():
            was = f"{before[metric_name]:.4f} -> " if metric_name in before else ""
            say(f"{name}: validation {metric_name} {was}{value:.4f}")
    kept = f", the weights of step {trained.best}" if trained.best != trained.steps else ""
    if trained.averaged:
        kept = f", the mean of steps {', '.join(map(str, trained.averaged))}"
    say(f"{sum(trained.labels.values()):,} labels, {trained.steps:,} steps{kept} -> {trained.path}")


def _numbers(option: str, given: list[str], absent: float | None = None) -> dict[str, float]:
    """NAME=NUMBER pairs."""
    numbers = {}
    for text in given:
        name, equals, value = text.rpartition("=") if "=" in text else (text, "", "")
        try:
            numbers[name] = float(value) if equals or absent is None else absent
        except ValueError:
            raise typer.BadParameter(f"{option} {text}: expected NAME=NUMBER") from None
    return numbers


def _values(option: str, given: list[str]) -> dict[str, Any]:
    """KEY=VALUE pairs, each value read as YAML."""
    from promptrank.schema.yaml_values import yaml_value

    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{option} {text}: expected KEY=VALUE")
        try:
            values[name] = yaml_value(value)
        except ValueError as error:
            raise typer.BadParameter(f"{option} {text[:60]}: no YAML value ({error})") from None
        if isinstance(values[name], str) and _EXPONENT.fullmatch(value):
            values[name] = float(value)  # YAML 1.1 takes 1e-2 for a text
    return values
