"""``train``: labelled requests to an adapter, resumable."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.adapters.shelf import adapter_config, check_base, check_name, find_adapter
from promptrank.api.build import build
from promptrank.api.rank import Progress, no_progress
from promptrank.api.run import Run, check_places, finish, open_run
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.api.tasks import ls as all_tasks
from promptrank.errors import DataError, InputError, ModelError
from promptrank.project import open_project
from promptrank.training import processes
from promptrank.training.settings import Settings

if TYPE_CHECKING:
    from promptrank.api.prepare import Prepared
    from promptrank.training.trainer import AdapterTrainer


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
        every_task: all tasks of the project's own ``tasks/``, in place of ``tasks``.
        init: an adapter to start from: name, alias or folder; its rank and scale are kept.
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
    processes.join(chosen.trainer.get("ddp_timeout"))
    if not processes.is_first():
        say, progress = silent, no_progress
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with processes.in_turn():
        chosen.check_trainer()
        root = open_project(project).root
        target = root / "adapters" / check_name(adapter)
        opened = _open(tasks, every_task, root, settings)
        _check_questions(opened, chosen)
        if requests is not None and len(opened) > 1:
            raise InputError("--requests: holds the requests of one task; train it alone")
        name = _one_model(opened, model)
        folder = check_places(target, resume, overwrite)
        start = find_adapter(init, root).folder if init is not None else None
        if start is not None:
            chosen = _as_started(chosen, start)
        base = resolve_model(name, say=say)
        if start is not None:
            check_base(start, name, base)
        try:
            if not resume and processes.is_first():
                shutil.rmtree(folder, ignore_errors=True)  # an unfinished run, to be overwritten
            folder.mkdir(parents=True, exist_ok=True)
            files = [_requests(one, n, requests, folder, say) for n, one in enumerate(opened)]
            prepared = _prepare(opened, files, chosen, base, say)
        except InputError:
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        run = open_run(Run(target, folder, name, base, start, tuple(prepared)), chosen, resume)
    # Only now, since it imports torch: most of what can be refused has been.
    from promptrank.training.fit import fit

    trainer = _set_up(run, chosen, root / "runs" / adapter, resume, say, progress)
    fitted = fit(trainer, chosen, run=folder, out=run.made, resume=resume, say=say)
    with processes.together():
        if processes.is_first():
            finish(run, chosen, fitted)
    labels = {one.opened.name: one.labels for one in prepared}
    return Trained(target, labels, fitted.before, fitted.after, fitted.steps, fitted.best)


def _open(
    tasks: Sequence[str], every_task: bool, root: Path, settings: Sequence[str]
) -> list[OpenTask]:
    if every_task == bool(tasks):
        raise InputError("name the tasks to train on, or say --all")
    names = list(dict.fromkeys(tasks))
    if every_task:
        names = [task.name for task in all_tasks(root) if task.root == root]
        if not names:
            raise InputError(f"--all: {root / 'tasks'} holds no task; name tasks, or write one")
    return [open_task(name, project=root, settings=settings) for name in names]


def _check_questions(opened: Sequence[OpenTask], chosen: Settings) -> None:
    known = dict.fromkeys(name for one in opened for name in one.task.questions)
    for name in chosen.questions:
        if name not in known:
            raise InputError(f"question: no {name!r} in these tasks; questions: {', '.join(known)}")


def _as_started(chosen: Settings, start: Path) -> Settings:
    """Rank and scale are the adapter's own."""
    config = adapter_config(start)
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{start}: no LoRA adapter, its config lacks r or lora_alpha") from None
    if chosen.lora or chosen.alpha not in (None, alpha) or chosen.rank not in (rank, Settings.RANK):
        raise InputError(
            f"init: {start.name} has rank {rank}, alpha {alpha:g} and options of its own, and they "
            "are kept; leave --rank, --alpha and --lora out"
        )
    return replace(chosen, rank=rank, alpha=alpha)


def _one_model(opened: Sequence[OpenTask], model: str | None) -> str:
    names = {one.task.model: one.name for one in opened}
    if model is None and len(names) > 1:
        each = ", ".join(f"{task}: {name}" for name, task in names.items())
        raise InputError(f"the tasks name several models ({each}); choose one by --model")
    return model or next(iter(names))


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
    from promptrank.training.example_checks import check_answers

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


def _set_up(
    run: Run, chosen: Settings, logs: Path, resume: bool, say: Say, progress: Progress
) -> "AdapterTrainer":
    from promptrank.training.fit import set_up

    slices = [one.slice for one in run.tasks if one.slice is not None]
    if chosen.valid and len(slices) < len(run.tasks):
        without = [one.opened.name for one in run.tasks if one.slice is None]
        say(f"{', '.join(without)}: no part valid in its split, so nothing to validate on")
    try:
        return set_up(
            [one.examples for one in run.tasks],
            slices,
            chosen,
            model=run.model,
            name=run.name,
            init=run.start,
            run=run.folder,
            logs=logs / run.began,
            say=say,
            progress=progress,
        )
    except InputError:
        if not resume and processes.is_first():
            shutil.rmtree(run.folder)
        raise
