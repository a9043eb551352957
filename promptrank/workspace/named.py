"""Rankers by name, as ``--teacher`` and ``--vs`` give them."""

from collections.abc import Sequence
from dataclasses import dataclass

from promptrank.errors import InputError


@dataclass(frozen=True, slots=True)
class Named:
    """A ranker that somebody named.

    Attributes:
        kind: ``base``, ``adapter``, ``student`` or ``scores``.
        name: of the adapter or student, or the path of the scores file.
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
    shown = [k if k == "base" else f"{k}:{'FILE' if k == 'scores' else 'NAME'}" for k in kinds]
    raise InputError(f"{text!r}: write {', '.join(shown[:-1])} or {shown[-1]}")
