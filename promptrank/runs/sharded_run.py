"""A run: requests of any number to a folder of shards, which a stopped run goes on with.

``run.json`` says what is scored by what, and is written first; ``summary.json`` says what became of
it, and is written last. In between a shard is done or it is not (`promptrank.runs.shards`). A shard
is ranked by itself, so what is in it depends on its requests alone, and a run that was killed and
gone on with has the files of an unbroken one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.basics.seals import write_sealed
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile
from promptrank.runs import shards
from promptrank.runs.manifest import manifest
from promptrank.runs.request_blocks import request_blocks
from promptrank.runs.run_identity import SUMMARY, begin, other_scorer
from promptrank.runs.shard_ranking import ShardRanking
from promptrank.runs.shards import NOTHING, ShardCounts
from promptrank.runs.since import Since, scored_since

SHARD = 1000
"""Requests of one shard."""


class StoppedBetween(KeyboardInterrupt):
    """Somebody asked for the end, and the shard in hand is finished."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run came to.

    Attributes:
        resumed: shards that an earlier start had done.
    """

    folder: Path
    shards: int
    resumed: int
    counted: ShardCounts


def score_shards(
    folder: Path,
    ranker: Ranker,
    file: RequestFile,
    facts: Mapping[str, Any],
    *,
    splits: set[str] | None = None,
    ids: set[str] | None = None,
    size: int = SHARD,
    earlier: Path | None = None,
    total: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> RunSummary:
    """Score requests into shards; goes on with what is there of the same run.

    Args:
        facts: what else tells which requests these are, for the run's identity.
        ids: only these requests.
        size: requests of one shard.
        earlier: a run whose scores are taken over where prompts have not changed.
        total: requests there are, where it is known.
        stop: asked between shards.

    Raises:
        InputError: the folder holds another run.
        DataError: the request file changed meanwhile, no request in it, or a damaged earlier run.
        StoppedBetween: ``stop`` said so.
    """
    digest = requests_digest(file.path)
    origin = replace(ranker.origin, requests=digest)
    scorer = {**manifest("rank", ranker.task, origin.task or ""), **asdict(origin)}
    about, identity = about_run(scorer, facts, size)
    begin(folder, about, identity)
    shards.clear_shards(folder)
    with _earlier(earlier, ranker, about, say) as known:
        ranking = ShardRanking(folder, ranker, origin, identity, known)
        whole, resumed, count = NOTHING, 0, 0
        for block in request_blocks(file, splits, ids, size):
            count += 1
            shard = shards.done(folder, block.number, identity, block.content)
            if shard is None:
                if stop():
                    raise StoppedBetween
                before = whole.requests
                shard = ranking.rank(
                    block,
                    lambda done, before=before: progress(before + done, total),  # type: ignore[misc]
                )
            else:
                resumed += 1
            whole = whole.plus(shard.counted)
            progress(whole.requests, total)
    return end_run(folder, file, digest, identity, RunSummary(folder, count, resumed, whole))


def about_run(
    scorer: Mapping[str, Any], facts: Mapping[str, Any], size: int
) -> tuple[dict[str, Any], str]:
    """What a run is of, and the digest of it.

    Args:
        scorer: its manifest and origin.
    """
    about = {**scorer, **facts, "shard": size}
    return about, json_digest({k: v for k, v in about.items() if k != "argv"})


def end_run(
    folder: Path, file: RequestFile, digest: str, identity: str, summary: RunSummary
) -> RunSummary:
    """Write what a run came to, once all its shards are done.

    Raises:
        DataError: the request file changed meanwhile, or no request in it.
    """
    if not summary.counted.requests:
        raise DataError(f"no request to rank in {file.path.name}")
    if requests_digest(file.path) != digest:
        raise DataError(
            f"{file.path}: changed while it was ranked; rank the file as it is now into another "
            f"folder, with --since {folder} for what has not changed"
        )
    counted = {"identity": identity, "shards": summary.shards} | asdict(summary.counted)
    write_sealed(folder / SUMMARY, counted)
    return summary


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
