"""``train``: labelled requests to an adapter, resumable."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.adapters.store import adapter_digest, check_base, check_name, find_adapter
from promptrank.api.build import build
from promptrank.api.manifest import digest, task_config, versions, write_json
from promptrank.api.rank import Progress, no_progress
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.api.tasks import ls as all_tasks
from promptrank.errors import DataError, InputError
from promptrank.project import open_project
from promptrank.training.settings import Settings

if TYPE_CHECKING:
    from promptrank.adapters.card import Base, TaskCard
    from promptrank.api.prepare import Prepared
    from promptrank.training.fit import Fitted


@dataclass(frozen=True, slots=True)
class Trained:
    """What `train` wrote.

    Attributes:
        path: the adapter's folder.
        labels: task -> labels that it trained on, each once an epoch.
        before, after: task -> validation metrics before the first step and of the adapter.
        steps: optimizer steps taken; ``best`` the one whose weights were kept.
    """

    path: Path
    labels: dict[str, int]
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]
    steps: int
    best: int


def train(
    tasks: Sequence[str],
    adapter: str,
    *,
    every_task: bool = False,
    init: str | Path | None = None,
    requests: str | Path | None = None,
    model: str | None = None,
    project: str | Path | None = None,
    settings: Sequence[str] = (),
    training: Settings | None = None,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Trained:
    """Train a LoRA adapter on the part ``train`` of tasks and write it to ``adapters/<adapter>``.

    The part ``test`` is never looked at, except to keep its labels out of histories; ``valid``
    chooses the checkpoint. Until it is whole the adapter lies in ``adapters/.<adapter>.run``, with
    checkpoints from which ``resume`` goes on to the same end.

    Args:
        tasks: names or paths.
        adapter: the new adapter's name.
        every_task: all tasks of the project, in place of ``tasks``.
        init: an adapter to start from: name, alias or folder.
        requests: a request file with all parts, for a single task.
        model: name or path of the base; the tasks' own where left out.
        settings: ``a.b=c`` overrides of the task files.
        training: how to train.
        overwrite: replace an adapter, or an unfinished run, of this name.

    Raises:
        InputError: whatever in the input keeps the run from starting, or ends it.
    """
    from promptrank.assets import resolve_model

    chosen = training if training is not None else Settings()
    root = open_project(project).root
    opened = _open(tasks, every_task, root, settings)
    if requests is not None and len(opened) > 1:
        raise InputError("--requests: holds the requests of one task; train it alone")
    name = _one_model(opened, model)
    target = root / "adapters" / check_name(adapter)
    run = target.with_name(f".{adapter}.run")
    _check_places(target, run, resume, overwrite)
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    start = find_adapter(init, root).folder if init is not None else None
    folder = resolve_model(name, say=say)
    if start is not None:
        check_base(start, name, folder)
    try:
        with _first_process():
            run.mkdir(parents=True, exist_ok=True)
            files = [_requests(one, n, requests, run, say) for n, one in enumerate(opened)]
        prepared = _prepare(opened, files, chosen, folder, say)
    except InputError:
        if not resume:
            shutil.rmtree(run, ignore_errors=True)
        raise
    with _first_process():
        _same_run(run, prepared, chosen, folder, start, resume)
    fitted = _fit(prepared, chosen, folder, name, start, run, resume, say, progress)
    if _is_first():
        base = _base(name, folder)
        _finish(target, run, prepared, chosen, fitted, base, start)
    labels = {one.opened.name: one.labels for one in prepared}
    return Trained(target, labels, fitted.before, fitted.after, fitted.steps, fitted.best)


def _open(
    tasks: Sequence[str], every_task: bool, root: Path, settings: Sequence[str]
) -> list[OpenTask]:
    if every_task == bool(tasks):
        raise InputError("name the tasks to train on, or say --all")
    names = [task.name for task in all_tasks(root)] if every_task else list(dict.fromkeys(tasks))
    return [open_task(name, project=root, settings=settings) for name in names]


def _one_model(opened: Sequence[OpenTask], model: str | None) -> str:
    names = {one.task.model: one.name for one in opened}
    if model is None and len(names) > 1:
        each = ", ".join(f"{task}: {name}" for name, task in names.items())
        raise InputError(f"the tasks name several models ({each}); choose one by --model")
    return model or next(iter(names))


def _check_places(target: Path, run: Path, resume: bool, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise InputError(
            f"{target}: there is an adapter of this name; choose another, or say --overwrite"
        )
    if resume:
        if not (run / "run.json").is_file():
            raise InputError(f"{run}: no unfinished run of this name; leave --resume out")
    elif run.exists() and _is_first():
        if (run / "run.json").is_file() and not overwrite:
            raise InputError(
                f"{run}: an unfinished run of this name; --resume goes on with it, --overwrite "
                "starts over"
            )
        shutil.rmtree(run)


def _requests(opened: OpenTask, number: int, given: str | Path | None, run: Path, say: Say) -> Path:
    """The task's request file; what is built stays with the run, for resuming to read again."""
    if given is not None:
        if not Path(given).is_file():
            raise DataError(f"no request file {given}; `promptrank build` writes one")
        return Path(given)
    path = run / f"requests-{number}.parquet"
    if not path.is_file():
        say(f"{opened.name}: building requests")
        for note in build(opened, path, say=say).notes:
            say(note)
    return path


def _prepare(
    opened: Sequence[OpenTask], files: Sequence[Path], chosen: Settings, folder: Path, say: Say
) -> "list[Prepared]":
    from promptrank.api.prepare import prepare
    from promptrank.engine.limits import model_limits
    from promptrank.training.checks import check_answers

    check_answers({one.name: one.task for one in opened})
    longest = model_limits(folder).max_tokens
    found = []
    for number, (one, file) in enumerate(zip(opened, files, strict=True)):
        ready = prepare(one, file, chosen, number=number, model=folder, max_tokens=longest, say=say)
        tokens = sum(example.tokens for example in ready.examples)
        say(
            f"{one.name}: {ready.labels:,} labels in {len(ready.examples):,} examples of "
            f"{tokens / len(ready.examples):.0f} tokens, {tokens / ready.labels:.1f} a label; "
            f"{ready.requests['valid']} requests to validate on"
        )
        if ready.lost:
            say(f"{one.name}: {ready.lost:,} rows could not be used; `promptrank build` lists them")
        found.append(ready)
    return found


def _same_run(
    run: Path,
    prepared: "Sequence[Prepared]",
    chosen: Settings,
    folder: Path,
    start: Path | None,
    resume: bool,
) -> None:
    """Write down what makes this run what it is; a resumed run must be the same one."""
    from promptrank.adapters.base import weights_digest

    tasks = {
        one.opened.name: {
            "task": task_config(one.opened.task),
            "prompt": one.encoder.fingerprint,
            "data": one.data,
        }
        for one in prepared
    }
    facts = {
        "settings": asdict(chosen),
        "tasks": tasks,
        "base": weights_digest(folder),
        "init": adapter_digest(start),
    }
    path = run / "run.json"
    if not path.is_file():
        write_json(path, {name: digest(value) for name, value in facts.items()})
        return
    import json

    known = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in facts.items() if known.get(name) != digest(value)]
    if other and resume:
        raise InputError(
            f"{run}: the run to resume had other {' and '.join(other)}; repeat its command, or "
            "start over with --overwrite"
        )


def _fit(
    prepared: "Sequence[Prepared]",
    chosen: Settings,
    folder: Path,
    name: str,
    start: Path | None,
    run: Path,
    resume: bool,
    say: Say,
    progress: Progress,
) -> "Fitted":
    from promptrank.training.fit import fit

    slices = [one.slice for one in prepared if one.slice is not None]
    if chosen.valid and len(slices) < len(prepared):
        without = [one.opened.name for one in prepared if one.slice is None]
        say(f"{', '.join(without)}: no part valid in its split, so nothing to validate on")
    return fit(
        [one.examples for one in prepared],
        slices,
        chosen,
        model=folder,
        name=name,
        init=start,
        run=run,
        out=run / "adapter",
        resume=resume,
        say=say,
        progress=progress,
    )


def _finish(
    target: Path,
    run: Path,
    prepared: "Sequence[Prepared]",
    chosen: Settings,
    fitted: "Fitted",
    base: "Base",
    start: Path | None,
) -> None:
    """Put the card beside the weights and the folder in its place; the run is done."""
    from promptrank.adapters.card import Base, Card, write_card

    init = Base(start.name, adapter_digest(start) or "") if start is not None else None
    facts: dict[str, Any] = {**asdict(chosen), "steps": fitted.steps, "best": fitted.best}
    card = Card(
        base,
        {one.opened.name: _task_card(one, fitted) for one in prepared},
        versions(),
        tuple(["promptrank", *sys.argv[1:]]),
        datetime.now(UTC).isoformat(timespec="seconds"),
        facts,
        init,
    )
    made = run / "adapter"
    write_card(made, card)
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        target.replace(old)
    made.replace(target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(run)


def _task_card(one: "Prepared", fitted: "Fitted") -> "TaskCard":
    from promptrank.adapters.card import task_card

    return task_card(
        one.opened.task,
        one.encoder.template.sources,
        data=one.data,
        requests={**one.requests, "labels": one.labels},
        before=fitted.before.get(one.opened.name, {}),
        after=fitted.after.get(one.opened.name, {}),
    )


def _base(name: str, folder: Path) -> "Base":
    from promptrank.adapters.base import weights_digest
    from promptrank.adapters.card import Base

    return Base(name, weights_digest(folder))


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _first_process() -> AbstractContextManager[Any]:
    """Of several processes (accelerate launch) the first goes first; the others find its files."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return nullcontext()
    from accelerate import PartialState

    context: AbstractContextManager[Any] = PartialState().main_process_first()
    return context
