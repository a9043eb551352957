"""The first thing a page says: what became of it, in words."""

from dataclasses import dataclass

from promptrank.errors import InputError
from promptrank.evaluation.metrics import parse_metrics
from promptrank.evaluation.report import Report, Verdict
from promptrank.evaluation.report_rows import Difference, RankerRow
from promptrank.evaluation.verdict import lead_over

_TITLES = {
    "ships": "{judged} ships.",
    "does not ship": "{judged} does not ship.",
    "the data cannot tell": "The data cannot tell whether {judged} ships.",
}


@dataclass(frozen=True, slots=True)
class Duel:
    """The judged ranker beside the one that is hardest for it to beat.

    Attributes:
        lead: the judged one's metric minus the other's.
    """

    metric: str
    judged: RankerRow
    other: RankerRow
    lead: Difference


@dataclass(frozen=True, slots=True)
class Headline:
    """A verdict as a title and a sentence; ``duel`` is None where no ranker decided it."""

    title: str
    why: str
    duel: Duel | None = None


def headline(report: Report) -> Headline:
    """The report's verdict; where it has none, as a comparison of engines, what it is about."""
    if report.verdict is not None:
        verdict = report.verdict
        title = _TITLES.get(verdict.outcome, "")
        title = title.format(judged=verdict.judged) if title else verdict.outcome
        why = verdict.text.removeprefix(f"{verdict.outcome}: ")
        return Headline(title, f"{why}.", _duel(report, verdict))
    asked = [row for row in report.rankers if row.agreement is not None]
    failed = [row.name for row in asked if row.agreement is not None and not row.agreement.passed]
    if failed:
        title = f"{', '.join(failed)} {'do' if len(failed) > 1 else 'does'} not score alike."
        return Headline(title, f"They are held against {report.reference}; the table says how.")
    if asked:
        why = f"They are held against {report.reference}: all is within what is allowed."
        return Headline("All engines score alike.", why)
    others = len(report.rankers) - 1
    if not others:
        return Headline(f"{report.reference}, measured alone.", "No other ranker stands beside it.")
    title = f"{report.reference} beside {others} other ranker{'s' if others > 1 else ''}."
    return Headline(title, "The report holds no verdict on what ships.")


def _duel(report: Report, verdict: Verdict) -> Duel | None:
    metric = verdict.metric
    if metric is None:
        return None
    leads = {name: lead_over(report, report, name, metric) for name in verdict.beat}
    known = {name: lead for name, lead in leads.items() if lead is not None}
    if not known:
        return None
    sign = -1 if lower_is_better(metric) else 1
    hardest = min(known, key=lambda name: sign * known[name].value)
    return Duel(metric, report.ranker(verdict.judged), report.ranker(hardest), known[hardest])


def lower_is_better(metric: str) -> bool:
    """Whether less of it is better; a metric of another version counts as more is better."""
    try:
        (parsed,) = parse_metrics([metric])
    except InputError:
        return False
    return parsed.lower_is_better
