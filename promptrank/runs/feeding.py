"""Keeping an engine fed: prompts from other processes, its steps in a thread, files beside it.

An engine that computes elsewhere (on a device, in another process, on a server) has nothing to do
while this process renders the next prompts or writes a shard. So with processes that prepare, its
steps are done by a thread, the loop keeps one group more under way than it works on, a block's
first requests are posed before the last one is answered, and that one's rankings, columns and files
are made while the engine works on them. The results are those without.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from promptrank.ranking.loop import Pause
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
            writer: makes columns and files of shards, and blocks overlap; whoever ranks does one
                after another where left out.
        """
        self.blocks, self.digest_of, self._writer = blocks, digest_of, writer
        self._asked: _Steps | None = None  # its last requests are with the engine
        self._written: Future[Shard] | None = None

    @property
    def beside(self) -> bool:
        """Whether a block is still under way when the next one poses its first requests."""
        return self._asked is not None

    def rank(self, steps: ShardSteps) -> Iterator[Shard]:
        """Have all of a block asked; the shards that are finished by then, in their order.

        The engine is given the first group as soon as the last of the block before is answered,
        whose rankings are made while it works on that.
        """
        if self._writer is None:
            yield finished(steps)
            return
        block = _Steps(steps)
        if block.advance(Pause.ALONE) is Pause.ALONE:
            yield from self._ranked()
        block.advance(Pause.POSED)
        if self._asked is not None:
            self._asked.advance(Pause.ANSWERED)
        block.advance(Pause.BEGUN)
        yield from self._ranked()
        self._asked = block
        if block.advance(Pause.ASKED) is Pause.RANKED:  # it was to be alone
            yield from self._ranked()

    def rest(self) -> Iterator[Shard]:
        """The shards that are not finished yet, if there are any."""
        yield from self._ranked()
        yield from self._finished()

    def _ranked(self) -> Iterator[Shard]:
        """Rank the block that is asked, and have its shard written; the shards before it."""
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.advance(Pause.RANKED)
            yield from self._finished()
            assert self._writer is not None
            self._written = self._writer.submit(finished, asked.steps)

    def _finished(self) -> Iterator[Shard]:
        """The shard that is being written."""
        written, self._written = self._written, None
        if written is not None:
            yield written.result()


class _Steps:
    """A block being ranked, and how far it is."""

    def __init__(self, steps: ShardSteps) -> None:
        self.steps = steps
        self._at: Pause | None = None

    def advance(self, until: Pause) -> Pause:
        """Go on to this pause, or to the first one behind it; that where it is then."""
        while self._at is None or self._at < until:
            self._at = next(self.steps)
        return self._at


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
