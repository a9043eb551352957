"""All of a report for a terminal: a table of values, one of differences, and the same by slice."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from promptrank.basics.plurals import counted
from promptrank.evaluation.probe_text import probe_lines
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_facts import facts
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Cell, Difference, RankerRow

_GAP = 2  # terminal cells between columns
DETECTABLE = "that such data marks four times in five"
MARK = {"better": "▲", "worse": "▼", None: " "}
STYLE = {"better": "green", "worse": "red", None: ""}

Columns = dict[str, list[Text]]


def table(report: Report, width: int = 100) -> RenderableType:
    """The whole report for a terminal of ``width`` cells; metrics that do not fit go below."""
    names = [ranker.name for ranker in report.rankers]
    values = {m: [_value(ranker.cells[m]) for ranker in report.rankers] for m in report.metrics}
    parts = _tables("ranker", names, values | _promises(report.rankers), width)
    if len(names) > 1:
        others = report.rankers[1:]
        gaps = {m: [_gap(ranker.differences.get(m)) for ranker in others] for m in report.metrics}
        parts += _tables("difference", names[1:], gaps, width)
        rows = [*report.rankers, *(row for part in report.slices for row in part.rankers)]
        lines = [f"Differences are to {names[0]}, paired.", marks_text(report, rows)]
        told = [" ".join(filter(None, lines))]
        if any(d.detectable is not None for row in rows for d in row.differences.values()):
            told.append(f"shows: the smallest difference {DETECTABLE}.")
        parts.append(Text("\n".join([*told, ""]), style="dim"))
    if report.pairs:
        both = [f"{pair.name} - {pair.against}" for pair in report.pairs]
        gaps = {m: [_gap(pair.differences.get(m)) for pair in report.pairs] for m in report.metrics}
        parts += _tables("paired", both, gaps, width)
    for part in report.slices:
        parts += _slice_tables(part, report.metrics, width)
    parts += _probe_tables(report, width)
    return Group(*parts, *(Text(line) for line in facts(report)))


def _probe_tables(report: Report, width: int) -> list[RenderableType]:
    """What each edit did to every metric, and what else is to be told of it."""
    rows = [row for row in report.probes if row.differences]
    if not rows:
        return [Text(line) for line in probe_lines(report)]
    gaps = {m: [_gap(row.differences.get(m)) for row in rows] for m in report.metrics}
    parts = _tables("with this change", [row.name for row in rows], gaps, width)
    return [*parts, *(Text(line) for line in probe_lines(report)), Text("")]


def marks_text(report: Report, rows: Iterable[RankerRow]) -> str:
    """What the marks mean, and for how many comparisons intervals of differences are corrected.

    Args:
        rows: what is shown; marks that none of it has are not explained.
    """
    shown = [difference for row in rows for difference in row.differences.values()]
    if all(difference.ends is None for difference in shown):
        return ""
    marked = any(difference.verdict is not None for difference in shown)
    marks, others = f"▲ better, ▼ worse than {report.reference}", len(report.rankers) - 1
    if others > 1:
        corrected = f"ntervals corrected for {others} comparisons"
        return f"{marks}, by i{corrected}." if marked else f"I{corrected}; none leaves out 0."
    return f"{marks}, where the interval leaves out 0." if marked else ""


def _slice_tables(part: ReportSlice, metrics: Sequence[str], width: int) -> list[RenderableType]:
    names = [ranker.name for ranker in part.rankers]
    values = {m: [_value(ranker.cells[m]) for ranker in part.rankers] for m in metrics}
    parts: list[RenderableType] = [Text(slice_text(part), style="bold")]
    parts += _tables("ranker", names, values | _promises(part.rankers), width)
    if len(names) > 1:
        others = part.rankers[1:]
        gaps = {m: [_gap(ranker.differences.get(m)) for ranker in others] for m in metrics}
        parts += _tables("difference", names[1:], gaps, width)
    return parts


def slice_text(part: ReportSlice) -> str:
    """Which slice it is, and how much of everything it has."""
    c = part.counts
    return (
        f"{part.by} {part.name}: {counted(c.subjects, 'subject')}, "
        f"{counted(c.requests, 'request')}, {counted(c.candidates, 'candidate')}, "
        f"{c.positives:,} of them relevant"
    )


def _tables(first: str, names: list[str], columns: Columns, width: int) -> list[RenderableType]:
    """As many tables as it takes to show all columns side by side."""
    room = width - max(map(len, [first, *names])) - _GAP
    blocks: list[Columns] = [{}]
    left = room
    for name, cells in columns.items():
        lines = [line for cell in cells for line in cell.plain.split("\n")]
        need = max(map(len, [name, *lines])) + _GAP
        if need > left and blocks[-1]:
            blocks.append({})
            left = room
        blocks[-1][name] = cells
        left -= need
    return [grid(first, names, block) for block in blocks]


def grid(first: str, names: list[str], columns: Columns) -> Table:
    """One table: a column of names, the columns, and an empty line below."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    made.add_column(first, no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right", no_wrap=True)
    for i, name in enumerate(names):
        made.add_row(Text(name), *(cells[i] for cells in columns.values()))
    made.add_row()
    return made


def _promises(rankers: Sequence[RankerRow]) -> Columns:
    """What probabilities said on the whole, and what happened; none where no ranker offers any."""
    made = [row.calibration for row in rankers]
    if not any(made):
        return {}
    dash = Text("-", style="dim")
    return {
        "said": [Text(number(each.predicted)) if each else dash for each in made],
        "happened": [Text(number(each.observed)) if each else dash for each in made],
    }


def _value(cell: Cell) -> Text:
    if cell.value is None:
        return Text("-", style="dim")
    text = Text(number(cell.value), style="bold")
    if cell.low is not None and cell.high is not None:
        text.append(f"\n{number(cell.low)}-{number(cell.high)}", style="not bold dim")
    return text


def _gap(difference: Difference | None) -> Text:
    if difference is None:
        return Text("-", style="dim")
    text = Text(f"{number(difference.value, '+')}{MARK[difference.verdict]}")
    text.stylize(STYLE[difference.verdict])
    if difference.ends is not None:
        text.append(f"\n{' '.join(number(end, '+') for end in difference.ends)}", style="dim")
    if difference.detectable is not None:
        text.append(f"\nshows {number(difference.detectable)}", style="dim")
    return text
