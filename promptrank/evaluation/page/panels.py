"""Charts of a report: which rows stand on which axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from promptrank.basics.plurals import counted
from promptrank.evaluation.off_policy_rows import OffPolicy, PolicyRow
from promptrank.evaluation.page.charts import Axis, AxisPlace, axis_of
from promptrank.evaluation.page.headline import lower_is_better
from promptrank.evaluation.page.wording import MINUS
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Difference, OrderAgreement, RankerRow
from promptrank.evaluation.survival import CHANCE
from promptrank.schema.metric_kinds import KINDS

_SLICED_BY = {
    "history": "events that the request brings",
    "item_events": "events of the item before the request",
}


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A row of a chart; ``place`` is None where the ranker lacks the metric.

    Attributes:
        detail: what stands small below the label.
    """

    label: str
    detail: str
    difference: Difference | None
    place: AxisPlace | None


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart: rows on one axis.

    Attributes:
        sides: what lies to the left and to the right.
    """

    title: str
    meaning: str
    axis: Axis
    rows: tuple[PanelRow, ...]
    sides: tuple[str, str] = ("worse", "better")


@dataclass(frozen=True, slots=True)
class SlicingPanels:
    """A slicing: a chart for each ranker on the first metric, and the slices themselves.

    Attributes:
        beside: the judged ranker in each slice less the median of the others, and its promises.
    """

    by: str
    meaning: str
    metric: str
    panels: tuple[Panel, ...]
    slices: tuple[ReportSlice, ...]
    beside: tuple[Panel, ...] = ()


def meaning_of(metric: str) -> str:
    """What a metric says, in a few plain words; empty for one that is not known here."""
    kind = KINDS.get(metric.partition("~")[0].partition("@")[0])
    return "" if kind is None else kind.short


def panels_of(report: Report) -> Iterator[Panel]:
    """For each metric the differences of all rankers to the reference."""
    others = [row for row in report.rankers if row.name != report.reference]
    for place, metric in enumerate(report.metrics):
        gaps = [(row.name, row.differences.get(metric)) for row in others]
        # What the data could have shown stands beside the metric that decides, and nowhere else.
        rows = [(name, "" if place else could_show(gap), gap) for name, gap in gaps]
        if any(difference is not None for _, _, difference in rows):
            yield _panel(metric, meaning_of(metric), metric, rows)


def could_show(difference: Difference | None) -> str:
    """The smallest difference that such data shows, where it is known."""
    if difference is None or difference.detectable is None:
        return ""
    return f"could show {number(difference.detectable)}"


def judged_of(report: Report) -> Iterator[Panel]:
    """For each metric the judged ranker minus each other one, where it is not the reference."""
    for metric in report.metrics:
        rows = [
            (f"{report.judged} {MINUS} {row.name}", "", row.behind[metric])
            for row in report.rankers
            if metric in row.behind
        ]
        if rows:
            yield _panel(metric, meaning_of(metric), metric, rows)


def pairs_of(report: Report) -> Iterator[Panel]:
    """For each metric the differences of pairs that were asked for."""
    for metric in report.metrics:
        rows = [
            (f"{p.name} {MINUS} {p.against}", "", p.differences.get(metric)) for p in report.pairs
        ]
        if any(difference is not None for _, _, difference in rows):
            yield _panel(metric, meaning_of(metric), metric, rows)


def slicings_of_report(report: Report) -> Iterator[SlicingPanels]:
    """For each slicing, each ranker's difference to the reference from slice to slice."""
    if not report.metrics:
        return
    metric = report.metrics[0]
    for by in dict.fromkeys(part.by for part in report.slices):
        parts = tuple(part for part in report.slices if part.by == by)
        names = [r.name for r in report.rankers if r.name not in {report.reference, CHANCE}]
        rows = {name: [_slice_row(part, name, metric) for part in parts] for name in names}
        known = {
            name: each for name, each in rows.items() if any(gap is not None for _, _, gap in each)
        }
        every = [gap for each in known.values() for _, _, gap in each if gap is not None]
        axis = axis_of(every, lower_is_better=lower_is_better(metric))
        panels = tuple(_panel(name, "", metric, each, axis) for name, each in known.items())
        beside = tuple(_beside(report, parts, metric))
        yield SlicingPanels(by, _SLICED_BY.get(by, ""), metric, panels, parts, beside)


def _beside(report: Report, parts: Sequence[ReportSlice], metric: str) -> Iterator[Panel]:
    """How far each slice departs from the others, and how far its promises do."""
    judged = report.judged or report.reference
    few = [f"{part.counts.subjects:,} subjects" for part in parts]
    beside = [part.beside for part in parts]
    names = [part.name for part in parts]
    less = "less their median; corrected for the slices"
    if any(gap is not None for gap in beside):
        rows = list(zip(names, few, beside, strict=True))
        yield _panel(f"{judged}, beside the other slices", less, metric, rows)
    promised = [part.promised for part in parts]
    if any(gap is not None for gap in promised):
        # Neither side is better: an interval that leaves out 0 says enough.
        gaps = [None if gap is None else replace(gap, verdict=None) for gap in promised]
        rows = list(zip(names, few, gaps, strict=True))
        axis = axis_of((gap for gap in gaps if gap is not None), lower_is_better=False)
        title = f"Probabilities of {judged}, beside the other slices"
        panel = _panel(title, f"said minus happened, {less}", metric, rows, axis)
        yield replace(panel, sides=("too low", "too high"))


def _slice_row(part: ReportSlice, ranker: str, metric: str) -> tuple[str, str, Difference | None]:
    row = next((row for row in part.rankers if row.name == ranker), None)
    difference = None if row is None else row.differences.get(metric)
    return part.name, counted(part.counts.candidates, "candidate"), difference


def panel_of(metric: str, rows: Sequence[tuple[str, str, Difference | None]]) -> Panel:
    """A chart of one metric: each row's label, what stands small below it, and its difference."""
    return _panel(metric, meaning_of(metric), metric, rows)


def _panel(
    title: str,
    meaning: str,
    metric: str,
    rows: Sequence[tuple[str, str, Difference | None]],
    axis: Axis | None = None,
) -> Panel:
    known = [difference for _, _, difference in rows if difference is not None]
    axis = axis or axis_of(known, lower_is_better=lower_is_better(metric))
    places = [None if gap is None else axis.place(gap) for _, _, gap in rows]
    made = tuple(PanelRow(*row, place) for row, place in zip(rows, places, strict=True))
    return Panel(title, meaning, axis, made)


def earned_of(earned: OffPolicy) -> Panel:
    """What each ranker would have earned less what the log did, corrected for how many they are."""
    rows = [(row.name, _effective(row, earned), _lift(row)) for row in earned.rankers]
    axis = axis_of((lift for _, _, lift in rows if lift is not None), lower_is_better=False)
    return _panel("Gain per request, less the log's own", "", "", rows, axis)


def _effective(row: PolicyRow, earned: OffPolicy) -> str:
    return f"worth {row.effective:,.0f} of {counted(earned.places, 'place')}"


def _lift(row: PolicyRow) -> Difference | None:
    lift = row.lift
    if lift is None:
        return None
    verdict = None
    if lift.low is not None and lift.high is not None:
        verdict = "better" if lift.low > 0 else "worse" if lift.high < 0 else None
    return Difference(lift.value, lift.low, lift.high, verdict)


def orders_of(report: Report) -> Iterator[tuple[str, list[OrderAgreement]]]:
    """What orders are compared with, and how alike each ranker's is to it."""
    for against in dict.fromkeys(each.against for each in report.orders):
        yield against, [each for each in report.orders if each.against == against]


def reliable(report: Report) -> list[RankerRow]:
    """Rankers that offer probabilities, with their bins."""
    return [row for row in report.rankers if row.reliability]
