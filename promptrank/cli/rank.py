"""``promptrank rank``."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptrank.basics.stopping import GOES_ON, if_stopped
from promptrank.cli import cache_option, options
from promptrank.cli.run_line import RunLine
from promptrank.cli.run_words import ReportFiles, one_task, say_run
from promptrank.cli.signals import first_ctrl_c
from promptrank.cli.terminal import progress_bar, say, say_once
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.workspace.planned_runs import PlanEntry


def rank(
    tasks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TASK]...", help="Names of tasks, or paths of .yaml files."),
    ] = None,
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
    cache: cache_option.Cache = None,
    since: Annotated[
        Path | None,
        typer.Option(
            "--since",
            help="With --run: an earlier run, whose scores of equal prompts are taken over, or a "
            "folder of such runs, of which the last finished one by name.",
        ),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option("--shard", help="With --run: requests of one shard. Default: 1000."),
    ] = None,
    partition: Annotated[
        str | None,
        typer.Option("--partition", help="With --run: `date` puts each day into a folder."),
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
    plan: options.PlanFile = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", help="What became of each run as JSON; - for stdout."),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", help="The same as a .prom file, for node-exporter."),
    ] = None,
    with_text: Annotated[
        bool,
        typer.Option("--with-text", help="Error rows may quote what the data says."),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            help="Seconds that a step of the engine may take. Default: 600 (vllm), "
            "120 (http); no limit for engines that compute in this process, which a time-out ends.",
        ),
    ] = None,
    prepare: Annotated[
        int | None,
        typer.Option(
            "--prepare",
            help="With --run: processes that render and tokenize beside the engine. "
            "Default: 1, and 0 where the engine computes in this process on the CPU.",
        ),
    ] = None,
) -> None:
    """Score and rank every candidate; without --split, the test part where the task has one.

    Several tasks, or a --plan, go with --run.
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
        "cache": cache_option.chosen(cache),
        "timeout": timeout,
        "with_text": with_text,
    }
    if out is not None and run is not None:
        raise InputError("-o and --run are both given; one place is written, so leave one out")
    if out is None and run is None:
        raise InputError("name a file by -o, or a folder by --run")
    for task in tasks or []:
        _refuse_a_plan(task)
    if plan is not None and tasks:
        raise InputError("name tasks, or a --plan; a plan names its tasks itself")
    files = ReportFiles(summary, metrics, with_text=with_text)
    if run is not None:
        if plan is None and not tasks:
            raise InputError("name a task, or several, or a --plan")
        given |= {"partition": partition, "prepare": prepare}
        on_ray: dict[str, Any] = {"on": on, "workers": workers}
        on_ray |= {"cpus_per_worker": cpus_per_worker, "gpus_per_worker": gpus_per_worker}
        if any(value is not None for value in on_ray.values()):
            given |= on_ray
        _into_folder(plan or tasks or [], run, given, since, shard, files)
        return
    folder_only: dict[str, Any] = {
        "--since": since,
        "--shard": shard,
        "--partition": partition,
        "--plan": plan,
        "--prepare": prepare,
        "--on": on,
        "--workers": workers,
        "--cpus-per-worker": cpus_per_worker,
        "--gpus-per-worker": gpus_per_worker,
    }
    for option, value in folder_only.items():
        if value is not None:
            raise InputError(f"{option} goes with --run")
    assert out is not None
    _into_file(one_task(tasks or []), out, given, files)


def _refuse_a_plan(task: str) -> None:
    """A plan that stands where a task is expected is told as one."""
    from promptrank.schema.load import read_yaml

    path = Path(task).expanduser()
    if path.suffix not in (".yaml", ".yml") or not path.is_file():
        return
    values = read_yaml(path)
    if "runs" in values and "template" not in values:
        raise InputError(f"{task}: is a plan, no task; give it by --plan {task}")


@contextmanager
def _stoppable() -> Iterator[tuple[Callable[[], bool], Any]]:
    """Whether to stop between two shards, and the bar."""
    words = "finishing the shard in hand; Ctrl-C again stops at once"
    with (
        if_stopped(GOES_ON),
        first_ctrl_c(say, words) as stop,
        progress_bar("ranking", "requests") as progress,
    ):
        yield stop, progress


def _into_file(task: str, out: Path, given: Mapping[str, Any], files: ReportFiles) -> None:
    from promptrank.api.rank import rank as rank_into
    from promptrank.runs.throughput import Throughput

    with _stoppable() as (stop, progress), files.written(stop):
        progress.beside = RunLine(throughput := Throughput())
        ranked = rank_into(
            task,
            out,
            **given,
            throughput=throughput,
            ends=files.ends,
            timed_out=files.failed,
            stop=stop,
            say=say_once(),
            progress=progress,
        )
    say_run(ranked.summary, errors=ranked.errors_path)
    if ranked.removed == ranked.candidates > 0:
        say(f"warning: steps removed every candidate; `promptrank validate {task}` looks at them")
    for note in ranked.notes:
        say(note)


def _into_folder(
    plan: Path | Sequence[str],
    folder: Path,
    given: Mapping[str, Any],
    since: Path | None,
    shard: int | None,
    files: ReportFiles,
) -> None:
    """Rank one task into a folder, or several into folders of their own there."""
    from promptrank.api.rank_run import rank_plan, rank_run
    from promptrank.runs.sharded_run import SHARD
    from promptrank.runs.throughput import Throughput

    with _finished_told(files, since), _stoppable() as (stop, progress), files.written(stop):
        line = progress.beside = RunLine(throughput := Throughput())
        options_: dict[str, Any] = {
            "since": since,
            "size": SHARD if shard is None else shard,
            "ends": files.ends,
            "timed_out": files.failed,
            "stop": stop,
            "say": say_once(),
            "progress": progress,
        }
        if not isinstance(plan, Path) and len(plan) == 1:
            rank_run(plan[0], folder, **given, **options_, throughput=throughput)
            return

        def started(entry: "PlanEntry", throughput: Throughput) -> None:
            progress.close()
            progress.what = f"ranking {entry.name}"
            line.begin(throughput)

        rank_plan(plan, folder, **given, **options_, started=started)


@contextmanager
def _finished_told(files: ReportFiles, since: Path | None) -> Iterator[None]:
    """What the runs that finished came to is said in the end, whatever became of the others."""
    from promptrank.runs.run_ends import Unfinished

    try:
        yield
    finally:
        for name, each in files.ends.items():
            if isinstance(each, Unfinished):
                continue
            if len(files.ends) > 1:
                say(f"{name}:")
            say_run(each, since)
