"""What is left of a run: its shards that are done, and the blocks between and behind them."""

from collections.abc import Iterator
from pathlib import Path

from promptrank.requests.marks import IdHashes
from promptrank.runs import shards
from promptrank.runs.request_blocks import Before, Blocks, RequestBlock
from promptrank.runs.shards import Shard


def shards_and_blocks(
    folder: Path,
    identity: str,
    size: int,
    blocks: Blocks,
    count: int | None = None,
    *,
    ahead: bool = False,
    short_is_last: bool = True,
) -> Iterator[Shard | RequestBlock]:
    """Each shard of a run in order, where it is done; else the block that is to become it.

    What is before a gap is not read: the shard before it says where in the request file it ends.
    Whoever takes a block writes its shard before the next is asked for, or works ``ahead``.

    Args:
        size: requests of a shard.
        count: of all shards, where a finished run said so.
        ahead: shards are written whenever they are; a hash of each id in their blocks is kept.
        short_is_last: whether nothing comes behind a shard of fewer requests; where ``count`` is
            known it says where the end is.
    """
    kept: dict[int, IdHashes] = {}
    there = set(shards.numbers(folder))

    def done_at(number: int) -> Shard | None:
        return shards.done(folder, number, identity) if number in there else None

    number, end = 0, None
    shard = done_at(0)
    while True:
        while shard is not None:
            yield shard
            number, end = number + 1, shard.end
            short = count is None and short_is_last and shard.counted.requests < size
            if number == count or short:
                return
            shard = done_at(number)
        ids = [
            kept[earlier] if earlier in kept else shards.read_ids(folder, earlier)
            for earlier in range(number)
        ]
        for block in blocks(Before(number, end, ids)):
            if ahead:
                kept[number] = block.ids
            yield block
            number += 1
            if (shard := done_at(number)) is not None:
                break
        else:
            return
