"""A report in a few lines for a terminal: the verdict, one row a ranker, and what to know of it.

All intervals and differences are in `promptrank.evaluation.report_table.table`, and in the JSON.
"""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from promptrank.evaluation.probe_text import probe_lines
from promptrank.evaluation.report import Report, RequirementResult
from promptrank.evaluation.report_facts import facts
from promptrank.evaluation.report_numbers import cell_text, difference_text, gap_text, number
from promptrank.evaluation.report_rows import Difference, RankerRow
from promptrank.evaluation.report_table import DETECTABLE, MARK, STYLE, grid, marks_text, table
from promptrank.evaluation.requirement_told import requirement_text
from promptrank.evaluation.verdict import lead_over

_GAP = 2  # terminal cells between columns


def summary(report: Report, width: int = 100) -> RenderableType:
    """The report for a terminal of ``width`` cells; metrics that do not fit are named below."""
    parts = _head(report)
    if not report.metrics:
        return Group(*parts)
    columns = _columns(report)
    left_out = _fit(columns, max(len(row.name) for row in report.rankers), width)
    parts += [Text(""), grid("ranker", [row.name for row in report.rankers], columns)]
    if len(report.rankers) > 1 and (legend := _legend(report)):
        parts.append(Text(legend, style="dim"))
    parts += [Text(line) for line in _pairs(report)]
    if report.slices:
        parts += [Text(""), _slices(report)]
    parts += [Text(line) for line in probe_lines(report)]
    return Group(*parts, *(Text(line) for line in _told(report, left_out)))


def everything(report: Report, width: int = 100) -> RenderableType:
    """The same first lines, and then all there is."""
    return Group(*_head(report), Text(""), table(report, width))


def _head(report: Report) -> list[RenderableType]:
    parts: list[RenderableType] = []
    if report.verdict is not None:
        parts.append(Text(report.verdict.text, style="bold"))
    return [*parts, *(_requirement(result) for result in report.requirements)]


def _requirement(result: RequirementResult) -> Text:
    style = {True: "green", False: "red", None: "yellow"}[result.holds]
    return Text(requirement_text(result), style=style)


def _columns(report: Report) -> dict[str, list[Text]]:
    """A column a metric, with marks; then the first one's differences and what they could show."""
    columns = {m: [_marked(row, m) for row in report.rankers] for m in report.metrics}
    first, others = report.metrics[0], report.rankers[1:]
    own = report.rankers[0].cells[first]
    gaps = [row.differences.get(first) for row in others]
    if own.low is not None and own.high is not None:
        name = f"{first} - {report.reference}'s" if others else f"{first}, interval"
        ends = Text(f"{number(own.low)}-{number(own.high)}", style="dim")
        columns[name] = [ends, *(_plain(gap) for gap in gaps)]
    if any(gap is not None and gap.detectable is not None for gap in gaps):
        columns["could show"] = [Text(""), *(_detectable(gap) for gap in gaps)]
    return columns


def _marked(row: RankerRow, metric: str) -> Text:
    value, difference = row.cells[metric].value, row.differences.get(metric)
    if value is None:
        return Text("- ", style="dim")
    verdict = difference.verdict if difference is not None else None
    style = STYLE[verdict] if row.differences else "bold"
    return Text(f"{number(value)}{MARK[verdict]}", style=style)


def _plain(difference: Difference | None) -> Text:
    return Text("-" if difference is None else gap_text(difference))


def _detectable(difference: Difference | None) -> Text:
    least = difference.detectable if difference is not None else None
    return Text("-" if least is None else number(least), style="dim")


def _fit(columns: dict[str, list[Text]], names: int, width: int) -> list[str]:
    """Take out metrics, the last ones first, until the table fits; gives those taken out."""
    metrics = [name for name in list(columns)[1:] if " " not in name]
    taken: list[str] = []
    while metrics and _width(columns, names) > width:
        taken.insert(0, metrics.pop())
        del columns[taken[0]]
    return taken


def _width(columns: dict[str, list[Text]], names: int) -> int:
    cells = (max(len(name), *map(len, texts)) for name, texts in columns.items())
    return max(names, len("ranker")) + _GAP + sum(cell + _GAP for cell in cells)


def _legend(report: Report) -> str:
    text = marks_text(report, report.rankers)
    if any(d.detectable is not None for row in report.rankers for d in row.differences.values()):
        text += f" could show: the smallest difference {DETECTABLE}."
    return text.strip()


def _pairs(report: Report) -> Iterator[str]:
    for pair in report.pairs:
        each = (f"{m} {difference_text(d)}" for m, d in list(pair.differences.items())[:2])
        yield f"{pair.name} - {pair.against}: {', '.join(each)}"


def _slices(report: Report) -> Table:
    """A row a slice: the judged ranker's first metric there, and its lead over the one to beat."""
    judged = report.judged or report.reference
    metric = report.metrics[0]
    beat = report.verdict.beat[0] if report.verdict is not None and report.verdict.beat else None
    columns: dict[str, list[Text]] = {"subjects": [], "candidates": [], f"{metric} of {judged}": []}
    for part in report.slices:
        cell = next(row for row in part.rankers if row.name == judged).cells[metric]
        texts = f"{part.counts.subjects:,}", f"{part.counts.candidates:,}", cell_text(cell)
        for column, text in zip(columns.values(), texts, strict=True):
            column.append(Text(text))
    if beat is not None:
        leads = [lead_over(report, part, beat, metric) for part in report.slices]
        columns[f"{judged} - {beat}"] = [_plain(lead) for lead in leads]
    return grid("slice", [f"{part.by} {part.name}" for part in report.slices], columns)


def _told(report: Report, left_out: Sequence[str]) -> Iterator[str]:
    """The facts that bear on what is shown, and where the rest is."""
    yield from facts(report, short=True)
    yield f"--full: {', '.join([*left_out, 'all intervals, and why numbers are missing'])}"
