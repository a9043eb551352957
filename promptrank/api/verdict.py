"""``verdict``: teacher, students and baselines in one table, with what each costs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promptrank.api.evaluate import gain_of
from promptrank.api.latency import CANDIDATES, times_of, wide_requests
from promptrank.api.rank import Progress, no_progress, rank_file
from promptrank.api.ranker import Ranker, open_ranker
from promptrank.api.requests import RequestFile, read, request_file
from promptrank.api.scores import read_scores
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.api.teacher import open_answerer, parse_answerer, read_taught, with_store
from promptrank.errors import InputError
from promptrank.records import Request
from promptrank.schema.task import Task

if TYPE_CHECKING:
    from promptrank.evaluation.judged import Ranker as Scorer
    from promptrank.students.card import StudentFolder
    from promptrank.students.comparison import Cost, Verdict

_RUNS = 40


def verdict(
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
    say: Say = silent,
    progress: Progress = no_progress,
) -> "Verdict":
    """Compare on one part of a task's requests; all run on one core.

    Args:
        teacher: ``base``, ``adapter:NAME`` (through the teacher store) or ``scores:FILE``.
        students: names in ``students/``.
        without: student -> the one that was trained without the teacher; where left out, a student
            among ``students`` of the same kind, loss ``labels`` and as many labels, and of the same
            seed where there is one.
        split: ``test`` where the task declares a split and this is left out.
        limit: at most this many requests, sampled; baselines learn from all of ``train``.
        metrics: the first decides the share of lift kept; ``ndcg@10`` and the task's where left
            out.
    """
    from promptrank.evaluation.baselines import baselines
    from promptrank.evaluation.judged import judge
    from promptrank.requests.sampling import request_ids
    from promptrank.students.card import check_task, find_student
    from promptrank.students.comparison import TEACHER
    from promptrank.students.comparison import verdict as table

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    folders = {name: find_student(name, opened.project) for name in students}
    for found in folders.values():
        check_task(found, opened.task, opened.name)
    pairs = dict(without) if without is not None else _pairs(folders, say)
    for name in (*pairs, *pairs.values()):
        if name not in folders:
            raise InputError(f"student {name} is not among those compared; name it too")
    part = {split} if split else {"test"} if opened.task.split is not None else None
    gain, relevant_at = gain_of(opened.task)
    with ExitStack() as stack:
        file = stack.enter_context(request_file(opened, requests, splits=None, say=say))
        only = set(request_ids(file.path, part, limit))
        work = _Work(opened, file, part, limit, only, stack, say, progress)
        say("fitting baselines")
        rivals = baselines(read(opened, file.path, None, {}), gain_of=gain, relevant_at=relevant_at)
        for name in folders:
            if name in (TEACHER, *rivals):
                raise InputError(f"student {name}: that is another line of the table; rename it")
        rankers: dict[str, Scorer] = {}
        costs: dict[str, Cost] = {}
        rankers[TEACHER], costs[TEACHER] = work.teacher(teacher, engine, model)
        for name, found in folders.items():
            rankers[name], costs[name] = work.student(name, found)
        cheap = {n: b.ranker for n, b in rivals.items() if b.ranker is not None and n != "logged"}
        costs |= {name: _cost(score, work.wide, None) for name, score in cheap.items()}
        judged = judge(
            read(opened, file.path, part, {}, only),
            {**rankers, **cheap},
            gain_of=gain,
            relevant_at=relevant_at,
        )
    names = list(metrics or dict.fromkeys(["ndcg@10", *opened.task.metrics]))
    say(f"bootstrapping {draws:,} draws of {len(judged.subject_ids):,} subjects")
    return table(
        opened.name,
        judged,
        names,
        students=list(folders),
        without=pairs,
        costs=costs,
        draws=draws,
    )


def _pairs(folders: Mapping[str, "StudentFolder"], say: Say) -> dict[str, str]:
    """Each taught student with one of its kind that learned from as many labels and nothing else.

    One of the same seed is preferred. Between students of other labels there is no gain to state.
    """
    cards = {name: found.card for name, found in folders.items()}
    found = {}
    for name, card in cards.items():
        if card.teacher is None:
            continue
        plain = [n for n, c in cards.items() if (c.kind, c.loss) == (card.kind, "labels")]
        labels = card.data.get("labels")
        like = [n for n in plain if cards[n].data.get("labels") == labels]
        if like:
            found[name] = next((n for n in like if cards[n].seed == card.seed), like[0])
        elif plain:
            say(f"{name}: no gain, for {plain[0]} learned from other labels; distill one like it")
    return found


class _Work:
    """What every ranker of the table is scored and timed on."""

    def __init__(
        self,
        opened: OpenTask,
        file: RequestFile,
        part: set[str] | None,
        limit: int | None,
        only: set[str],
        stack: ExitStack,
        say: Say,
        progress: Progress,
    ) -> None:
        self.opened, self.file, self.part, self.limit = opened, file, part, limit
        self.stack, self.say, self.progress = stack, say, progress
        self.wide = wide_requests(read(opened, file.path, part, {}, only))
        self.written = 0
        self.folder = Path(stack.enter_context(TemporaryDirectory(prefix="promptrank-")))

    def teacher(self, text: str, engine: str, model: str | None) -> tuple["Scorer", "Cost"]:
        """The teacher's scores; its time and size where it is a decoder at hand."""
        from promptrank.students.comparison import Cost

        who = parse_answerer(text, ("adapter", "base", "scores"))
        if who.kind == "scores":
            path = Path(who.name)
            read_taught(self.opened, path, self.say)  # checks its prompts
            return _lookup(path, self.opened.task), Cost()
        with open_answerer(
            self.opened, who, engine=engine, model=model, threads=1, say=self.say
        ) as ranker:
            size = _model_size(self.opened, model, ranker.adapter)
            cost = _cost(ranker.rank, self.wide[:1], size, runs=2)
            with_store(ranker)
            return self._scores(ranker, "teacher"), cost

    def student(self, name: str, found: "StudentFolder") -> tuple["Scorer", "Cost"]:
        """A student's scores, time and size."""
        with open_ranker(self.opened, engine=f"student:{name}", threads=1) as ranker:
            cost = _cost(ranker.rank, self.wide, found.size)
            return self._scores(ranker, found.card.name), cost

    def _scores(self, ranker: Ranker, name: str) -> "Scorer":
        # Students from different folders may have the same name.
        self.written += 1
        path = self.folder / f"{self.written}-{name}.parquet"
        self.say(f"ranking with {name}")
        rank_file(ranker, self.file, path, self.part, self.limit, self.say, self.progress)
        return _lookup(path, self.opened.task)


def _lookup(path: Path, task: Task) -> "Scorer":
    from promptrank.evaluation.judged import lookup

    scores, chances, _ = read_scores(path, task)
    return lookup(scores, chances)


def _cost(
    run: Callable[[Request], Any], wide: list[Request], size: int | None, runs: int = _RUNS
) -> "Cost":
    """Median time of requests with 100 candidates, per candidate."""
    from statistics import median

    from promptrank.students.comparison import Cost

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
