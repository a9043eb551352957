"""``train``: labelled requests to an adapter, resumable."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.adapters.shelf import check_base, check_name, find_adapter
from promptrank.basics.owner import owned
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.compute import Compute
from promptrank.errors import InputError
from promptrank.project import open_project
from promptrank.runs.manifest import manifest
from promptrank.runs.outputs import check_output, taken
from promptrank.training import processes
from promptrank.training.run_folder import Run, check_places, finish, open_run, start_over
from promptrank.training.settings import Settings
from promptrank.workspace.training_parts import (
    as_started,
    check_questions,
    common_model,
    open_tasks,
    prepare_tasks,
    requests_of,
    set_up_trainer,
)

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report


@dataclass(frozen=True, slots=True)
class Trained:
    """What `train` wrote.

    Attributes:
        path: the adapter's folder.
        labels: task -> labels that it trained on, each once an epoch.
        before, after: task -> validation metrics before the first step and of the adapter.
        steps: optimizer steps taken; ``best`` the one whose weights were kept, unless the mean of
            those after the steps ``averaged`` was better.
        reports: task -> how the adapter does on validation; empty unless asked for.
    """

    path: Path
    labels: dict[str, int]
    before: Mapping[str, Mapping[str, float]]
    after: Mapping[str, Mapping[str, float]]
    steps: int
    best: int
    averaged: tuple[int, ...]
    reports: Mapping[str, "Report"]


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
    device: str = "auto",
    report: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
    encoding: Progress = no_progress,
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
        device: ``cpu``, ``cuda``, ``mps``, or ``auto``: cuda if there, else mps, else cpu. On cuda
            the base is in bfloat16 and the adapter in float32.
        overwrite: replace an adapter, or an unfinished run, of this name.
        report: where to write, as JSON, how the adapter does on validation, with intervals; for a
            single task.
        progress: is told the steps that are done.
        encoding: is told the requests that are encoded; where their examples are there from an
            earlier run, nothing.

    Raises:
        InputError: whatever in the input keeps the run from starting, or ends it.
    """
    from promptrank.assets import resolve_model

    chosen = training if training is not None else Settings()
    Compute(threads, device)  # a name that nobody knows is told before anybody waits
    processes.join(chosen.trainer.get("ddp_timeout"), device)
    if not processes.is_first():
        say, progress, encoding = silent, no_progress, no_progress
    from promptrank.engine.torch_threads import set_threads

    set_threads(threads)
    kind = processes.training_device(device).type
    with ExitStack() as held:
        with processes.in_turn():
            chosen.check_trainer()
            root = open_project(project).root
            target = root / "adapters" / check_name(adapter)
            opened = open_tasks(tasks, every_task, root, settings)
            check_questions(opened, chosen)
            if requests is not None and len(opened) > 1:
                raise InputError("--requests: holds the requests of one task; train it alone")
            if processes.is_first():
                held.enter_context(owned(target, "train"))
            if report is not None:
                if len(opened) > 1:
                    raise InputError("--report: is of one task; train it alone")
                check_output(report, (".json",), [requests])
                held.enter_context(taken(report if processes.is_first() else None, "train"))
            name = common_model(opened, model)
            folder, begun = check_places(target, resume, overwrite)
            if resume and not begun:
                say("there is no beginning to go on with: starting over")
            resume = begun
            start = find_adapter(init, root).folder if init is not None else None
            if start is not None:
                chosen = as_started(chosen, start)
            base = resolve_model(name, say=say)
            chosen = _for_vocabulary(chosen, base, say)
            if start is not None:
                check_base(start, name, base)
            try:
                if not resume and processes.is_first():
                    start_over(folder, target)
                files = [requests_of(o, n, requests, folder, say) for n, o in enumerate(opened)]
                prepared = prepare_tasks(
                    opened,
                    files,
                    chosen,
                    base,
                    run=folder,
                    threads=threads,
                    say=say,
                    progress=encoding,
                )
            except InputError:
                if not resume:
                    shutil.rmtree(folder, ignore_errors=True)
                raise
            run = Run(target, folder, name, base, start, tuple(prepared), kind)
            run = open_run(run, chosen, resume)
        # Only now, since it imports torch: most of what can be refused has been.
        from promptrank.training.fit import fit

        trainer = set_up_trainer(
            run, chosen, device, root / "runs" / adapter, resume, say, progress
        )
        measured = report is not None
        fitted = fit(
            trainer, chosen, run=folder, out=run.made, resume=resume, report=measured, say=say
        )
        with processes.together():
            if processes.is_first():
                finish(run, chosen, fitted)
        reports = {
            part.name: replace(
                fitted.reports[part.name], provenance=manifest("train", part.task, part.name)
            )
            for part in prepared
            if part.name in fitted.reports
        }
        if report is not None and processes.is_first():
            _write_report(reports, Path(report), say)
        labels = {part.name: part.labels for part in prepared}
        return Trained(
            target,
            labels,
            fitted.before,
            fitted.after,
            fitted.steps,
            fitted.best,
            fitted.averaged,
            reports,
        )


def _for_vocabulary(chosen: Settings, base: Path, say: Say) -> Settings:
    """Settings with the prompt's loss decided, which a large vocabulary makes dear."""
    from promptrank.engine.limits import model_limits

    words = model_limits(base).vocab
    decided = chosen.for_vocabulary(words)
    if decided.prompt_rows and chosen.prompt_rows is None:
        say(
            f"the prompt's own loss is estimated from {decided.prompt_rows} tokens of each forward "
            f"pass, as the model knows {words:,} words; --prompt-rows 0 takes all"
        )
    return decided


def _write_report(reports: Mapping[str, "Report"], path: Path, say: Say) -> None:
    from promptrank.evaluation.report import write_report

    for measured in reports.values():
        write_report(measured, path)
    if not reports:
        say(f"{path} is not written: there was nothing to validate on")
