"""The parts of a training run: tasks opened and prepared, the base, the trainer."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.adapters.shelf import adapter_config
from promptrank.assets.wheels import cache_root
from promptrank.basics.telling import Progress, Say, no_progress
from promptrank.errors import InputError, ModelError
from promptrank.project import open_project
from promptrank.requests.source import RequestFile
from promptrank.training import processes
from promptrank.training.run_folder import Run
from promptrank.training.settings import Settings
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.policies import without_steps
from promptrank.workspace.request_files import build_file, given_file
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.schema.task import Task
    from promptrank.training.prepared import Prepared
    from promptrank.training.trainer import AdapterTrainer


def open_tasks(
    tasks: Sequence[str], every_task: bool, root: Path, settings: Sequence[str]
) -> list[OpenTask]:
    """The tasks of a run: those named, or all of the project's own.

    Raises:
        InputError: none, or both.
    """
    if every_task == bool(tasks):
        raise InputError("name the tasks to train on, or say --all")
    names = list(dict.fromkeys(tasks))
    if every_task:
        names = [task.name for task in open_project(root).tasks() if task.root == root]
        if not names:
            raise InputError(f"--all: {root / 'tasks'} holds no task; name tasks, or write one")
    return [without_steps(open_task(name, project=root, settings=settings)) for name in names]


def check_questions(opened: Sequence[OpenTask], chosen: Settings) -> None:
    """InputError for a weight of a question that no task asks."""
    known = dict.fromkeys(name for each in opened for name in each.task.questions)
    for name in chosen.questions:
        if name not in known:
            raise InputError(f"question: no {name!r} in these tasks; questions: {', '.join(known)}")


def as_started(chosen: Settings, start: Path) -> Settings:
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


def common_model(opened: Sequence[OpenTask], model: str | None) -> str:
    """The base of all tasks; InputError where they name several."""
    names = {each.task.model: each.name for each in opened}
    if model is None and len(names) > 1:
        each = ", ".join(f"{task}: {name}" for name, task in names.items())
        raise InputError(f"the tasks name several models ({each}); choose one by --model")
    return model or next(iter(names))


def requests_of(
    opened: OpenTask, number: int, given: str | Path | None, run: Path, say: Say
) -> RequestFile:
    """The task's request file; what is built stays with the run, for resuming to read again."""
    if given is not None:
        return given_file(opened, given, say)
    path = run / f"requests-{number}.parquet"
    if not path.is_file():
        say(f"{opened.name}: building requests")
        for note in build_file(opened, path, say=say).notes:
            say(note)
    return given_file(opened, path, say)


@dataclass(frozen=True, slots=True)
class EncoderOpener:
    """Opens a task's encoder, and those of its variants; other processes can be handed it."""

    task: OpenTask
    folder: Path
    longest: int

    def __call__(self, words: "Task") -> "Encoder":
        """The encoder of the task, or of a variant with other words."""
        return open_encoder(replace(self.task, task=words), self.folder, self.longest)


def example_folder(run: Path) -> Path:
    """Where examples are kept: in the cache; with the run where no cache can be written."""
    try:
        folder = cache_root() / "examples"
        folder.mkdir(parents=True, exist_ok=True)
    except (ModelError, OSError):
        return run / "examples"
    return folder if os.access(folder, os.W_OK) else run / "examples"


def prepare_tasks(
    opened: Sequence[OpenTask],
    files: Sequence[RequestFile],
    chosen: Settings,
    model: Path,
    *,
    run: Path,
    threads: int | None = None,
    say: Say,
    progress: Progress = no_progress,
) -> "list[Prepared]":
    """Each task's part of the run.

    Args:
        model: folder of the base.
        run: the run's folder.
        threads: processes that encode, at most; as many as there are cores where left out.
        progress: is told how many requests of a task are encoded.
    """
    from promptrank.engine.cores import cores
    from promptrank.engine.limits import model_limits
    from promptrank.training.example_checks import check_answers
    from promptrank.training.prepared import prepare

    check_answers({task.name: task.task for task in opened})
    longest = model_limits(model).max_tokens
    prepared = []
    for number, (task, file) in enumerate(zip(opened, files, strict=True)):
        part = prepare(
            task.name,
            task.task,
            file,
            chosen,
            EncoderOpener(task, model, longest),
            number=number,
            store=example_folder(run),
            workers=min(cores(), threads or cores()),
            say=say,
            progress=progress,
        )
        count, tokens = len(part.examples), part.facts.tokens
        say(
            f"{part.name}: {part.labels:,} labels in {count:,} examples of "
            f"{tokens / count:.0f} tokens, {tokens / part.labels:.1f} a label; "
            f"{part.requests['valid']} requests to validate on"
        )
        if part.lost:
            say(f"{part.name}: {part.lost:,} rows could not be used; `promptrank build` lists them")
        prepared.append(part)
    return prepared


def set_up_trainer(
    run: Run,
    chosen: Settings,
    device: str,
    logs: Path,
    resume: bool,
    say: Say,
    progress: Progress,
) -> "AdapterTrainer":
    """The trainer of a run; where it is refused, nothing of a fresh run is left."""
    from promptrank.training.fit import set_up

    slices = [part.slice for part in run.tasks if part.slice is not None]
    if chosen.valid and len(slices) < len(run.tasks):
        without = [part.name for part in run.tasks if part.slice is None]
        say(f"{', '.join(without)}: no part valid in its split, so nothing to validate on")
    try:
        return set_up(
            [part.examples for part in run.tasks],
            max(part.facts.longest for part in run.tasks),
            slices,
            chosen,
            model=run.model,
            name=run.name,
            init=run.start,
            device=device,
            run=run.folder,
            logs=logs / run.began,
            say=say,
            progress=progress,
        )
    except InputError:
        if not resume and processes.is_first():
            shutil.rmtree(run.folder)
        raise
