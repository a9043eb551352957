"""Ranking one block of requests into its shard."""

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from promptrank.engine.contract import TreeScore
from promptrank.errors import ErrorRow
from promptrank.ranking.columns import columns_of
from promptrank.ranking.loop import Pause
from promptrank.ranking.method import Work
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.runs import shards
from promptrank.runs.attempts import killed_row
from promptrank.runs.error_texts import without_text
from promptrank.runs.fault_counts import check_hope, fault_counts, faults_since
from promptrank.runs.prompt_digests import PromptDigests, work_digest
from promptrank.runs.request_blocks import RequestBlock
from promptrank.runs.shards import Shard, ShardCounts
from promptrank.runs.since import Since
from promptrank.runs.throughput import AskedTokens, Throughput, TokenCounts
from promptrank.runs.watched_attempts import WatchedAttempt, watched_attempt
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import METADATA, Origin

ShardSteps = Generator[Pause, None, Shard]
"""A block being ranked: it pauses on the way, at last once all is ranked, and gives its shard."""

ORDERED = 256
"""So many requests of a shard are asked in the order of (adapter, prefix), before the next ones."""


class ShardRanking:
    """Ranks the blocks of one run, and writes their shards."""

    def __init__(
        self,
        folder: Path,
        ranker: Ranker,
        origin: Origin,
        identity: str,
        known: Since | None,
        throughput: Throughput,
        *,
        dated: bool = False,
        with_text: bool = False,
        digest_of: Callable[[Work], str] = work_digest,
    ) -> None:
        self._folder, self._ranker, self._known = folder, ranker, known
        self._identity, self._throughput = identity, throughput
        self._dated, self._with_text = dated, with_text
        self._digest_of = digest_of
        self._metadata = {METADATA: origin.to_json()}
        self._schema = schema_of(ranker.task, answers=ranker.method.answers)

    def steps(
        self, block: RequestBlock, progress: Callable[[int], None], beside: bool = False
    ) -> ShardSteps:
        """Rank the requests of a block, and write their shard.

        What comes after its last pause, `Pause.RANKED`, asks the engine nothing; another thread
        may do it.

        Args:
            progress: is told how many of them are ranked.
            beside: whether another block is under way while this one poses its first requests.
        """
        digests = PromptDigests(self._digest_of)
        reused = self._reused(block.requests, block.contents, digests)
        fresh = [request for request in block.requests if request.request_id not in reused]
        with watched_attempt(self._folder, block, self._identity, fresh, self._ranker) as watched:
            shard = yield from self._ranked(block, progress, digests, reused, watched, beside)
            watched.done()
        return shard

    def _ranked(
        self,
        block: RequestBlock,
        progress: Callable[[int], None],
        digests: PromptDigests,
        reused: Mapping[str, pa.Table],
        watched: WatchedAttempt,
        beside: bool,
    ) -> ShardSteps:
        """The shard, ranked, and then written; ``reused`` has the rows that are there already."""
        requests, unread, contents = block.requests, block.unread, block.contents
        taken_over = False

        def ranked(done: int) -> None:
            # Counted here and not before: another block may still be ranked until now.
            nonlocal taken_over
            if not taken_over:
                self._throughput.reused += len(reused)
                self._throughput.requests += len(reused)
                taken_over = True
            progress(len(reused) + done)

        rankings, asked, faults = yield from self._rankings(watched, digests, ranked, beside)
        if not taken_over and reused:
            ranked(0)
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
            elif name in watched.accused:
                errors.append(killed_row(name))
                partial += 1
                digests.forget(request)  # it has no rows that a later run could take over
            else:
                ranking = rankings[name]
                tables.append(ranking)
                rows = [*ranking.errors, *_unexplained(request, ranking)]
                errors += rows
                scored += len(ranking.scored)
                removed += len(ranking.removed)
                partial += ranking.partial
                cut_events += ranking.cuts.events_dropped
                if rows or ranking.partial:
                    digests.forget(request)  # what went wrong is tried again
        check_hope(self._ranker.opened, len(watched.asked))
        if not self._with_text:
            errors = [without_text(row) for row in errors]
        yield Pause.RANKED
        scores = self._table(tables)
        prompts = [
            (request.request_id, prompt, content)
            for request, content in zip(requests, contents.values(), strict=True)
            if (prompt := digests.of(request)) is not None
        ]
        counted = ShardCounts(
            requests=len(requests),
            candidates=candidates,
            scored=scored,
            removed=removed,
            set_aside=candidates - scored - removed,
            unread=sum(row.rows for row in unread),
            errors=len(errors),
            partial=partial,
            cut_events=cut_events,
            reused=len(reused),
            label_mass=self._mass(scores),
            reasons=dict(sorted(Counter(row.reason for row in errors).items())),
            tokens=asked.tokens,
            unique_tokens=asked.unique,
            shared_tokens=asked.shared,
            faults=faults,
        )
        shard = Shard(
            block.number,
            self._identity,
            block.content,
            requests[0].request_id if requests else None,
            requests[-1].request_id if requests else None,
            block.end,
            counted,
            {},
        )
        return shards.write_shard(
            self._folder,
            shard,
            scores,
            errors,
            prompts,
            self._metadata,
            ids=block.ids,
            dated=self._dated,
        )

    def _rankings(
        self,
        watched: WatchedAttempt,
        digests: PromptDigests,
        progress: Callable[[int], None],
        beside: bool,
    ) -> Generator[Pause, None, tuple[dict[str, Ranking], TokenCounts, dict[str, int]]]:
        """The ranking of each request, by id, the tokens of all, and what went wrong meanwhile."""
        tokens, whole = AskedTokens(), TokenCounts()

        def watch(works: Sequence[Work], results: Sequence[Future[TreeScore]]) -> None:
            digests(works, results)
            tokens(works, results)

        rankings: dict[str, Ranking] = {}
        before, faults = fault_counts(self._ranker.opened), None
        for each in watched.rankings(watch, ORDERED, beside):
            if isinstance(each, Pause):
                if each is Pause.ANSWERED:
                    faults = faults_since(before, fault_counts(self._ranker.opened))
                yield each
                if each <= Pause.POSED:  # so far, another block was under way
                    before = fault_counts(self._ranker.opened)
                continue
            rankings[each.request_id] = each
            counted = tokens.of(each.request_id)
            whole = whole.plus(counted)
            self._throughput.add(each, counted)
            progress(len(rankings))
        if faults is None:
            faults = faults_since(before, fault_counts(self._ranker.opened))
        return rankings, whole, faults

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
            if not self._known.known(request.request_id, *key):
                continue
            rows = self._known.rows(request, *key)
            if len(rows) == len(request.candidates):  # else what has none is tried again
                reused[request.request_id] = rows.cast(self._schema)
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
