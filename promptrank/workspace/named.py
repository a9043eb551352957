"""Rankers by name, as ``--teacher`` and ``--vs`` give them."""

from collections.abc import Sequence
from dataclasses import dataclass

from promptrank.errors import InputError

_WHAT = {"scores": "FILE", "rrf": "decoder+bm25"}


@dataclass(frozen=True, slots=True)
class Named:
    """A ranker that somebody named.

    Attributes:
        kind: ``base``, ``adapter``, ``student``, ``baseline``, ``scores`` or ``rrf``.
        name: of the adapter, student or baseline, the path of the scores file, or the rankers that
            are fused by their ranks, as ``decoder+bm25``.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def parse_named(text: str, kinds: Sequence[str]) -> Named:
    """``base``, ``adapter:NAME``, ``student:NAME`` or ``scores:FILE``, those of ``kinds``.

    Raises:
        InputError: anything else.
    """
    kind, _, name = text.partition(":")
    if kind in kinds and bool(name) == (kind != "base"):
        return Named(kind, name)
    shown = [k if k == "base" else f"{k}:{_WHAT.get(k, 'NAME')}" for k in kinds]
    raise InputError(f"{text!r}: write {', '.join(shown[:-1])} or {shown[-1]}")
