"""What is done with an answer after it was given: it is logged, and a share is scored again."""

import time
from collections.abc import Callable

from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.serve.log_records import LogRecord
from promptrank.serve.serving_log import ServingLog
from promptrank.serve.shape import Done, Wanted

_LOOKED_UP = 1024  # bytes that a row of a table is taken for

Afterwards = Callable[[Done, Wanted, int], None]
"""Is given what came of a call, what it asked for, and the bytes of its body; never waits."""


def log_call(log: ServingLog, done: Done, wanted: Wanted, size: int) -> None:
    """Log a call: a record for each ranking of anything. An `Afterwards`."""
    ranker, now = done.served.ranker, time.time()
    shown, policy = wanted.shown, wanted.policy
    for ranking in done.rankings:
        if ranking.scored or ranking.removed:
            held, name = held_by(ranking, size, done), done.served.name
            log.put(log_record(name, ranker, ranking, held, shown, at=now, policy=policy))


def held_by(ranking: Ranking, size: int, done: Done) -> int:
    """Bytes that one ranking of a call counts for: its share of the body, and what was looked up.

    Args:
        size: bytes of the body.
    """
    share = max(1, size // len(done.rankings))
    if not done.looked_up:
        return share
    request = ranking.request
    return share + _LOOKED_UP * (1 + len(request.candidates) + len(request.history))


def log_record(
    name: str,
    ranker: Ranker,
    ranking: Ranking,
    size: int,
    shown: int | None = None,
    shadow: str | None = None,
    at: float = 0.0,
    policy: bool = True,
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
        policy,
    )
