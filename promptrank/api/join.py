"""``join``: a server's log and what came of it, as one request file and its scores."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import ErrorRow, InputError
from promptrank.runs.log_files import log_files
from promptrank.runs.outputs import check_output, taken
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.tables.log_outcomes import LogOutcomes


@dataclass(frozen=True, slots=True)
class Joined:
    """What `join` wrote.

    Attributes:
        path: the request file.
        scores: ``served``, or the name of a shadow -> its scores file.
        requests, candidates: in it.
        labelled: candidates with a label.
        parts: ``train``, ``valid``, ``test``, or ``none`` -> requests.
        outcomes, matched: rows of the outcomes, and those whose candidate is in the log.
        early: outcomes from before their answer, which were left out.
        unknown: labels that no answer has -> how many outcomes have it.
        only: the one answer that all labels have, where nothing else was to have one (`none`).
        unread: rows of the log that could not be used.
    """

    path: Path
    scores: dict[str, Path]
    requests: int
    candidates: int
    labelled: int
    parts: dict[str, int]
    outcomes: int
    matched: int
    early: int
    unknown: dict[str, int]
    only: str | None
    unread: int


def join(
    folder: str | Path,
    task: str | OpenTask,
    out: str | Path,
    *,
    outcomes: str | Path | None = None,
    within: str | float | None = None,
    none: str | None = None,
    valid: float | None = None,
    test: float | None = None,
    shadow: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    say: Say = silent,
) -> Joined:
    """Write what a log has of a task as one request file, ready to evaluate and to train on.

    Beside it: ``<stem>.served.scores.parquet``, and the same of every shadow.

    Args:
        folder: of ``serve --log``.
        out: ``.jsonl``, or ``.parquet`` where one table holds all that was sent.
        outcomes: a file (parquet, CSV, JSONL) with ``request_id``, ``candidate_id``, ``label`` (as
            the task's answers have it), and, perhaps, ``time`` (unix seconds or timestamps).
        within: seconds, or ``7d``: how long after the answer an outcome counts; the task's own
            ``outcomes.within`` where left out.
        none: label of a candidate that was shown and of which no outcome is known; the task's own
            ``outcomes.none`` where left out.
        valid, test: shares of the requests, the latest in ``test``; the others train.
        shadow: only the requests that this shadow scored too, for a comparison with it.

    Raises:
        InputError: whatever in the input cannot be joined.
    """
    from promptrank.schema.strict import seconds
    from promptrank.tables.log_outcomes import read_log_outcomes
    from promptrank.workspace.log_join import (
        joined_requests,
        parts_at,
        scored_by,
        served_times,
        write_joined,
        write_joined_scores,
    )

    path = check_output(out, (".jsonl", ".parquet"), [outcomes])
    opened = open_task(task, project=project, settings=settings)
    files = log_files(expanded(folder), opened.name)
    own = opened.task.outcomes
    window = within if within is not None else own.within if own is not None else None
    if isinstance(window, str):
        try:
            window = float(seconds(window))
        except ValueError as error:
            raise InputError(f"--within {window}: {error}") from None
    none = none if none is not None else own.none if own is not None else None
    ids = scored_by(opened, files, shadow) if shadow is not None else None
    times = served_times(opened, files, ids)
    known = None
    if outcomes is not None:
        end = max(times.values())
        place = expanded(outcomes)
        known = read_log_outcomes(place, opened.task, within=window, none=none, end=end)
    parts = None
    if valid is not None or test is not None:
        parts = parts_at(times, valid or 0.0, test or 0.0, window or 0.0)
    errors: list[ErrorRow] = []
    beside = {name: path.with_name(f"{path.stem}.{name}.scores.parquet") for name in files.scores}
    with ExitStack() as stack:
        for each in (path, *beside.values()):
            stack.enter_context(taken(each, "join"))
        counts = write_joined(path, joined_requests(opened, files, known, parts, errors, ids))
        for name, scores in beside.items():
            write_joined_scores(opened, files, name, scores)
    return Joined(
        path,
        beside,
        counts["requests"],
        counts["candidates"],
        counts["labelled"],
        _parts(counts),
        len(known) if known is not None else 0,
        known.matched if known is not None else 0,
        known.early if known is not None else 0,
        dict(known.unknown) if known is not None else {},
        _only(known) if known is not None and none is None else None,
        len(errors),
    )


def _only(known: "LogOutcomes") -> str | None:
    answers = set().union(*known.answers.values())
    return answers.pop() if len(answers) == 1 else None


def _parts(counts: Counter[str]) -> dict[str, int]:
    given = {name.removeprefix("part "): n for name, n in counts.items() if name[:5] == "part "}
    return dict(sorted(given.items()))
