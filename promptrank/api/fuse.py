"""``fuse``: fit the layer over the decoder's log-odds and a task's declared numbers."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.fusion.fusion_files import write_fusion
from promptrank.requests.source import Sample
from promptrank.runs.outputs import check_output, taken
from promptrank.runs.scored_file import score_into
from promptrank.scores.read import config_of
from promptrank.workspace.fusing import PART, Fused, check_fusable, fit_task_fusion
from promptrank.workspace.fusions import new_place, unfused
from promptrank.workspace.policies import without_steps
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import check_given, request_file
from promptrank.workspace.tasks import OpenTask, open_task


def fuse(
    task: str | OpenTask,
    *,
    requests: str | Path | None = None,
    limit: int | None = None,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    out: str | Path | None = None,
    report: str | Path | None = None,
    allow_changed: bool = False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Fused:
    """Score the validation part with the decoder and fit a task's fusion on it.

    The file holds two layers fitted on the same rows, with the decoder and without it. A run that
    was stopped goes on where it was.

    Args:
        requests: a request file; the task's own tables where left out. Its ``valid`` part is used.
        limit: at most this many requests, sampled by a hash of their ids.
        out: the file to write; beside the adapter, or in the project's ``fusions/``, if left out.
        report: where to write, as JSON, how decoder and fusion do on the rows of the fit.

    Raises:
        InputError: the task declares no fusion or no validation part, or nothing can be fitted.
    """
    from promptrank.evaluation.report import write_report

    opened = without_steps(open_task(task, project=project, settings=settings))
    check_fusable(opened, engine)
    if report is not None:
        check_output(report, (".json",), [requests])
    if requests is not None:
        check_given(requests)
    own = unfused(opened)
    given: dict[str, Any] = {"engine": engine, "model": model, "adapter": adapter}
    given |= {"threads": threads, "device": device, "dtype": dtype}
    given |= {"allow_changed": allow_changed, "say": say}
    with ExitStack() as stack:
        stack.enter_context(taken(report, "fuse"))
        ranker = stack.enter_context(open_ranker(own, **given))
        path = check_output(out or new_place(opened, ranker.adapter), (".json",), [requests])
        scores = path.with_suffix(".scores.parquet")
        stack.enter_context(taken(path, "fuse"))
        stack.enter_context(taken(scores, "fuse"))
        with request_file(own, requests, splits={PART}, say=say) as file:
            sample = Sample(file, {PART}, limit)
            sample.hold()
            facts = {"items": file.items_stamp(), "splits": [PART], "limit": limit}
            ranked = score_into(scores, ranker, sample, facts, say, progress)
            if ranked.errors:
                say(f"{counted(ranked.errors, 'row')} set aside: {ranked.errors_path}")
            fused = fit_task_fusion(opened, ranker, engine, model, sample, scores, say)
        write_fusion(path, fused.fusion)
        # The scores were kept only so that a stopped run could go on.
        for name in (scores, config_of(scores)):
            name.unlink(missing_ok=True)
        if not ranked.errors:
            ranked.errors_path.unlink(missing_ok=True)
        if report is not None:
            write_report(fused.report, Path(report))
    return replace(fused, path=path)
