"""Parts laid out as the rows of one forward pass: ids, positions, and who sees whom."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby, pairwise
from operator import itemgetter
from typing import Any, Self

import torch

from promptrank.engine.cutting import Block, KeptKeys, Part
from promptrank.engine.flex import Spans, spans_of
from promptrank.engine.sliding import Windows

_BAND = 128  # stem rows attended at once, about
_SIDE = 80  # block rows attended at once, about, if more than one block


@dataclass(frozen=True, slots=True)
class Band:
    """Neighbouring rows that are attended at once.

    Attributes:
        start, rows: where they are.
        seen: where the past's and the stem's keys end that they see.
        mask: (rows, rows), -inf where a row must not see another of the band, else 0.
        since: the first of those keys that any of them sees; later than 0 in a sliding window.
        edge: (rows, keys from ``since`` that some of them no longer see), -inf and 0 as in
            ``mask``; None where all see all.
    """

    start: int
    rows: int
    seen: int
    mask: torch.Tensor
    since: int = 0
    edge: torch.Tensor | None = None

    def to(self, device: Any) -> Self:
        """The same on another device."""
        edge = None if self.edge is None else self.edge.to(device)
        return replace(self, mask=self.mask.to(device), edge=edge)


@dataclass(frozen=True, slots=True)
class Segment:
    """One part's rows: ``stem`` of them from ``start``, then its blocks; all cut into bands.

    Attributes:
        narrow: by sliding window the bands of its layers, where they differ from ``bands``.
    """

    start: int
    stem: int
    past: KeptKeys | None
    keep: KeptKeys | None
    bands: tuple[Band, ...]
    narrow: Mapping[int, tuple[Band, ...]] = field(default_factory=dict)

    def within(self, window: int | None) -> tuple[Band, ...]:
        """The bands of a layer with this window."""
        return self.bands if window is None else self.narrow.get(window, self.bands)

    def to(self, device: Any) -> Self:
        """The same on another device."""
        narrow = {w: tuple(band.to(device) for band in self.narrow[w]) for w in self.narrow}
        return replace(self, bands=tuple(band.to(device) for band in self.bands), narrow=narrow)


@dataclass(frozen=True, slots=True)
class Forward:
    """Everything one pass needs.

    Attributes:
        ids, positions: (1, rows).
        logit_rows: rows whose logits are read.
        reads: per part and block read, its index in ``logit_rows``.
        segments: the attention layout; without bands where there are spans.
        windows: per layer (see `sliding.Windows`); empty where no layer has one.
        spans: the layout for one FlexAttention, which knows no windows.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    logit_rows: torch.Tensor
    reads: list[list[int]]
    segments: tuple[Segment, ...]
    windows: Windows = ()
    spans: Spans | None = None


def lay_out(
    parts: Sequence[Part], like: torch.Tensor, windows: Windows = (), flex: bool = False
) -> Forward:
    """The tensors of one forward pass, on the device and, for masks, of the dtype of ``like``.

    Args:
        windows: of the model's layers; none for a model that has no sliding windows.
        flex: make spans in place of bands; for paths that no window cuts.
    """
    distinct = {window for window in windows if window is not None}
    ids: list[int] = []
    positions: list[int] = []
    wanted: dict[int, int] = {}
    reads: list[list[int]] = []
    segments = []
    longest = max((rows for part in parts for _, rows in _cuts(len(part.stem), _BAND)), default=0)
    causal = torch.full((longest, longest), float("-inf")).triu(1).to(like)
    for part in parts:
        start, after = len(ids), part.before + len(part.stem)
        ids += part.stem
        positions += range(part.before, after)
        bands = []
        for low, rows in () if flex else _cuts(len(part.stem), _BAND):
            bands.append(Band(start + low, rows, part.before + low, causal[:rows, :rows]))
        part_reads = []
        for blocks in _sides(part.blocks):
            if not flex:
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
        narrow = _narrowed(filled, positions, distinct, like)
        segments.append(Segment(start, len(part.stem), part.past, part.keep, filled, narrow))
    return Forward(
        torch.tensor([ids], dtype=torch.long, device=like.device),
        torch.tensor([positions], dtype=torch.long, device=like.device),
        torch.tensor(list(wanted), dtype=torch.long, device=like.device),
        reads,
        tuple(segments),
        windows if distinct else (),
        spans_of(parts, like.device) if flex else None,
    )


def _narrowed(
    bands: tuple[Band, ...], positions: Sequence[int], windows: Iterable[int], like: torch.Tensor
) -> dict[int, tuple[Band, ...]]:
    """By window the bands that end on the left, where the window is shorter than a path."""
    narrow = {}
    for window in windows:
        mine = tuple(_narrow(band, positions, window, like) for band in bands)
        if any(band is not own for band, own in zip(mine, bands, strict=True)):
            narrow[window] = mine
    return narrow


def _narrow(band: Band, positions: Sequence[int], window: int, like: torch.Tensor) -> Band:
    """The band in a layer with this window.

    A key's place among the past's and the stem's is its position, and rows see none before
    their own position - window + 1.
    """
    places = positions[band.start : band.start + band.rows]
    first, last = min(places) - window + 1, max(places) - window + 1
    if last <= 0:
        return band
    since, until = max(0, first), min(last, band.seen)
    mine = torch.tensor(places)
    left = mine[:, None] - window  # the last position that a row no longer sees
    mask, edge = band.mask, None
    if until > since:
        edge = _hidden(torch.arange(since, until) <= left, like)
    if last > min(places):
        mask = mask + _hidden(mine <= left, like)
    return Band(band.start, band.rows, band.seen, mask, since, edge)


def _hidden(hidden: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """-inf where ``hidden``, else 0."""
    return torch.zeros(hidden.shape).masked_fill_(hidden, float("-inf")).to(like)


def _pieces(rows: int, size: int) -> int:
    """How many even pieces of about ``size`` rows make ``rows``."""
    return max(1, round(rows / size))


def _cuts(rows: int, size: int) -> list[tuple[int, int]]:
    """Even pieces of about ``size`` rows: where each begins, and its rows."""
    pieces = _pieces(rows, size)
    ends = [rows * n // pieces for n in range(pieces + 1)]
    return [(low, high - low) for low, high in pairwise(ends)]


def _sides(blocks: Sequence[Block]) -> Iterator[list[Block]]:
    """Neighbouring blocks, few enough that their square mask stays small."""
    ends = list(accumulate(len(block.ids) for block in blocks))
    rows = ends[-1] if ends else 0
    pieces = _pieces(rows, _SIDE)
    # A block goes to the piece that its middle lies in.
    where = (
        (2 * end - len(block.ids)) * pieces // max(1, 2 * rows)
        for block, end in zip(blocks, ends, strict=True)
    )
    for _, side in groupby(zip(where, blocks, strict=True), key=itemgetter(0)):
        yield [block for _, block in side]


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
    return Band(start, rows, seen, _hidden(hidden, like))
