"""Charts of a report: which rows stand on which axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptrank.evaluation.page.charts import Axis, AxisPlace, axis_of
from promptrank.evaluation.page.headline import lower_is_better
from promptrank.evaluation.page.wording import MINUS
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Difference, RankerRow
from promptrank.evaluation.survival import CHANCE

_MEANINGS = {
    "auc": "how often a relevant candidate scores above one that is not; .5 is chance",
    "gauc": "the same within each subject, so that only the order of one list counts",
    "wauc": "the same within each domain, averaged",
    "map": "precision at the place of each relevant candidate, averaged",
    "precision": "the share of the first places that relevant candidates hold",
    "hit": "how often a relevant candidate stands in the first places",
    "brier": "squared distance of probabilities from what happened; less is better",
    "ndcg": "how good the first places are, as a share of the best possible order",
    "mrr": "one over the place of the first relevant candidate",
    "recall": "the share of the relevant candidates that stand in the first places",
    "log_loss": "how wrong the probabilities are; less is better",
    "ece": "how far probabilities are from what happened; less is better",
}
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
    """A chart: rows on one axis."""

    title: str
    meaning: str
    axis: Axis
    rows: tuple[PanelRow, ...]


@dataclass(frozen=True, slots=True)
class SlicingPanels:
    """A slicing: a chart for each ranker on the first metric, and the slices themselves."""

    by: str
    meaning: str
    metric: str
    panels: tuple[Panel, ...]
    slices: tuple[ReportSlice, ...]


def meaning_of(metric: str) -> str:
    """What a metric says, in a few plain words; empty for one that is not known here."""
    return _MEANINGS.get(metric.partition("~")[0].partition("@")[0], "")


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
        yield SlicingPanels(by, _SLICED_BY.get(by, ""), metric, panels, parts)


def _slice_row(part: ReportSlice, ranker: str, metric: str) -> tuple[str, str, Difference | None]:
    row = next((row for row in part.rankers if row.name == ranker), None)
    difference = None if row is None else row.differences.get(metric)
    return part.name, f"{part.counts.candidates:,} candidates", difference


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


def reliable(report: Report) -> list[RankerRow]:
    """Rankers that offer probabilities, with their bins."""
    return [row for row in report.rankers if row.reliability]
