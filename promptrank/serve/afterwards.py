"""What is done with an answer after it was given: it is logged, and a share is scored again."""

import time
from collections.abc import Callable

from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.serve.log_records import LogRecord
from promptrank.serve.serving_log import ServingLog
from promptrank.serve.shape import Done, Wanted

Afterwards = Callable[[Done, Wanted, int], None]
"""Is given what came of a call, what it asked for, and the bytes of its body; never waits."""


def log_call(log: ServingLog, done: Done, wanted: Wanted, size: int) -> None:
    """Log a call: a record for each ranking that has a score. An `Afterwards`."""
    ranker, now = done.served.ranker, time.time()
    share = max(1, size // len(done.rankings))
    for ranking in done.rankings:
        if ranking.scored:
            name = done.served.name
            log.put(log_record(name, ranker, ranking, share, wanted.shown, at=now))


def log_record(
    name: str,
    ranker: Ranker,
    ranking: Ranking,
    size: int,
    shown: int | None = None,
    shadow: str | None = None,
    at: float = 0.0,
) -> LogRecord:
    """One ranking as a record; it does not keep the ranker alive."""
    return LogRecord(
        name,
        ranker.task,
        ranker.method.answers,
        ranker.origin,
        ranking,
        size,
        shown,
        shadow,
        at,
    )
