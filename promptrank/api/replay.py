"""``replay``: the requests of a server's log, ranked again and held against what was served."""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.files import write_json
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import ErrorRow
from promptrank.ranking.ranker import Ranker
from promptrank.runs.log_files import SERVED, WITHOUT_POLICY, LogFiles, log_files, log_tasks
from promptrank.runs.outputs import check_output, taken
from promptrank.runs.replaying import Answer, Differences, origin_changes
from promptrank.runtime.runtime import Runtime
from promptrank.scores.origin import Origin
from promptrank.workspace.rankers import STUDENT, open_ranker
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.records import Request

TOLERANCE = 1e-4
"""Between scores of one engine in float32, whose batches differ."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one task's requests.

    Attributes:
        differences: between the scores and orders that were served and those of now.
        changes: what of the things that make a score is another than it was.
        unread: rows of the log that could not be used.
    """

    task: str
    differences: Differences
    changes: tuple[str, ...]
    unread: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        given = {"task": self.task, "changes": list(self.changes), "unread": self.unread}
        return given | self.differences.as_dict()


def replay(
    folder: str | Path,
    task: str | OpenTask | None = None,
    *,
    adapter: str | Path | None = None,
    engine: str | None = None,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    limit: int | None = None,
    tolerance: float = TOLERANCE,
    out: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> list[Replayed]:
    """Rank the requests of a log again with today's task, by the path that served them.

    Args:
        folder: of ``serve --log``.
        task: one that is in it; all of them where left out.
        adapter: for all requests; where left out, each request has the one that served it, from
            the folder that it had.
        engine: for all requests, or ``student:NAME``; that which served each where left out.
        model: the task's own where left out.
        limit: at most this many requests of each task, the same ones each time.
        tolerance: scores that are closer are the same.
        out: where to write the result as JSON.

    Raises:
        InputError: whatever in the input keeps it from ranking.
    """
    from promptrank.workspace.log_reading import task_of

    path = check_output(out, (".json",)) if out is not None else None
    place = expanded(folder)
    name = task.name if isinstance(task, OpenTask) else task
    replayed = []
    with taken(path, "replay"), Runtime() as runtime:
        for each in task_of(place, name, log_tasks(place)):
            wanted = task if isinstance(task, OpenTask) else each
            opened = open_task(wanted, project=project, settings=settings)

            def open_as(origin: Origin, opened: OpenTask = opened) -> Ranker:
                by = engine or _engine_of(origin)
                student = by.startswith(STUDENT)
                return open_ranker(
                    opened,
                    engine=by,
                    model=None if student else model,
                    adapter=None if student else adapter or origin.adapter,
                    threads=threads,
                    device=device,
                    dtype=dtype,
                    # What a changed template does to scores is what one wants to see here.
                    allow_changed=True,
                    runtime=runtime,
                    say=say,
                )

            files = log_files(place, opened.name)
            replayed.append(_replayed(opened, files, open_as, limit, tolerance, progress))
        if path is not None:
            write_json(path, {"replayed": [each.as_dict() for each in replayed]})
    return replayed


def _replayed(
    opened: OpenTask,
    files: LogFiles,
    open_as: Any,
    limit: int | None,
    tolerance: float,
    progress: Progress,
) -> Replayed:
    from promptrank.workspace.log_reading import logged_requests, logged_scores

    served = logged_scores(opened, files, SERVED)
    answers = [_answers(each.table) for each in served]
    names = {name for mine in answers for name in mine}
    if limit is not None:
        names = set(nsmallest(limit, names, key=_order))
    differences, changes = Differences(tolerance), dict[str, None]()
    errors: set[ErrorRow] = set()
    for logged, mine in zip(served, answers, strict=True):
        chosen = names & mine.keys()
        if not chosen:
            continue
        with open_as(logged.origin) as ranker:
            changes |= dict.fromkeys(origin_changes(logged.origin, ranker.origin))
            for policy in (True, False):
                requests: Iterator[Request] = (
                    request
                    for request in logged_requests(opened, files, errors.add)
                    if request.request_id in chosen
                    and policy != bool(request.meta.get(WITHOUT_POLICY))
                )
                for ranking in ranker.rank_many(requests, policy=policy):
                    differences.add(mine[ranking.request_id], ranking)
                    progress(differences.requests, len(names))
    return Replayed(opened.name, differences, tuple(changes), len(errors))


def _answers(table: Any) -> dict[str, Answer]:
    answers: dict[str, dict[str, tuple[int | None, float]]] = {}
    columns = ("request_id", "candidate_id", "rank", "score")
    for request, candidate, rank, score in zip(
        *(table.column(name).to_pylist() for name in columns), strict=True
    ):
        answers.setdefault(request, {})[candidate] = (rank, score)
    return dict(answers)


def _engine_of(origin: Origin) -> str:
    if origin.ranker.startswith(STUDENT):
        return origin.ranker
    return str((origin.engine or {}).get("name", "packed"))


def _order(name: str) -> bytes:
    from hashlib import md5

    return md5(name.encode(), usedforsecurity=False).digest()
