"""``compare_students``: teacher, students and baselines in one report, with what each costs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.caching.cached_engine import CachedEngine
from promptrank.engine.compute import Compute
from promptrank.engine.contract import Engine
from promptrank.errors import InputError
from promptrank.records import Request
from promptrank.runs.outputs import check_output, taken
from promptrank.workspace.kept_scores import score_cache, teachers_cache
from promptrank.workspace.named import parse_named
from promptrank.workspace.policies import without_steps
from promptrank.workspace.rankers import open_named, open_ranker
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.evaluation.report_rows import Cost
    from promptrank.scores.scores import Scores
    from promptrank.workspace.measuring import MeasuredOn

_RUNS = 40


def compare_students(
    task: str | OpenTask,
    *,
    teacher: str,
    students: Sequence[str],
    without: Mapping[str, str] | None = None,
    requests: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    metrics: Sequence[str] | None = None,
    draws: int = 1000,
    engine: str = "packed",
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    out: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> "Report":
    """Compare on one part of a task's requests; all run on one core.

    The report has a pair for each student's gain by its teacher, and for each ranker its cost and,
    for students, the share of the teacher's lift that it keeps.

    Args:
        teacher: ``base``, ``adapter:NAME`` (through the project's score cache) or ``scores:FILE``.
        students: names in ``students/``, or folders.
        without: student -> the one that was trained without the teacher; where left out, a student
            among ``students`` of the same kind, loss ``labels`` and as many labels, and of the same
            seed where there is one.
        split: ``test`` where the task declares a split and this is left out.
        limit: at most this many requests, sampled; baselines learn from all of ``train``.
        metrics: the first decides the share of lift kept; ``ndcg@10`` and the task's where left
            out.
        out: where to write the report as JSON.
    """
    from promptrank.evaluation.report import write_report
    from promptrank.students.card import check_task, find_student
    from promptrank.students.comparison import TEACHER, pairs_of, with_students
    from promptrank.students.latency import wide_requests
    from promptrank.workspace.measuring import measured_on

    if out is not None:
        check_output(out, (".json",), [requests])
    opened = without_steps(open_task(task, project=project, settings=settings))
    folders = {name: find_student(name, opened.project) for name in students}
    for student in folders.values():
        check_task(student, opened.task, opened.name)
    pairs = dict(without) if without is not None else pairs_of(folders, say)
    for name in (*pairs, *pairs.values()):
        if name not in folders:
            raise InputError(f"student {name} is not among those compared; name it too")
    with (
        taken(out, "students compare"),
        measured_on(opened, requests, split, limit, say) as on,
    ):
        for name in folders:
            if name in (TEACHER, *on.baselines):
                raise InputError(f"student {name}: that is another line of the table; rename it")
        wide = wide_requests(on.sample)
        scores: dict[str, Scores] = {}
        costs: dict[str, Cost] = {}
        scores[TEACHER], costs[TEACHER] = _teacher(on, teacher, engine, model, wide, say, progress)
        for name, student in folders.items():
            with open_ranker(opened, engine=f"student:{name}", threads=1, device="cpu") as ranker:
                costs[name] = _cost(ranker.rank, wide, student.size)
                say(f"ranking with {student.card.name}")
                scores[name], _ = on.scores(ranker, None, say, progress)
        for name, baseline in on.baselines.items():
            if baseline.rank is not None:
                costs[name] = _cost(baseline.rank, wide, None)
        names = list(metrics or dict.fromkeys(["ndcg@10", *opened.task.metrics]))
        report = on.report(
            "students compare",
            scores,
            reference=TEACHER,
            metrics=names,
            draws=draws,
            pairs=list(pairs.items()),
            say=say,
        )
        report = with_students(report, list(folders), costs)
        if out is not None:
            write_report(report, Path(out))
    return report


def _teacher(
    on: "MeasuredOn",
    teacher: str,
    engine: str,
    model: str | None,
    wide: list[Request],
    say: Say,
    progress: Progress,
) -> tuple["Scores", "Cost"]:
    """The teacher's scores; its time and size where it is a decoder at hand."""
    from promptrank.evaluation.report_rows import Cost

    who = parse_named(teacher, ("adapter", "base", "scores"))
    if who.kind == "scores":
        return open_scores(on.opened, who.name, say), Cost()
    compute = Compute(1, "cpu" if engine in ("packed", "plain") else "auto")
    with (
        score_cache(on.opened.project, teachers_cache(engine, True, say), say) as kept,
        open_named(on.opened, who, engine=engine, model=model, compute=compute, say=say) as ranker,
    ):
        size = _model_size(on.opened, model, ranker.adapter)
        cost = _cost(ranker.rank, wide[:1], size, runs=2)
        if kept is not None:  # only now, since a look-up says nothing of what it costs
            inner = cast(Engine, ranker.opened.engine)
            ranker.put_before(CachedEngine(inner, kept, say=say))
        say("ranking with the teacher")
        scores, _ = on.scores(ranker, None, say, progress)
        return scores, cost


def _cost(
    run: Callable[[Request], Any], wide: list[Request], size: int | None, runs: int = _RUNS
) -> "Cost":
    """Median time of requests with 100 candidates, per candidate."""
    from promptrank.evaluation.report_rows import Cost
    from promptrank.students.latency import CANDIDATES, times_of

    if not wide:
        return Cost(None, size)
    return Cost(1e6 * median(times_of(run, wide, runs)) / CANDIDATES, size)


def _model_size(opened: OpenTask, model: str | None, adapter: str | None) -> int:
    """Bytes of the decoder's weights and its adapter's."""
    from promptrank.assets import resolve_model

    folders = [resolve_model(model or opened.task.model)]
    if adapter is not None:
        folders.append(Path(adapter))
    return sum(p.stat().st_size for f in folders for p in f.rglob("*.safetensors"))
