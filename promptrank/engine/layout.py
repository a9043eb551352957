"""Parts laid out as the rows of one forward pass: ids, positions, and who sees whom."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from promptrank.engine.cutting import Block, KeptKeys, Part

_BAND = 128  # stem rows attended at once
_SIDE = 80  # block rows attended at once, if more than one block


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring rows that are attended at once.

    Attributes:
        start, rows: where they are.
        seen: how many of the past's and the stem's keys all of them see.
        mask: (rows, rows), -inf where a row must not see another of the band, else 0.
    """

    start: int
    rows: int
    seen: int
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """One part's rows: ``stem`` of them from ``start``, then its blocks; all cut into bands."""

    start: int
    stem: int
    past: KeptKeys | None
    keep: KeptKeys | None
    bands: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class Forward:
    """Everything one pass needs.

    Attributes:
        ids, positions: (1, rows).
        logit_rows: rows whose logits are read.
        reads: per part and block read, its index in ``logit_rows``.
        segments: the attention layout.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    logit_rows: torch.Tensor
    reads: list[list[int]]
    segments: tuple[Segment, ...]


def lay_out(parts: Sequence[Part], like: torch.Tensor) -> Forward:
    """The tensors of one forward pass, on the device and, for masks, of the dtype of ``like``."""
    ids: list[int] = []
    positions: list[int] = []
    wanted: dict[int, int] = {}
    reads: list[list[int]] = []
    segments = []
    causal = torch.full((_BAND, _BAND), float("-inf")).triu(1).to(like)
    for part in parts:
        start, after = len(ids), part.before + len(part.stem)
        ids += part.stem
        positions += range(part.before, after)
        bands = []
        for low in range(0, len(part.stem), _BAND):
            rows = min(_BAND, len(part.stem) - low)
            bands.append(Band(start + low, rows, part.before + low, causal[:rows, :rows]))
        part_reads = []
        for blocks in _sides(part.blocks):
            bands.append(_side(blocks, len(ids), after, like))
            for block in blocks:
                base = len(ids)
                ids += block.ids
                positions += (after + depth for depth in block.depths)
                for read in block.reads:
                    row = base + read.row if read.row >= 0 else start + len(part.stem) - 1
                    part_reads.append(wanted.setdefault(row, len(wanted)))
        reads.append(part_reads)
        filled = tuple(band for band in bands if band.rows)
        segments.append(Segment(start, len(part.stem), part.past, part.keep, filled))
    return Forward(
        torch.tensor([ids], dtype=torch.long, device=like.device),
        torch.tensor([positions], dtype=torch.long, device=like.device),
        torch.tensor(list(wanted), dtype=torch.long, device=like.device),
        reads,
        tuple(segments),
    )


def _sides(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    """Neighbouring blocks, few enough that their square mask stays small."""
    side: list[Block] = []
    rows = 0
    for block in blocks:
        if side and rows + len(block.ids) > _SIDE:
            yield side
            side, rows = [], 0
        side.append(block)
        rows += len(block.ids)
    if side:
        yield side


def _side(blocks: Sequence[Block], start: int, seen: int, like: torch.Tensor) -> Band:
    rows = sum(len(block.ids) for block in blocks)
    hidden = torch.ones(rows, rows, dtype=torch.bool)
    base = 0
    for block in blocks:
        end = base + len(block.ids)
        if block.parents == tuple(range(-1, len(block.ids) - 1)):
            hidden[base:end, base:end].triu_(1)
        else:
            for row, parent in enumerate(block.parents, base):
                if parent >= 0:
                    hidden[row] = hidden[base + parent]
                hidden[row, row] = False
        base = end
    mask = torch.zeros(rows, rows).masked_fill_(hidden, float("-inf"))
    return Band(start, rows, seen, mask.to(like))
