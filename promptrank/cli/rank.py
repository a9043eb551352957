"""``promptrank rank``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from promptrank.basics.plurals import counted
from promptrank.basics.stopping import if_stopped
from promptrank.cli import options
from promptrank.cli.signals import first_ctrl_c
from promptrank.cli.terminal import progress_bar, say, say_once
from promptrank.errors import InputError

_GO_ON = "the same command goes on where it was"


def rank(
    task: options.TaskName,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .parquet or .jsonl file.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", help="In place of -o: a folder of shards, for any number."),
    ] = None,
    requests: options.RequestFile = None,
    split: options.Splits = None,
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
    store: Annotated[
        bool,
        typer.Option("--store", help="Keep answers in teacher/, and take known ones from there."),
    ] = False,
    since: Annotated[
        Path | None,
        typer.Option(
            "--since",
            help="With --run: an earlier run, whose scores of equal prompts are taken over.",
        ),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option("--shard", help="With --run: requests of one shard. Default: 1000."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on",
            help="With --run, on Ray workers: ray (started here), or a running cluster's address "
            "(auto, ray://HOST:10001).",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="With --on: how many. Default: what the cluster has."),
    ] = None,
    cpus_per_worker: Annotated[
        float | None,
        typer.Option("--cpus-per-worker", help="With --on. Default: --threads, or 1."),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option("--gpus-per-worker", help="With --on. Default: 1 where there are GPUs."),
    ] = None,
) -> None:
    """Score and rank every candidate; without --split, the test part where the task has one.

    A run that was stopped goes on where it was when the same command is given again.
    """
    given: dict[str, Any] = {
        "requests": requests,
        "splits": set(split) if split else None,
        "limit": limit,
        "engine": engine,
        "model": model,
        "adapter": adapter,
        "project": project,
        "settings": set_,
        "threads": threads,
        "device": device,
        "dtype": dtype,
        "allow_changed": allow_changed,
    }
    if (out is None) == (run is None):
        raise InputError("name a file by -o, or a folder by --run")
    if run is not None:
        if store:
            raise InputError("--store goes with -o; leave it out, or --run")
        given |= {"on": on, "workers": workers}
        given |= {"cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker}
        _into_folder(task, run, given, since, shard)
        return
    if (on, workers, cpus_per_worker, gpus_per_worker) != (None, None, None, None):
        raise InputError("--on, and what goes with it, is for --run")
    if since is not None or shard is not None:
        raise InputError("--since and --shard go with --run")
    assert out is not None
    _into_file(task, out, given, store)


def _into_file(task: str, out: Path, given: Mapping[str, Any], store: bool) -> None:
    from promptrank.api.rank import rank as rank_into
    from promptrank.scores.scores import thin_answers

    with if_stopped(_GO_ON), progress_bar("ranking", "requests") as progress:
        ranked = rank_into(task, out, **given, store=store, say=say_once(), progress=progress)
    of = counted(ranked.requests, "request")
    say(f"{counted(ranked.candidates, 'candidate')} of {of} -> {ranked.path}")
    if ranked.removed:
        say(f"{ranked.removed:,} of them taken out by steps, which have no rank")
    if ranked.removed == ranked.candidates > 0:
        say(f"warning: steps took out every candidate; `promptrank validate {task}` looks at them")
    if ranked.cut_events:
        say(f"{ranked.cut_events:,} history events did not fit their prompts")
    for note in ranked.notes:
        say(note)
    for name, mass in ranked.label_mass.items():
        say(f"{name}: the declared answers hold {mass:.1%} of the model's probability")
    for warning in thin_answers(ranked.label_mass):
        say(f"warning: {warning}")
    if ranked.errors:
        say(
            f"{counted(ranked.errors, 'row')} set aside, {counted(ranked.partial, 'ranking')} "
            f"partial -> {ranked.errors_path}"
        )


def _into_folder(
    task: str, folder: Path, given: Mapping[str, Any], since: Path | None, shard: int | None
) -> None:
    from promptrank.api.rank_run import rank_run
    from promptrank.runs.sharded_run import SHARD
    from promptrank.scores.scores import thin_answers

    with (
        if_stopped(_GO_ON),
        first_ctrl_c(say, "finishing the shard in hand; Ctrl-C again stops at once") as stop,
        progress_bar("ranking", "requests") as progress,
    ):
        done = rank_run(
            task,
            folder,
            **given,
            since=since,
            size=SHARD if shard is None else shard,
            stop=stop,
            say=say_once(),
            progress=progress,
        )
    all_ = done.counted
    taken_out = f"{all_.removed:,} taken out by steps + " if all_.removed else ""
    if done.resumed:
        say(f"{done.resumed:,} of {counted(done.shards, 'shard')} were done already")
    say(
        f"{counted(all_.candidates, 'candidate')} of {counted(all_.requests, 'request')} = "
        f"{all_.scored:,} scored + {taken_out}{all_.set_aside:,} set aside -> {folder}"
    )
    if all_.reused:
        say(f"{counted(all_.reused, 'request')} kept the scores of {since}")
    if all_.cut_events:
        say(f"{all_.cut_events:,} history events did not fit their prompts")
    rows = all_.scored + all_.removed
    mass = {name: total / rows for name, total in all_.label_mass.items() if rows}
    for name, mean in mass.items():
        say(f"{name}: the declared answers hold {mean:.1%} of the model's probability")
    for warning in thin_answers(mass):
        say(f"warning: {warning}")
    if all_.errors:
        say(
            f"{counted(all_.errors, 'error row')}, {counted(all_.unread, 'row')} of the file not "
            f"read, {counted(all_.partial, 'ranking')} partial -> {folder / 'errors'}"
        )
