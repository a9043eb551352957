"""Scoring requests with a ranker into memory, and what was set aside on the way to a file."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from promptrank.basics.digests import file_digest
from promptrank.basics.json_files import json_object
from promptrank.basics.seals import written_digest
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError
from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.source import Sample
from promptrank.runs.amount import announced
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import Origin
from promptrank.scores.read import config_of
from promptrank.scores.scores import Scores

_AGAIN = "write it again by ranking again"
_BATCH = 500  # requests that are turned into columns together


def errors_of(path: Path) -> Path:
    """The file beside a scores file with the rows that were set aside."""
    return path.with_name(f"{path.stem}.errors.jsonl")


def reasons_beside(path: Path) -> dict[str, int]:
    """Rows set aside on the way to a scores file, by reason; empty where nothing tells."""
    beside = errors_of(path)
    if not beside.is_file():
        return {}
    stated = written_digest(beside, config_of(path))
    if stated is not None and stated != file_digest(beside):
        raise DataError(
            f"{beside}: is not what was written: it was damaged or changed since; {_AGAIN}"
        )
    reasons: Counter[str] = Counter()
    with beside.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row = json_object(line, f"{beside}:{number}", then=_AGAIN)
            if not isinstance(row.get("reason"), str):
                raise DataError(f"{beside}:{number}: names no reason; {_AGAIN}")
            reasons[row["reason"]] += 1
    return dict(sorted(reasons.items()))


def score(
    ranker: Ranker,
    requests: Iterable[Request],
    progress: Progress = no_progress,
    *,
    total: int | None = None,
    say: Say = silent,
    watch: Callable[[Ranking], None] | None = None,
) -> Scores:
    """Scores of requests, in memory.

    Args:
        progress: is told of requests.
        total: how many there are.
        say: is told how much there is, where the total is known.
        watch: is shown every ranking.
    """
    schema, origin = (
        schema_of(ranker.task, answers=ranker.method.answers),
        _origin(ranker, requests),
    )
    batches: list[pa.RecordBatch] = []
    waiting: list[Ranking] = []
    if total is not None:
        requests = announced(ranker, requests, total, say)
    for done, ranking in enumerate(ranker.rank_many(requests), 1):
        if watch is not None:
            watch(ranking)
        waiting.append(ranking)
        progress(done, total)
        if len(waiting) == _BATCH:
            batches.append(columns_of(waiting, schema))
            waiting = []
    batches.append(columns_of(waiting, schema))
    return Scores(pa.Table.from_batches(batches, schema), origin)


def _origin(ranker: Ranker, requests: Iterable[Request]) -> Origin:
    """The ranker's, with what was changed in its requests: such scores never pass for plain."""
    if not isinstance(requests, Sample):
        return ranker.origin
    return replace(ranker.origin, **requests.told)
