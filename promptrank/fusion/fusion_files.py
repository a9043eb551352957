"""Fusion files: one fitted fusion each, as JSON."""

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

from promptrank.basics.seals import read_kept, write_sealed
from promptrank.errors import ModelError
from promptrank.fusion.layers import FittedFusion

_AGAIN = "fit it again with `promptrank fuse`"


def write_fusion(path: Path, fusion: FittedFusion) -> None:
    """Write a fusion file, with a seal."""
    write_sealed(path, asdict(fusion), indent=1)


def read_fusion(path: Path) -> FittedFusion:
    """Read a fusion file.

    Raises:
        ModelError: it cannot be read; the message lists every problem.
    """
    what = "a fusion file of this promptrank"
    fusion = read_kept(path, FittedFusion, what=what, error=ModelError, then=_AGAIN)
    for part in ("fused", "without"):
        for weight in getattr(fusion, part).weights:
            if weight.scale <= 0:
                raise ModelError(
                    f"{path}: {part}: the scale of {weight.name} is {weight.scale}; {_AGAIN}"
                )
    knots = fusion.knots
    rising = all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(knots))
    if not rising or any(not 0 < chance < 1 for _, chance in knots):
        raise ModelError(f"{path}: knots: do not rise within (0, 1); {_AGAIN}")
    if (fusion.by == "isotonic") != bool(knots):
        raise ModelError(f"{path}: knots: there are {len(knots)} by {fusion.by}; {_AGAIN}")
    return fusion
