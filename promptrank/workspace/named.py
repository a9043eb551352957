"""Rankers by name, as ``--teacher`` and ``--vs`` give them."""

from collections.abc import Sequence
from dataclasses import dataclass

from promptrank.basics.hints import near_names
from promptrank.errors import InputError

_WHAT = {"scores": "FILE", "template": "FILE", "rrf": "decoder+bm25"}
_ALONE = ("base", "logged")
"""Kinds of which there is one, so that they have no name."""


@dataclass(frozen=True, slots=True)
class Named:
    """A ranker that somebody named.

    Attributes:
        kind: ``base``, ``logged``, ``adapter``, ``student``, ``baseline``, ``template``, ``scores``
            or ``rrf``.
        name: of the adapter, student, baseline or template, the path of the scores file, or the
            rankers that are fused by their ranks, as ``decoder+bm25``.
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
    if kind in kinds and bool(name) == (kind not in _ALONE):
        return Named(kind, name)
    shown = [k if k in _ALONE else f"{k}:{_WHAT.get(k, 'NAME')}" for k in kinds]
    raise InputError(f"{text!r}: {_hint(text, kinds)}write {', '.join(shown[:-1])} or {shown[-1]}")


def _hint(text: str, kinds: Sequence[str]) -> str:
    """``did you mean 'baseline:bm25'? ``, where the kind was left out or is misspelt."""
    from promptrank.baselines.listing import BASELINES

    kind, colon, name = text.partition(":")
    if text in BASELINES and "baseline" in kinds:
        return f"did you mean 'baseline:{text}'? "
    close = near_names(kind, kinds)
    if close and bool(name) == (close[0] not in _ALONE):
        return f"did you mean '{close[0]}{colon}{name}'? "
    return ""
