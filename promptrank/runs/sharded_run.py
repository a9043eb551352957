"""A run: requests of any number to a folder of shards, which a stopped run goes on with.

``run.json`` says what is scored by what, and is written first; ``summary.json`` says what became of
it, and is written last. In between a shard is done or it is not (`promptrank.runs.shards`). A shard
is ranked by itself, so what is in it depends on its requests alone, and a run that was killed and
gone on with has the files of an unbroken one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.basics.digests import json_digest
from promptrank.basics.seals import write_sealed
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile
from promptrank.runs import shards
from promptrank.runs.manifest import manifest
from promptrank.runs.prompt_digests import PromptDigests, content_digest
from promptrank.runs.run_identity import SUMMARY, begin, other_scorer
from promptrank.runs.shards import NOTHING, Shard, ShardCounts
from promptrank.runs.since import Since, scored_since
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import METADATA, Origin

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
    about = {**manifest("rank", ranker.task, origin.task or ""), **asdict(origin), **facts}
    about |= {"shard": size}
    identity = json_digest({k: v for k, v in about.items() if k != "argv"})
    begin(folder, about, identity)
    shards.clear_shards(folder)
    with _earlier(earlier, ranker, about, say) as known:
        shard = _Shards(folder, ranker, origin, identity, known)
        whole, resumed, number = NOTHING, 0, -1
        for number, (requests, unread) in enumerate(_blocks(file, splits, ids, size)):
            contents = {request.request_id: content_digest(request) for request in requests}
            content = json_digest([[*contents.values()], content_digest(*unread)])
            there = shards.done(folder, number, identity, content)
            if there is None:
                if stop():
                    raise StoppedBetween
                before = whole.requests
                there = shard.rank(
                    number,
                    content,
                    requests,
                    unread,
                    contents,
                    lambda done, before=before: progress(before + done, total),  # type: ignore[misc]
                )
            else:
                resumed += 1
            whole = whole.plus(there.counted)
            progress(whole.requests, total)
    if not whole.requests:
        raise DataError(f"no request to rank in {file.path.name}")
    if requests_digest(file.path) != digest:
        raise DataError(
            f"{file.path}: changed while it was ranked; rank the file as it is now into another "
            f"folder, with --since {folder} for what has not changed"
        )
    summary = RunSummary(folder, number + 1, resumed, whole)
    write_sealed(folder / SUMMARY, {"identity": identity, "shards": number + 1} | asdict(whole))
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


def _blocks(
    file: RequestFile, splits: set[str] | None, ids: set[str] | None, size: int
) -> Iterator[tuple[list[Request], list[ErrorRow]]]:
    """So many requests at a time, and the rows that could not be read on the way to them."""
    unread = list(file.set_aside)
    requests = file.read(splits, ids, unread.append)
    while block := list(islice(requests, size)):
        told, unread[:] = list(unread), []
        yield block, told
    if unread:
        yield [], unread


class _Shards:
    """Ranks shards of one run."""

    def __init__(
        self, folder: Path, ranker: Ranker, origin: Origin, identity: str, known: Since | None
    ) -> None:
        self._folder, self._ranker, self._known = folder, ranker, known
        self._identity = identity
        self._metadata = {METADATA: origin.to_json()}
        self._schema = schema_of(ranker.task, answers=ranker.method.answers)

    def rank(
        self,
        number: int,
        content: str,
        requests: list[Request],
        unread: list[ErrorRow],
        contents: Mapping[str, str],
        progress: Callable[[int], None],
    ) -> Shard:
        """Rank requests and write their shard.

        Args:
            contents: request_id -> digest of the request.
        """
        digests = PromptDigests()
        reused = self._reused(requests, contents, digests)
        rankings = self._ranker.rank_many(
            (request for request in requests if request.request_id not in reused), watch=digests
        )
        tables: list[pa.Table | Ranking] = []
        errors = list(unread)
        candidates = scored = removed = partial = cut_events = 0
        for request in requests:
            name = request.request_id
            candidates += len(request.candidates)
            if name in reused:
                tables.append(reused[name])
                taken_out = reused[name].column("rank").null_count
                removed += taken_out
                scored += len(reused[name]) - taken_out
            else:
                ranking = next(rankings)
                tables.append(ranking)
                rows = [*ranking.errors, *_unexplained(request, ranking)]
                errors += rows
                scored += len(ranking.scored)
                removed += len(ranking.removed)
                partial += ranking.partial
                cut_events += ranking.cuts.events_dropped
                if rows or ranking.partial:
                    digests.forget(request)  # what went wrong is tried again
            progress(len(tables))
        scores = self._table(tables)
        prompts = [
            (request.request_id, prompt, content)
            for request, content in zip(requests, contents.values(), strict=True)
            if (prompt := digests.of(request)) is not None
        ]
        counted = ShardCounts(
            len(requests),
            candidates,
            scored,
            removed,
            candidates - scored - removed,
            len(unread),
            len(errors),
            partial,
            cut_events,
            len(reused),
            self._mass(scores),
        )
        shard = Shard(
            number,
            self._identity,
            content,
            requests[0].request_id if requests else None,
            requests[-1].request_id if requests else None,
            counted,
            {},
        )
        return shards.write_shard(self._folder, shard, scores, errors, prompts, self._metadata)

    def _reused(
        self, requests: Iterable[Request], contents: Mapping[str, str], digests: PromptDigests
    ) -> dict[str, pa.Table]:
        """Rows of the requests that an earlier run scored from the same prompts."""
        if self._known is None:
            return {}
        reused: dict[str, pa.Table] = {}
        requests = list(requests)
        for request, asking in zip(
            requests, self._ranker.method.start(requests, None), strict=True
        ):
            digests(next(asking, ()), ())
            asking.close()
            key = (digests.of(request) or "", contents[request.request_id])
            if self._known.known(request.request_id, *key):
                reused[request.request_id] = self._known.rows(request, *key).cast(self._schema)
        return reused

    def _table(self, parts: list[pa.Table | Ranking]) -> pa.Table:
        """Rankings and rows that are there already, in their order, as one table."""
        tables = [self._schema.empty_table()]
        for ranked, group in groupby(parts, key=lambda part: isinstance(part, Ranking)):
            if ranked:
                tables.append(pa.Table.from_batches([columns_of(group, self._schema)]))
            else:
                tables += group
        return pa.concat_tables(tables).combine_chunks()

    def _mass(self, scores: pa.Table) -> dict[str, float]:
        if not self._ranker.method.answers:
            return {}
        columns = {name: f"{name}_label_mass" for name in self._ranker.task.questions}
        return {name: float(sum(scores.column(c).to_pylist())) for name, c in columns.items()}


def _unexplained(request: Request, ranking: Ranking) -> list[ErrorRow]:
    """An error row for each candidate that has neither a score nor one already."""
    told = {row.candidate_id for row in ranking.errors}
    if None in told:  # one that speaks for the whole request
        return []
    told |= {scored.candidate_id for scored in (*ranking.scored, *ranking.removed)}
    return [
        ErrorRow(request.request_id, c.candidate_id, "engine", "no_score", "came back without one")
        for c in request.candidates
        if c.candidate_id not in told
    ]
