"""Ships, does not ship, or the data cannot tell: a report in one sentence.

The ranker that is judged has to beat what is served today (``logged``; the best baseline where the
log holds no scores) and those decoders that it was compared with (``base``, ``adapter:NAME``,
``template:FILE``), on the first metric that can be computed. It ships where it is better than all
of them, does not where it is worse than one, by intervals that are corrected for all comparisons of
the report: that is why the best baseline may be chosen on the same data.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from promptrank.basics.plurals import counted
from promptrank.evaluation.metrics import parse_metrics
from promptrank.evaluation.report import Counts, Report, ReportSlice, RequirementResult, Verdict
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Difference, RankerRow

SHIPS, DOES_NOT, CANNOT_TELL = "ships", "does not ship", "the data cannot tell"
LOGGED, CHANCE = "logged", "random"
_MOST = 1000  # times the data at hand; what needs more is not worth asking for


def verdict_of(report: Report, also: Collection[str] = ()) -> Verdict | None:
    """The verdict of a report; None where nothing stands beside the judged ranker or is required.

    Args:
        also: rankers that it has to beat besides what is served today.
    """
    judged = report.judged or report.reference
    cells = report.ranker(judged).cells
    metric, leads = None, dict[str, Difference]()
    for name in report.metrics:
        if not leads and cells[name].value is not None:
            metric, leads = name, _leads(report, name, also)
    if report.requirements:
        outcome, text = _by_requirements(report.requirements, judged)
        return Verdict(outcome, text, judged, metric, tuple(leads))
    if not leads or metric is None:
        undefined = [cells[name].reason for name in report.metrics if cells[name].value is None]
        if len(report.rankers) > 1 and undefined and len(undefined) == len(report.metrics):
            text = f"{CANNOT_TELL}: {report.metrics[0]} of {judged} is undefined: {undefined[0]}"
            return Verdict(CANNOT_TELL, text, judged, None, ())
        return None
    verdict = _by_leads(report, judged, metric, leads)
    aside = _set_aside(report, leads, also)
    if verdict.outcome != SHIPS or not aside:
        return verdict
    why = "; ".join(f"{name}: {reason}" for name, reason in aside.items())
    text = f"{CANNOT_TELL}: not compared with what it has to beat ({why})"
    return replace(verdict, outcome=CANNOT_TELL, text=text)


def _set_aside(report: Report, leads: Collection[str], also: Collection[str]) -> dict[str, str]:
    """What would have to be beaten and is not compared, with the reason."""
    must = [LOGGED, *also]
    aside = {name: report.absent[name] for name in must if name in report.absent}
    undefined = {
        name: "its lead is undefined"
        for name in also
        if name not in leads and name not in aside and name != (report.judged or report.reference)
    }
    return aside | undefined


def _leads(report: Report, metric: str, also: Collection[str]) -> dict[str, Difference]:
    """The judged ranker's lead over each ranker that it has to beat."""
    beat = _to_beat(report, metric, also)
    leads = {name: lead_over(report, report, name, metric) for name in beat}
    return {name: lead for name, lead in leads.items() if lead is not None}


def _by_leads(report: Report, judged: str, metric: str, leads: Mapping[str, Difference]) -> Verdict:
    sides = {lead.verdict for lead in leads.values()}
    side: str | None = "worse" if "worse" in sides else "better" if sides == {"better"} else None
    outcome = {"worse": DOES_NOT, "better": SHIPS, None: CANNOT_TELL}[side]
    shown = {name: lead for name, lead in leads.items() if lead.verdict == side}
    roles = _roles(report)
    gaps = " and ".join(_gap(lead, name, roles.get(name)) for name, lead in shown.items())
    text = f"{outcome}: {metric} of {judged} is {gaps}"
    if outcome != CANNOT_TELL:
        return Verdict(outcome, text, judged, metric, tuple(leads))
    counts = report.counts
    subjects = _more_subjects([*shown.values()], counts)
    if subjects is None:
        text += f"; {_why_not(shown.values())}"
        return Verdict(outcome, text, judged, metric, tuple(leads))
    requests = _rounded(subjects * counts.requests / counts.subjects)
    of = "" if subjects == requests else f" of {counted(subjects, 'more subject')}"
    text += f"; about {counted(requests, 'more request')}{of} could"
    return Verdict(outcome, text, judged, metric, tuple(leads), subjects, requests)


def lead_over(
    report: Report, part: Report | ReportSlice, name: str, metric: str
) -> Difference | None:
    """The judged ranker's metric minus another's, in the report or in one of its slices."""
    row = row_of(part, name)
    if row is None:
        return None
    if report.judged in (None, report.reference):
        difference = row.differences.get(metric)
        return difference.turned if difference is not None else None
    return row.behind.get(metric)


def row_of(part: Report | ReportSlice, name: str) -> RankerRow | None:
    """A ranker's row, where it is compared there."""
    return next((row for row in part.rankers if row.name == name), None)


def best_baseline(
    part: Report | ReportSlice, baselines: Collection[str], metric: str
) -> str | None:
    """The baseline with the best value of a metric; chance and what is served are none."""
    (parsed,) = parse_metrics([metric])
    sign = -1 if parsed.lower_is_better else 1
    values = {
        row.name: row.cells[metric].value
        for row in part.rankers
        if row.name in baselines and row.name not in (LOGGED, CHANCE)
    }
    known = {name: sign * value for name, value in values.items() if value is not None}
    return max(known, key=known.__getitem__, default=None)


def _to_beat(report: Report, metric: str, also: Collection[str]) -> list[str]:
    """What is served today, or the best baseline, or chance where that is all there is; and more.

    Of baselines whose values are equal the first is taken.
    """
    names = [row.name for row in report.rankers]
    judged = report.judged or report.reference
    served = LOGGED if LOGGED in names else best_baseline(report, report.baselines, metric)
    more = [name for name in names if name in also]
    if served is None and not more:
        served = CHANCE if CHANCE in names else None
    beat = [*([served] if served is not None else []), *more]
    return [name for name in dict.fromkeys(beat) if name != judged]


def _roles(report: Report) -> dict[str, str]:
    """What a reader should know of a ranker that had to be beaten."""
    roles = {name: "the best baseline" for name in report.baselines}
    return roles | {LOGGED: "which is served today", CHANCE: "which is chance"}


def _gap(lead: Difference, name: str, role: str | None) -> str:
    """``.031 (+.010 to +.052) above logistic, the best baseline``."""
    size = f"{number(abs(lead.value))} " if lead.value else ""
    ends = f"({number(lead.ends[0], '+')} to {number(lead.ends[1], '+')}) " if lead.ends else ""
    where = "above" if lead.value > 0 else "below" if lead.value < 0 else "as high as that of"
    return f"{size}{ends}{where} {name}" + (f", {role}" if role is not None else "")


def _more_subjects(leads: Sequence[Difference], counts: Counts) -> int | None:
    """How many more subjects would show, four times in five, differences as large as these.

    A standard error shrinks with the root of the number of subjects, and so does the smallest
    difference that data can show: n (detectable / difference)^2 subjects are needed.
    """
    most = 1.0
    for lead in leads:
        if lead.detectable is None or abs(lead.value) * math.sqrt(_MOST) < lead.detectable:
            return None
        if lead.value:
            most = max(most, (lead.detectable / lead.value) ** 2)
    return _rounded(counts.subjects * (most - 1)) or None


def _why_not(leads: Iterable[Difference]) -> str:
    if any(lead.detectable is None for lead in leads):
        return "there is no interval: one subject, too few of them, or no draws"
    return f"to show so small a difference takes more than {_MOST:,} times this data"


def _rounded(count: float) -> int:
    """Upwards, to two digits: it is an estimate."""
    if count <= 0:
        return 0
    step = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return math.ceil(count / step - 1e-9) * step


def _by_requirements(results: Sequence[RequirementResult], judged: str) -> tuple[str, str]:
    """Outcome and text where requirements are given: they decide."""
    every = f"{len(results)} requirement{'s' if len(results) > 1 else ''}"
    failing = [result.text for result in results if result.holds is False]
    if failing:
        verb = "fails" if len(failing) == 1 else "fail"
        return DOES_NOT, f"{DOES_NOT}: {len(failing)} of {every} {verb} ({'; '.join(failing)})"
    unknown = [result.text for result in results if result.holds is None]
    if unknown:
        why = f"{len(unknown)} of {every} cannot be decided ({'; '.join(unknown)})"
        return CANNOT_TELL, f"{CANNOT_TELL}: {why}"
    return SHIPS, f"{SHIPS}: {every} of {judged} hold{'s' if len(results) == 1 else ''}"
