"""``promptrank plan``."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptrank.basics.plurals import counted
from promptrank.cli import options
from promptrank.cli.terminal import say_once
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.api.plan import Planned
    from promptrank.runs.planning import Needed


def plan(
    task: Annotated[
        str | None, typer.Argument(help="Name of a task, or path of its .yaml file.")
    ] = None,
    tokens_per_second: Annotated[
        float | None,
        typer.Option("--tokens-per-second", help="Unique tokens that one GPU scores in a second."),
    ] = None,
    price: Annotated[
        float | None, typer.Option("--price", help="Of an hour of one GPU, in any currency.")
    ] = None,
    candidates_per_day: Annotated[
        int | None, typer.Option("--candidates-per-day", min=1, help="Tell of so many too.")
    ] = None,
    requests: options.RequestFile = None,
    split: options.Splits = None,
    limit: Annotated[
        int,
        typer.Option(
            "--limit",
            min=1,
            help="How many requests to encode, sampled; of a --plan, of each run. How many a run "
            "ranks, its own `limit` in the plan says.",
        ),
    ] = 256,
    model: options.ModelName = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    plan_file: options.PlanFile = None,
) -> None:
    """Tell the tokens, hours and money that scoring takes; no weights are read.

    For one task, or for the runs of a --plan, as of `rank`.
    """
    from promptrank.api.plan import plan as run
    from promptrank.api.plan import plan_runs

    if tokens_per_second is None:
        raise InputError(
            "give --tokens-per-second, the unique tokens that one GPU (or machine) scores in a "
            "second; measure it where it will run: `python bench/score.py` prints it for a CPU, "
            "`bench/device.sh` for a GPU"
        )
    given: dict[str, Any] = {
        "tokens_per_second": tokens_per_second,
        "price": price,
        "candidates_per_day": candidates_per_day,
        "requests": requests,
        "splits": set(split) if split else None,
        "limit": limit,
        "model": model,
        "project": project,
        "settings": set_,
        "say": say_once(),
    }
    if task is not None and plan_file is not None:
        raise InputError("a task and a --plan are both given; leave one out")
    if task is None and plan_file is None:
        raise InputError("name a task, or a --plan")
    if plan_file is not None:
        each, planned = plan_runs(plan_file, **given)
        lines = [line for name, one in each.items() for line in _lines(one, name)]
        lines += _lines(planned)
    else:
        assert task is not None
        lines = _lines(run(task, **given))
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def _lines(planned: "Planned", name: str | None = None) -> list[str]:
    requests = planned.all.tokens.requests
    sampled = planned.sampled < requests
    by = f", by a sample of {planned.sampled:,}" if sampled else ""
    lines = [f"{name or planned.task}: {counted(int(requests), 'request')}{by}"]
    lines += _needed(planned.all, about=sampled)
    if planned.day is not None:
        lines.append("a day of so many candidates:")
        lines += _needed(planned.day, about=True)
        lines.append(
            f"  {counted(planned.day.gpus_in_a_day, 'GPU')} at the least to end within the day"
        )
    return lines


def _needed(needed: "Needed", about: bool) -> list[str]:
    tokens = needed.tokens
    hours = ", ".join(f"{_short(h)} on {counted(n, 'GPU')}" for n, h in needed.hours.items())
    word = "about " if about else ""
    lines = [
        f"  {word}{_count(tokens.candidates, about)} candidates, "
        f"{_count(tokens.prompts, about)} prompts, {_count(tokens.tokens, about)} tokens",
        f"  {word}{_count(tokens.computed, about)} unique tokens, each computed once",
        f"  hours at {needed.rate:,g} unique tokens a second: {hours}",
    ]
    if needed.cost is not None:
        lines.append(
            f"  {_short(needed.gpu_hours)} GPU-hours at {needed.price:,g} each: "
            f"{_short(needed.cost)}, on any number of GPUs"
        )
    return lines


def _count(number: float, about: bool) -> str:
    """Three digits are known of what is taken from a sample."""
    whole = round(number)
    return f"{round(whole, 3 - len(str(whole))) if about and whole >= 1000 else whole:,}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
