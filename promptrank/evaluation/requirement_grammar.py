"""The grammar of the gate's requirements.

::

    METRIC [SLICING=SLICE] COMPARISON NUMBER               auc >= 0.7
    METRIC [SLICING=SLICE] COMPARISON RANKER               ndcg@10[history=1-2] >= baseline:best
    METRIC [SLICING=SLICE] COMPARISON RANKER +|- NUMBER    auc >= base + 0.01
    ... clear                                              auc >= base clear

COMPARISON is one of ``>=``, ``<=``, ``>``, ``<``. Names may hold ``+`` and ``-``, so the sign of a
margin stands between spaces; without them it is one only where the whole is no ranker's name and
what stands before the sign is: `spaced`.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from promptrank.basics.hints import near_names
from promptrank.errors import InputError
from promptrank.evaluation.metrics import Metric, parse_metrics
from promptrank.evaluation.slices import check_names

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_METRIC = re.compile(r"[^\s\[\]<>=]+")
# An expression may hold >=, <=, == and !=; what is no part of them parts slicing and slice.
_SLICE = re.compile(r"\[\s*((?:[<>=!]=|[^\]=])+?)\s*(?<![<>=!])=(?!=)\s*([^\]]*?)\s*\]")
_COMPARISON = re.compile(r">=|<=|>|<")
_CLEAR = re.compile(r"\s+clear$")
_MARGIN = re.compile(rf"\s+([+-])\s*({_NUMBER})$")
_CLOSE_MARGIN = re.compile(r"\s*([+-])\s*(\d*\.\d+|\d+e-\d+)$")
"""A margin without spaces has a point: ``v-2`` is a name, and no metric differs by 2."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement, taken apart.

    Attributes:
        slicing, slice: the part it is about; None for the whole.
        ranker: what the judged ranker is held against; None for a number.
        number: that number, or the margin on top of the ranker's metric.
        clear: whether the interval decides.
    """

    text: str
    metric: str
    slicing: str | None
    slice: str | None
    comparison: str
    ranker: str | None
    number: float
    clear: bool

    @property
    def upwards(self) -> bool:
        """Whether large values pass."""
        return self.comparison.startswith(">")

    @property
    def doubt(self) -> str | None:
        """What is to be told where it asks for a bad ranker, such as ``log_loss >= 0.1``."""
        (metric,) = parse_metrics([self.metric])
        if self.upwards != metric.lower_is_better:
            return None
        better, turned = ("less", "<") if metric.lower_is_better else ("more", ">")
        return (
            f"--require {self.text!r} holds where the ranker is bad: {better} is better for "
            f"{self.metric}; did you mean {turned}{self.comparison[1:]}?"
        )


def parse_requirement(text: str) -> Requirement:
    """A requirement in the grammar of this module.

    Raises:
        InputError: anything else; the message points at the place. An unknown metric or slicing,
            and a number that the metric cannot reach, too.
    """
    reader = _Reader(text)
    metric = reader.take(_METRIC, "a metric, such as auc or ndcg@10")[0]
    part: tuple[str, str] | None = None
    if reader.peek("["):
        cut = reader.take(_SLICE, "a slice, such as [history=1-2]")
        part = cut[1], cut[2]
    comparison = reader.take(_COMPARISON, "one of >=, <=, > and <")[0]
    against, clear = _CLEAR.subn("", reader.left())
    if not against or against == "clear" or against[0] in "<>=":
        raise reader.error("a number or a ranker, such as 0.7, base or baseline:best")
    ranker, number = _target(against)
    if math.isinf(number):
        raise reader.error("a number that is not as large")
    if ranker is not None and not ranker.strip("+-0123456789. "):
        raise reader.error("one number, or a ranker and a margin, such as base + 0.01")
    try:
        (parsed,) = parse_metrics([metric])
        check_names([part[0]] if part is not None else [])
        _check_words(against)
        _check_scale(parsed, ranker, number)
    except InputError as error:
        raise InputError(f"--require {text!r}: {error}") from None
    slicing_name, slice_name = part or (None, None)
    return Requirement(
        text.strip(), metric, slicing_name, slice_name, comparison, ranker, number, bool(clear)
    )


def parse_requirements(texts: Iterable[str]) -> tuple[Requirement, ...]:
    """Requirements, each once."""
    return tuple(parse_requirement(text) for text in dict.fromkeys(texts))


def spaced(
    requirements: Iterable[Requirement], known: Callable[[str], bool]
) -> Iterator[Requirement]:
    """Requirements whose margins without spaces are told from names: ``base+0.01``.

    Args:
        known: whether a ranker of that name is compared.
    """
    for asked in requirements:
        name = asked.ranker or ""
        margin = _CLOSE_MARGIN.search(name)
        if margin is None or asked.number or known(name) or not known(name[: margin.start()]):
            yield asked
            continue
        number = float(margin[1] + margin[2])
        _check_scale(parse_metrics([asked.metric])[0], name[: margin.start()], number)
        yield replace(asked, ranker=name[: margin.start()], number=number)


def without_margin(name: str) -> str:
    """What a ranker's name would be if a margin without spaces ended it: ``bas+0.1`` -> ``bas``."""
    return _CLOSE_MARGIN.sub("", name)


class _Reader:
    """A text read from left to right, which knows how far."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def peek(self, sign: str) -> bool:
        self._skip()
        return self.text.startswith(sign, self.at)

    def take(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        self._skip()
        match = pattern.match(self.text, self.at)
        if match is None:
            raise self.error(what)
        self.at = match.end()
        return match

    def left(self) -> str:
        """What is still to be read, up to the end."""
        self._skip()
        return self.text[self.at :].rstrip()

    def error(self, what: str) -> InputError:
        shown = "".join(" " if c.isspace() else c for c in self.text)
        return InputError(
            f"--require {self.text!r}: expected {what} here:\n  {shown}\n  {' ' * self.at}^"
        )


def _target(text: str) -> tuple[str | None, float]:
    """What stands on the right: a ranker or none, and a number or a margin."""
    if re.fullmatch(_NUMBER, text):
        return None, float(text)
    margin = _MARGIN.search(text)
    if margin is None:
        return text, 0.0
    return text[: margin.start()], float(margin[1] + "1") * float(margin[2])


def _check_words(against: str) -> None:
    """Refuse what looks like a word of the grammar and would be taken for a part of a name."""
    before, _, last = against.rpartition(" ")
    if before and near_names(last.lower(), ["clear"], cutoff=0.7):
        raise InputError(f"{last!r} at the end: did you mean 'clear'?")
    if re.fullmatch(rf"{_NUMBER}\s*%", against):
        raise InputError(f"write {float(against.rstrip(' %')) / 100:g} for {against}")


def _check_scale(metric: Metric, ranker: str | None, number: float) -> None:
    """Refuse numbers that no value of a metric reaches, and margins wider than its scale."""
    most = metric.kind.largest
    upper = math.inf if most is None else most
    if ranker is not None:
        if abs(number) > upper:
            raise InputError(
                f"a margin of {number:g} decides by itself: {metric.name} lies in 0 to {upper:g}"
            )
        return
    if not 0 <= number <= upper:
        scale = "is never below 0" if most is None else f"lies in 0 to {most:g}"
        percent = f"; did you mean {number / 100:g}?" if 1 < number <= 100 else ""
        raise InputError(f"{metric.name} {scale}, and never reaches {number:g}{percent}")
