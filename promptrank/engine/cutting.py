"""Trees cut into parts that fit one forward pass.

A part is a stem (tokens in a row: the prefix, or a piece of it) and blocks side by side after it
(branches with their slots and answer paths, flattened). A short request is one part, and several
share a forward. A long one is several: the stem's keys and values are kept, and its branches run
against them, so memory is bounded by the budget and the prefix, not by the request.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from promptrank.engine.contract import Branch, Ids, Slot
from promptrank.engine.trie import Trie, build_trie

if TYPE_CHECKING:
    import torch

# A longer branch becomes a stem of its own, so that the square mask of a block stays small.
_LONG_BRANCH = 256


@dataclass(slots=True)
class KeptKeys:
    """Keys and values of leading tokens, one pair per layer; filled by the pass that runs them.

    Attributes:
        length: tokens in it.
        layers: by layer index, each (kv heads, length, head dim).
    """

    length: int
    layers: "dict[int, tuple[torch.Tensor, torch.Tensor]]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """Where the logits of one trie node are: ``row`` of its block, -1 for the stem's last token."""

    branch: int
    slot: int
    node: int
    row: int


@dataclass(frozen=True, slots=True)
class Block:
    """Tokens after a stem that see the stem, and each its chain of parents (-1 is the stem)."""

    ids: tuple[int, ...]
    parents: tuple[int, ...]
    reads: tuple[Read, ...]

    @property
    def reads_stem(self) -> bool:
        """Whether an answer stands right after the stem."""
        return any(read.row < 0 for read in self.reads)

    @property
    def depths(self) -> tuple[int, ...]:
        """Per token, how many tokens of the block stand before it on its path."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(depths[parent] + 1 if parent >= 0 else 0)
        return tuple(depths)


@dataclass(frozen=True, slots=True)
class Part:
    """What one forward does for one tree.

    Attributes:
        tree: the tree's number in the run.
        past: keys and values before the stem, or None.
        stem: new tokens in a row; may be empty.
        keep: filled with past + stem, or None where nobody needs it.
        blocks: side by side after the stem.
    """

    tree: int
    past: KeptKeys | None
    stem: Ids
    keep: KeptKeys | None
    blocks: tuple[Block, ...]

    @property
    def before(self) -> int:
        """Tokens before the stem."""
        return self.past.length if self.past else 0

    @property
    def tokens(self) -> int:
        """New tokens in all."""
        return len(self.stem) + sum(len(block.ids) for block in self.blocks)

    @property
    def rows(self) -> int:
        """Rows of logits at most."""
        return sum(len(block.reads) for block in self.blocks)


@dataclass(frozen=True, slots=True)
class ForwardBudget:
    """Attributes: new tokens and logit rows in one forward."""

    tokens: int
    rows: int


def flatten(number: int, ids: Ids, slots: Iterable[tuple[int, Slot, Trie]]) -> Block:
    """One branch as a block; ``slots`` come with their numbers and tries."""
    tokens, parents, reads = list(ids), list(range(-1, len(ids) - 1)), []
    end = len(ids) - 1
    for slot_number, slot, trie in slots:
        last = end
        for token in slot.ids:
            tokens.append(token)
            parents.append(last)
            last = len(tokens) - 1
        rows = [last]
        for node, parent in zip(trie.nodes[1:], trie.parents[1:], strict=True):
            tokens.append(node[-1])
            parents.append(rows[parent])
            rows.append(len(tokens) - 1)
        reads += [Read(number, slot_number, node, row) for node, row in enumerate(rows)]
    return Block(tuple(tokens), tuple(parents), tuple(reads))


def tries(branch: Branch) -> tuple[Trie, ...]:
    """The trie of each slot."""
    return tuple(build_trie(slot.paths) for slot in branch.slots)


def cut(
    tree: int,
    prefix: Ids,
    branches: Iterable[tuple[int, Branch]],
    past: KeptKeys | None,
    budget: ForwardBudget,
) -> Iterator[Part]:
    """The parts of one tree, in the order in which they must run.

    Tokens that all branches begin with (a question's opening words) are computed once, with the
    prefix.

    Args:
        tree: its number, for `Part`.
        prefix: tokens every branch sees.
        branches: those to score, with their numbers.
        past: keys and values of the prefix's first tokens (fewer than all), or None.
        budget: of one forward.
    """
    blocks, long = [], []
    numbered = list(branches)
    head = _common([branch.ids for _, branch in numbered])
    for number, branch in numbered:
        ids = branch.ids[head:]
        slots = list(zip(range(len(branch.slots)), branch.slots, tries(branch), strict=True))
        if len(ids) > _LONG_BRANCH:
            long.append((ids, [flatten(number, (), [slot]) for slot in slots]))
        else:
            blocks.append(flatten(number, ids, slots))
    opening = numbered[0][1].ids[:head] if numbered else ()
    stem = (*(prefix[past.length :] if past else prefix), *opening)
    whole = yield from _run(tree, past, stem, blocks, budget, keep=bool(long))
    for ids, slot_blocks in long:
        yield from _run(tree, whole, ids, slot_blocks, budget, keep=False)


def _common(paths: Sequence[Ids]) -> int:
    """How many leading tokens all paths share; 0 for fewer than two paths."""
    head = 0
    for tokens in zip(*paths, strict=False):
        if len(paths) < 2 or len(set(tokens)) > 1:
            break
        head += 1
    return head


def _run(
    tree: int,
    past: KeptKeys | None,
    stem: Ids,
    blocks: Sequence[Block],
    budget: ForwardBudget,
    keep: bool,
) -> Generator[Part, None, KeptKeys | None]:
    """Parts of one stem and its blocks; returns the whole stem's keys and values if ``keep``."""
    while len(stem) > budget.tokens:
        piece = KeptKeys((past.length if past else 0) + budget.tokens)
        yield Part(tree, past, stem[: budget.tokens], piece, ())
        past, stem = piece, stem[budget.tokens :]
    # What reads the stem's last row has to run with the stem, whatever its size.
    waiting = sorted(blocks, key=lambda block: not block.reads_stem)
    first = True
    while first or waiting:
        taken, tokens, rows = 0, len(stem), 0
        for block in waiting:
            tokens, rows = tokens + len(block.ids), rows + len(block.reads)
            full = tokens > budget.tokens or rows > budget.rows
            if full and (taken or stem) and not block.reads_stem:
                break
            taken += 1
        now, waiting = tuple(waiting[:taken]), waiting[taken:]
        more = (waiting or keep) and stem
        kept = KeptKeys((past.length if past else 0) + len(stem)) if more else None
        if stem or now:
            yield Part(tree, past, stem, kept, now)
        if kept:
            past, stem = kept, ()
        first = False
    return past


def pack(parts: Iterable[Part], budget: ForwardBudget) -> Iterator[list[Part]]:
    """Parts gathered, in order, into forwards; none runs beside the part whose past it needs."""
    batch: list[Part] = []
    tokens = rows = 0
    for part in parts:
        full = tokens + part.tokens > budget.tokens or rows + part.rows > budget.rows
        needs = part.past is not None and any(other.keep is part.past for other in batch)
        if batch and (full or needs):
            yield batch
            batch, tokens, rows = [], 0, 0
        batch.append(part)
        tokens, rows = tokens + part.tokens, rows + part.rows
    if batch:
        yield batch
