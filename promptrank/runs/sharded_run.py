"""A run: requests of any number to a folder of shards, which a stopped run goes on with.

``run.json`` says what is scored by what, and is written first; ``summary.json`` says what became of
it, and is written last. In between a shard is done or it is not (`promptrank.runs.shards`). A shard
is ranked by itself, so what is in it depends on its requests alone, and a run that was killed and
gone on with has the files of an unbroken one.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from promptrank.basics.collecting import seldom_collected
from promptrank.basics.seals import write_sealed
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, ErrorRow, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs import shards
from promptrank.runs.amount import LOOKED_AT, amount
from promptrank.runs.attempts import clear_ledgers
from promptrank.runs.cache_use import cache_use
from promptrank.runs.fault_counts import told_faults
from promptrank.runs.feeding import Preparing, fed
from promptrank.runs.nothing_scored import no_request, nothing_scored
from promptrank.runs.request_blocks import RequestBlock, request_blocks, sample_blocks
from promptrank.runs.run_identity import (
    SUMMARY,
    RunIdentity,
    begin,
    clear_other,
    identified,
    other_scorer,
    shard_count,
)
from promptrank.runs.shard_ranking import ShardRanking
from promptrank.runs.shard_walk import shards_and_blocks
from promptrank.runs.shards import NOTHING, Shard, ShardCounts
from promptrank.runs.since import Since, scored_since
from promptrank.runs.throughput import Throughput, prefix_cache

SHARD = 1000
"""Requests of one shard."""


class StoppedBetween(KeyboardInterrupt):
    """Somebody asked for the end, and the shard in hand is finished."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to.

    Attributes:
        folder: of the run; of one in a store its address.
        resumed: shards that an earlier start had done.
        resumed_requests: requests in them.
        identity: what it is of.
        throughput: what this start did.
        since: the run whose scores were taken over; None where there was none.
    """

    folder: Path
    shards: int
    resumed: int
    counted: ShardCounts
    resumed_requests: int
    identity: RunIdentity
    throughput: Throughput
    since: Path | None = None


def score_shards(
    folder: Path,
    ranker: Ranker,
    file: RequestFile,
    facts: Mapping[str, Any],
    *,
    splits: set[str] | None = None,
    ids: set[str] | None = None,
    sample: Sample | None = None,
    size: int = SHARD,
    dated: bool = False,
    earlier: Path | None = None,
    total: int | None = None,
    anew: bool = False,
    throughput: Throughput | None = None,
    with_text: bool = False,
    some: bool = True,
    errors: Path | None = None,
    prepare: Preparing | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """Score requests into shards; goes on with what is there of the same run.

    Args:
        facts: what else tells which requests these are, for the run's identity.
        ids: only these requests.
        sample: the requests, where they are chosen already, in place of ``splits`` and ``ids``.
        size: requests of one shard.
        dated: whether the scores of each date are files of their own.
        earlier: a run whose scores are taken over where prompts have not changed.
        total: requests there are, where it is known.
        anew: what the folder holds of another run goes.
        throughput: is kept up to date, for whoever shows it.
        with_text: error rows keep what they quote of the data.
        some: whether it is an error that nothing at all gets a score.
        errors: where it is then said that error rows are; in the folder where left out.
        prepare: processes that render and tokenize; this one does where left out, and for a sample.
        stop: asked between shards.

    Raises:
        InputError: the folder holds another run.
        DataError: the request file changed meanwhile, no request in it, or a damaged earlier run.
        NothingScored: all of it is set aside.
        StoppedBetween: ``stop`` said so.
    """
    facts = {**facts, "shard": size} | ({"partition": "date"} if dated else {})
    identity = identified(ranker, file, facts, sample)
    if anew:
        clear_other(folder, identity.digest, say)
    begin(folder, identity.about, identity.digest)
    shards.clear_shards(folder)
    if sample is not None:
        prepare, blocks = None, partial(sample_blocks, sample, size)
    else:
        blocks = partial(request_blocks, file, splits, ids, size)
    told = throughput if throughput is not None else Throughput()
    since, read_before = time.monotonic(), prefix_cache(ranker.opened)
    used_before = cache_use(ranker.opened)
    whole, resumed, ranked, there = NOTHING, NOTHING, 0, 0
    count = shard_count(folder, identity.digest)
    with (
        seldom_collected(),
        _earlier(earlier, ranker, identity.about, say) as known,
        fed(ranker, blocks, prepare, splits=splits, ids=ids, size=size) as feed,
    ):
        ranking = ShardRanking(
            folder,
            ranker,
            identity.origin,
            identity.digest,
            known,
            told,
            dated=dated,
            with_text=with_text,
            digest_of=feed.digest_of,
        )

        def count_in(finished: Iterable[Shard]) -> None:
            nonlocal whole
            for shard in finished:
                for words in told_faults(shard.counted.faults, ranker.opened):
                    say(words)
                whole = whole.plus(shard.counted)

        read_so_far = 0  # requests
        parts = shards_and_blocks(
            folder,
            identity.digest,
            size,
            feed.blocks,
            count,
            short_is_last=sample is None,  # a sample's late rows come behind its last request
        )
        for part in _finishing(parts, lambda: count_in(feed.rest())):
            if isinstance(part, Shard):
                count_in(feed.rest())
                there += 1
                resumed = resumed.plus(part.counted)
                whole = whole.plus(part.counted)
                read_so_far += part.counted.requests
                told.taken_over += part.counted.requests
                progress(read_so_far, total)
                continue
            if not part.requests and not read_so_far:
                _check_any(file, splits, sample, part.unread, with_text)
            if stop():
                count_in(feed.rest())
                raise StoppedBetween
            if not ranked:
                _tell(ranker, part, resumed.requests, total, say)
            if shards.facts_path(folder, part.number).exists():
                say(f"shard {part.number} of {folder.name} is damaged: it is scored again")

            def ranked_so_far(done: int, before: int = read_so_far) -> None:
                told.cache = cache_use(ranker.opened, used_before)
                progress(before + done, total)

            count_in(feed.rank(ranking.steps(part, ranked_so_far, feed.beside)))
            ranked += 1
            read_so_far += len(part.requests)
        count_in(feed.rest())
    read = prefix_cache(ranker.opened)
    told.prompt_tokens, told.cached_tokens = (a - b for a, b in zip(read, read_before, strict=True))
    told.cache = cache_use(ranker.opened, used_before)
    told.seconds = time.monotonic() - since
    summary = RunSummary(
        folder, ranked + there, there, whole, resumed.requests, identity, told, earlier
    )
    write = bool(ranked) or count is None
    end_run(summary, file, write=write, elsewhere=not anew, some=some, errors=errors)
    return summary


def _finishing(
    parts: Iterable[Shard | RequestBlock], finish: Callable[[], None]
) -> Iterator[Shard | RequestBlock]:
    """The parts; where the next one cannot be read, what is with the engine is finished first."""
    try:
        yield from parts
    except InputError:
        finish()
        raise


def end_run(
    summary: RunSummary,
    file: RequestFile,
    *,
    write: bool,
    elsewhere: bool = True,
    some: bool = True,
    errors: Path | None = None,
) -> None:
    """Write what a run came to, once all its shards are done.

    Args:
        write: whether there is no summary yet, or an older one.
        elsewhere: whether a file that has changed is to be ranked into another folder.
        some, errors: as of `score_shards`.

    Raises:
        DataError: the request file changed meanwhile, or no request in it.
        NothingScored: all of it is set aside; the run is not finished.
    """
    folder, identity = summary.folder, summary.identity
    if not summary.shards:
        raise no_request(file.path)
    if requests_digest(file.path) != identity.origin.requests:
        then = f"into another folder, with --since {folder} for what has not changed"
        raise DataError(
            f"{file.path}: changed while it was ranked; rank the file as it is now"
            + (f" {then}" if elsewhere else "")
        )
    clear_ledgers(folder)
    if some and not summary.counted.rows_kept:
        (folder / SUMMARY).unlink(missing_ok=True)  # of an older version, to which it was finished
        then = "mend that, and rank into another folder" if elsewhere else "mend that"
        raise nothing_scored(file.path, summary.counted, errors or folder / "errors", then)
    if write:
        facts = {"identity": identity.digest, "shards": summary.shards}
        facts |= summary.counted.as_dict()
        write_sealed(folder / SUMMARY, facts)


def _tell(ranker: Ranker, block: RequestBlock, resumed: int, total: int | None, say: Say) -> None:
    """What there is to say before the first block is ranked."""
    if resumed:
        say(f"resuming: {resumed:,} requests were already ranked")
    if total is not None and (words := amount(ranker, block.requests[:LOOKED_AT], total - resumed)):
        say(words)


def _check_any(
    file: RequestFile,
    splits: set[str] | None,
    sample: Sample | None,
    unread: Sequence[ErrorRow],
    with_text: bool,
) -> None:
    """Whether there are requests at all, if only such as could not be read."""
    if not (file.ids(splits, 1) if sample is None else sample.ids):
        raise no_request(file.path, unread, with_text)


@contextmanager
def _earlier(
    folder: Path | None, ranker: Ranker, about: Mapping[str, Any], say: Say
) -> Iterator[Since | None]:
    """An earlier run to take scores over from; None where it was another ranker's."""
    if folder is None:
        yield None
        return
    if words := other_scorer(folder, about):
        say(f"nothing of {folder} can be taken over: it has {words}")
        yield None
        return
    with scored_since(folder, whole=bool(ranker.steps or ranker.policy)) as known:
        yield known
