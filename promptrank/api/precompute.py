"""``precompute``: a log's most frequent queries into the score cache, before they are asked."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.paths import expanded
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import InputError
from promptrank.records import Request
from promptrank.requests.source import RequestFile
from promptrank.runtime.runtime import Runtime
from promptrank.tables.query_log import Coverage, coverage_of, log_coverage
from promptrank.workspace.kept_scores import CacheChoice, check_cached, score_cache
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, check_splits, open_task

SHARE = 0.8
"""Of the traffic that the head shall be."""


@dataclass(frozen=True, slots=True)
class Precomputed:
    """What is known now.

    Attributes:
        coverage: of the log.
        requests: of the head's queries, all of which are in the cache now.
        without: queries of the head of which there was no request.
        hits, asked: prompts that the cache had already, and that the model answered.
        errors: rows that could not be scored.
    """

    coverage: Coverage
    requests: int = 0
    without: int = 0
    hits: int = 0
    asked: int = 0
    errors: int = 0


def precompute(
    task: str | OpenTask,
    log: str | Path | None = None,
    *,
    share: float = SHARE,
    cache: CacheChoice = True,
    query: str | None = None,
    count: str | None = None,
    time: str | None = None,
    requests: str | Path | None = None,
    splits: set[str] | None = None,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    allow_changed: bool = False,
    dry: bool = False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Precomputed:
    """Score the requests of a log's most frequent queries into the score cache.

    What is in the cache already is not asked again, so a call that was stopped goes on where it
    was. A server with that cache answers the head from it, and the tail by its model.

    Args:
        log: a file with a query's id or text in each row (see `log_coverage`); where left out,
            the requests themselves are the log, each of them a query that was asked.
        share: of the traffic, 0 to 1.
        cache: the project's (True), or one in a folder.
        query, count, time: columns of the log.
        requests, splits, engine: as of `promptrank.rank`; all parts where left out.
        dry: only look at the log.

    Raises:
        InputError: whatever in the input keeps it from scoring, a cache that cannot be used among
            it.
    """
    if not 0 < share <= 1:
        raise InputError(f"--share {share:g}: a share of the traffic, above 0 and at most 1")
    check_cached(engine, cache)
    if cache is False:
        raise InputError("precompute needs a cache: True for the project's, or a folder")
    opened = open_task(task, project=project, settings=settings)
    check_splits(opened.task, splits)
    columns = {"query": query, "count": count, "time": time}
    coverage = None
    if log is not None:
        coverage = log_coverage(expanded(log), share, **columns)
        if dry:
            return Precomputed(coverage)
    with ExitStack() as stack:
        file = stack.enter_context(request_file(opened, requests, splits=splits, say=say))
        if coverage is None:
            coverage = coverage_of(_asked(file, splits), share)
            if dry:
                return Precomputed(coverage)
        kept = stack.enter_context(score_cache(opened.project, cache, _refuse))
        assert kept is not None
        runtime = stack.enter_context(Runtime(cache=kept))
        ranker = stack.enter_context(
            open_ranker(
                opened,
                engine=engine,
                model=model,
                adapter=adapter,
                threads=threads,
                device=device,
                dtype=dtype,
                allow_changed=allow_changed,
                runtime=runtime,
                say=say,
            )
        )
        head = frozenset(coverage.keys)
        seen: set[str] = set()
        done = errors = 0
        for ranking in ranker.rank_many(_of(head, file.read(splits), seen), policy=False):
            done += 1
            errors += len(ranking.errors)
            progress(done, None)
        if not done:
            raise InputError(
                f"{opened.name}: none of its requests is for a query of the log's head, such as "
                f"{coverage.keys[0][:40]!r}; --query names the column that holds ids or texts as "
                "the requests have them"
            )
        return Precomputed(coverage, done, len(head - seen), kept.hits, kept.asked, errors)


def _refuse(words: str) -> None:
    """A cache that cannot be used, where nothing else is wanted."""
    raise InputError(words.removesuffix("; going on without the cache"))


def _names(request: Request) -> Iterator[str]:
    """What a log may call a request's query: its id, its text."""
    subject = request.subject
    if subject.query_id is not None:
        yield subject.query_id
    text = subject.query.get("text") if subject.query is not None else None
    if isinstance(text, str):
        yield text


def _of(head: frozenset[str], requests: Iterable[Request], seen: set[str]) -> Iterator[Request]:
    for request in requests:
        if names := head.intersection(_names(request)):
            seen |= names
            yield request


def _asked(file: RequestFile, splits: set[str] | None) -> Iterator[tuple[str, float | None]]:
    for request in file.read(splits):
        name = next(_names(request), None)
        if name is not None:
            yield name, request.time
