"""The gate: what a ranker must reach before it ships, and whether it does.

Requirements are written in the grammar of `promptrank.evaluation.requirement_grammar`. On the left
is the ranker that ``eval`` judges. The values themselves decide. With ``clear`` the interval does:
its near end must reach the limit too.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from operator import ge, gt, le, lt

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.evaluation.report import Report, ReportSlice, RequirementResult
from promptrank.evaluation.requirement_grammar import Requirement, spaced, without_margin
from promptrank.evaluation.slices import Slicing
from promptrank.evaluation.verdict import best_baseline, lead_over, row_of
from promptrank.schema.metric_names import without_sampling

BASELINE, BEST = "baseline:", "baseline:best"

_HOLDS: dict[str, Callable[[float, float], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}


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
) -> tuple[Requirement, ...]:
    """Refuse what names no ranker of the comparison, before anything is ranked.

    Args:
        rankers: those that will be compared, by name.
        baselines: which of them are baselines.

    Returns:
        The requirements, with margins that were written without spaces told from names.

    Raises:
        InputError: a ranker that is not compared, or the judged one itself.
    """

    def known(name: str) -> bool:
        return name == BEST or _row_name(name, rankers) in rankers

    requirements = tuple(spaced(requirements, known))
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
            others = [BEST, *(ranker for ranker in rankers if ranker != judged)]
            asked, spaces = without_margin(requirement.ranker), ""
            if asked != requirement.ranker:
                spaces = ", and a margin stands between spaces: base + 0.01"
            raise InputError(
                f"{where}: no ranker {asked!r} is compared; "
                f"{near(asked, others)} (--vs adds rankers{spaces})"
            )
    return requirements


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
    part = None if asked.slicing is None else f"{asked.slicing}={asked.slice}"
    return RequirementResult(
        asked.text,
        holds,
        reason,
        value,
        ranker,
        limit,
        low,
        high,
        short,
        subjects,
        metric=asked.metric,
        part=part,
        comparison=asked.comparison,
        margin=asked.number if ranker is not None else None,
        clear=asked.clear,
    )


def metrics_needed(metrics: Sequence[str], requirements: Iterable[Requirement]) -> list[str]:
    """A task's metrics, and those that requirements name besides."""
    return list(dict.fromkeys([*metrics, *(r.metric for r in requirements)]))


def slicings_needed(slices: Sequence[str], requirements: Iterable[Requirement]) -> list[str]:
    """Slicings that were asked for, and those that requirements name besides."""
    named = [r.slicing for r in requirements if r.slicing is not None]
    return list(dict.fromkeys([*slices, *named]))
