"""The gate: what a ranker must reach before it ships, in a small grammar.

::

    METRIC [SLICING=SLICE] COMPARISON NUMBER               auc >= 0.7
    METRIC [SLICING=SLICE] COMPARISON RANKER               ndcg@10[history=1-2] >= baseline:best
    METRIC [SLICING=SLICE] COMPARISON RANKER +|- NUMBER    auc >= base + 0.01
    ... clear                                              auc >= base clear

On the left is the ranker that ``eval`` judges. COMPARISON is one of ``>=``, ``<=``, ``>``, ``<``;
the sign of a margin stands between spaces, since names may hold ``+`` and ``-``. The values
themselves decide. With ``clear`` the interval does: its near end must reach the limit too.
"""

import math
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import ge, gt, le, lt

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.evaluation.metrics import parse_metrics
from promptrank.evaluation.report import Report, ReportSlice, RequirementResult
from promptrank.evaluation.slices import Slicing, check_names
from promptrank.evaluation.verdict import best_baseline, lead_over, row_of
from promptrank.schema.metric_names import without_sampling

BASELINE, BEST = "baseline:", "baseline:best"

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_METRIC = re.compile(r"[^\s\[\]<>=]+")
# An expression may hold >=, <=, == and !=; what is no part of them parts slicing and slice.
_SLICE = re.compile(r"\[\s*((?:[<>=!]=|[^\]=])+?)\s*(?<![<>=!])=(?!=)\s*([^\]]*?)\s*\]")
_COMPARISON = re.compile(r">=|<=|>|<")
_CLEAR = re.compile(r"\s+clear$")
_MARGIN = re.compile(rf"\s+([+-])\s*({_NUMBER})$")

_HOLDS: dict[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}


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


def parse_requirement(text: str) -> Requirement:
    """A requirement in the grammar of this module.

    Raises:
        InputError: anything else; the message points at the place. An unknown metric or slicing,
            too.
    """
    reader = _Reader(text)
    metric = reader.take(_METRIC, "a metric, such as auc or ndcg@10")[0]
    part: tuple[str, str] | None = None
    if reader.peek("["):
        cut = reader.take(_SLICE, "a slice, such as [history=1-2]")
        part = cut[1], cut[2]
    comparison = reader.take(_COMPARISON, "one of >=, <=, > and <")[0]
    against, clear = _CLEAR.subn("", reader.left())
    if not against or against == "clear":
        raise reader.error("a number or a ranker, such as 0.7, base or baseline:best")
    ranker, number = _target(against)
    if math.isinf(number):
        raise reader.error("a number that is not as large")
    if ranker is not None and not ranker.strip("+-0123456789. "):
        raise reader.error("one number, or a ranker and a margin, such as base + 0.01")
    try:
        parse_metrics([metric])
        check_names([part[0]] if part is not None else [])
    except InputError as error:
        raise InputError(f"--require {text!r}: {error}") from None
    slicing_name, slice_name = part or (None, None)
    return Requirement(
        text.strip(), metric, slicing_name, slice_name, comparison, ranker, number, bool(clear)
    )


def parse_requirements(texts: Iterable[str]) -> tuple[Requirement, ...]:
    """Requirements, each once."""
    return tuple(parse_requirement(text) for text in dict.fromkeys(texts))


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


def check_slices(requirements: Iterable[Requirement], slicings: Iterable[Slicing]) -> None:
    """Refuse what names no slice of its slicing, before anything is ranked.

    Args:
        slicings: those of all requirements.

    Raises:
        InputError: the slicing has no such slice.
    """
    labels = {slicing.name: slicing.labels for slicing in slicings}
    for asked in requirements:
        if asked.slicing is not None and asked.slice not in labels[asked.slicing]:
            hint = near(asked.slice or "", labels[asked.slicing])
            raise InputError(f"--require {asked.text!r}: {asked.slicing} has no such slice; {hint}")


def check_rankers(
    requirements: Iterable[Requirement],
    judged: str,
    rankers: Collection[str],
    baselines: Collection[str],
) -> None:
    """Refuse what names no ranker of the comparison, before anything is ranked.

    Args:
        rankers: those that will be compared, by name.
        baselines: which of them are baselines.

    Raises:
        InputError: a ranker that is not compared, or the judged one itself.
    """
    for requirement in requirements:
        if requirement.ranker is None:
            continue
        name = _row_name(requirement.ranker, rankers)
        where = f"--require {requirement.text!r}"
        if name == BEST:
            if not baselines:
                raise InputError(f"{where}: there is no baseline here; name another ranker")
        elif name == judged:
            raise InputError(f"{where}: {name} is the ranker that is judged; name another one")
        elif name not in rankers:
            known = [BEST, *(ranker for ranker in rankers if ranker != judged)]
            raise InputError(
                f"{where}: no ranker {requirement.ranker!r} is compared; "
                f"{near(requirement.ranker, known)} (--vs adds rankers)"
            )


def _row_name(name: str, rankers: Collection[str]) -> str:
    """A ranker's name in the report: a baseline may be given with or without ``baseline:``."""
    if name == BEST or name in rankers:
        return name
    plain, longer = name.removeprefix(BASELINE), f"{BASELINE}{name}"
    return plain if plain in rankers else longer if longer in rankers else name


def results_of(report: Report, requirements: Iterable[Requirement]) -> list[RequirementResult]:
    """Whether each requirement holds in a report; ``auc`` is ``auc~u99`` where that is measured."""
    names = {without_sampling(name): name for name in report.metrics}
    return [
        _result(report, replace(asked, metric=names.get(asked.metric, asked.metric)))
        for asked in requirements
    ]


def _result(report: Report, asked: Requirement) -> RequirementResult:
    def undecided(reason: str) -> RequirementResult:
        return RequirementResult(asked.text, None, reason)

    part = _part(report, asked)
    if part is None:
        return undecided(f"no compared candidate is in {asked.slicing} {asked.slice}")
    judged = report.judged or report.reference
    row = row_of(part, judged)
    if row is None or asked.metric not in row.cells:
        return undecided(f"{asked.metric} of {judged} is not measured")
    cell = row.cells[asked.metric]
    if cell.value is None:
        return undecided(f"{asked.metric} of {judged} is undefined: {cell.reason}")
    subjects = part.counts.subjects
    if asked.ranker is None:
        ends = None if cell.low is None or cell.high is None else (cell.low, cell.high)
        return _decided(asked, cell.value, None, asked.number, ends, ends, subjects)
    name: str | None = _row_name(asked.ranker, [r.name for r in part.rankers])
    if name == BEST:
        name = best_baseline(part, report.baselines, asked.metric)
        if name is None:
            return undecided(f"no baseline has a value of {asked.metric}")
    other = row_of(part, name or "")
    if name is None or other is None:
        return undecided(f"{asked.ranker} is not compared: {report.absent.get(asked.ranker, '')}")
    lead, theirs = lead_over(report, part, name, asked.metric), other.cells[asked.metric]
    if lead is None or theirs.value is None:
        return undecided(f"{asked.metric} of {name} is undefined: {theirs.reason}")
    limit = theirs.value + asked.number
    reach = None
    if lead.ends is not None:
        reach = theirs.value + lead.ends[0], theirs.value + lead.ends[1]
    return _decided(asked, cell.value, name, limit, lead.ends, reach, subjects)


def _part(report: Report, asked: Requirement) -> Report | ReportSlice | None:
    if asked.slicing is None:
        return report
    at = asked.slicing, asked.slice
    return next((part for part in report.slices if (part.by, part.name) == at), None)


def _decided(
    asked: Requirement,
    value: float,
    ranker: str | None,
    limit: float,
    ends: tuple[float, float] | None,
    reach: tuple[float, float] | None,
    subjects: int,
) -> RequirementResult:
    """Hold a value, or the near end of its interval, against a limit.

    Args:
        ends: the interval that is shown: of the difference, or of the value.
        reach: the interval of the value itself, given the other ranker's.
    """
    low, high = ends if ends is not None else (None, None)
    decides: float | None = value
    if asked.clear:
        decides = None if reach is None else reach[0] if asked.upwards else reach[1]
    reason = None
    holds, short = None, None
    if decides is None:
        reason = "there is no interval, and `clear` needs one"
    else:
        holds = _HOLDS[asked.comparison](decides, limit)
        short = None if holds else abs(limit - decides)
    return RequirementResult(
        asked.text, holds, reason, value, ranker, limit, low, high, short, subjects
    )


def metrics_needed(metrics: Sequence[str], requirements: Iterable[Requirement]) -> list[str]:
    """A task's metrics, and those that requirements name besides."""
    return list(dict.fromkeys([*metrics, *(r.metric for r in requirements)]))


def slicings_needed(slices: Sequence[str], requirements: Iterable[Requirement]) -> list[str]:
    """Slicings that were asked for, and those that requirements name besides."""
    named = [r.slicing for r in requirements if r.slicing is not None]
    return list(dict.fromkeys([*slices, *named]))
