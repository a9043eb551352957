"""Keeping an engine fed: prompts from other processes, its steps in a thread, files beside it.

An engine that computes elsewhere (on a device, in another process, on a server) has nothing to do
while this process renders the next prompts or writes a shard. So with processes that prepare, its
steps are done by a thread, the loop keeps one group more under way than it works on, and a shard's
columns and files are made while the next one is ranked. The results are those without.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from promptrank.ranking.method import Work
from promptrank.ranking.methods.pointwise import Pointwise
from promptrank.ranking.ranker import Ranker
from promptrank.runs.preparation import BlockShare, Preparation
from promptrank.runs.preparing_processes import PreparedBlocks
from promptrank.runs.prompt_digests import work_digest
from promptrank.runs.request_blocks import Before, Blocks, RequestBlock
from promptrank.runs.shard_ranking import ShardSteps
from promptrank.runs.shards import Shard
from promptrank.runtime.stepping import Stepping


class Feed:
    """Where a run takes its blocks from, and where it leaves what is ranked.

    Attributes:
        blocks: of the run.
        digest_of: digests of works.
    """

    def __init__(
        self,
        blocks: Blocks,
        digest_of: Callable[[Work], str] = work_digest,
        writer: ThreadPoolExecutor | None = None,
    ) -> None:
        """Take the parts.

        Args:
            writer: makes columns and files of shards; whoever ranks does where left out.
        """
        self.blocks, self.digest_of, self._writer = blocks, digest_of, writer
        self._written: Future[Shard] | None = None

    def rank(self, steps: ShardSteps) -> Iterator[Shard]:
        """Rank a block; the shards that are finished by then, in their order."""
        next(steps)
        yield from self.rest()
        if self._writer is None:
            yield finished(steps)
        else:
            self._written = self._writer.submit(finished, steps)

    def rest(self) -> Iterator[Shard]:
        """The shard that is not finished yet, if there is one."""
        written, self._written = self._written, None
        if written is not None:
            yield written.result()


def finished(steps: ShardSteps) -> Shard:
    """The shard, once its steps are done."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Preparing:
    """That so many processes are to prepare a run's prompts, and what they need for it."""

    processes: int
    preparation: Preparation


@contextmanager
def fed(
    ranker: Ranker,
    blocks: Blocks,
    prepare: Preparing | None,
    *,
    splits: set[str] | None,
    ids: set[str] | None,
    size: int,
) -> Iterator[Feed]:
    """The feed of a run, with processes that prepare where there is to be any.

    Inside, the ranker takes its prompts from them; nobody else may ask its engine meanwhile.

    Args:
        blocks: those of the run, where nobody prepares.
        splits, ids, size: of `request_blocks`, where somebody does.
    """
    if prepare is None:
        yield Feed(blocks)
        return
    method, opened = ranker.method, ranker.opened
    assert isinstance(method, Pointwise), "prompts are prepared for methods that have some"
    prepared, count = PreparedBlocks(method.posing, prepare.preparation), prepare.processes

    def shared_out(before: Before) -> Iterator[RequestBlock]:
        shares = [BlockShare(splits, ids, size, before, place, count) for place in range(count)]
        return prepared.blocks(shares)

    with ExitStack() as stack:
        writer = stack.enter_context(ThreadPoolExecutor(1, "promptrank-shards"))
        stepping = Stepping()
        stack.callback(stepping.close)
        stack.enter_context(opened.one_caller())
        stepping.take(opened)
        stack.callback(opened.be_stepped, None)
        stack.callback(prepared.close)
        ranker.method = Pointwise(method.task, prepared)
        stack.callback(setattr, ranker, "method", method)
        yield Feed(shared_out, prepared.digest_of, writer)
