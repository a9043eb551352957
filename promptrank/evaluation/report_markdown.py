"""A report as markdown that reads well raw and rendered."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from promptrank.evaluation.probe_text import probe_lines
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_facts import facts
from promptrank.evaluation.report_numbers import cell_text, difference_text
from promptrank.evaluation.report_rows import Difference
from promptrank.evaluation.report_table import slice_text

_WHOLE = 100_000  # wider than any row of a markdown table


def markdown(report: Report) -> str:
    """The same as text that reads well raw and rendered."""
    metrics = report.metrics
    lines = [f"**{report.verdict.text}**", ""] if report.verdict is not None else []
    lines += markdown_table(
        ["ranker", *metrics],
        [
            [ranker.name, *(cell_text(ranker.cells[m]) for m in metrics)]
            for ranker in report.rankers
        ],
    )
    others = report.rankers[1:]
    if others:
        lines += ["", f"Difference to {report.reference}, paired{_corrected(report)}:", ""]
        lines += markdown_table(
            ["ranker", *metrics],
            [
                [ranker.name, *(_difference_text(ranker.differences, m) for m in metrics)]
                for ranker in others
            ],
        )
    for pair in report.pairs:
        lines += ["", f"{pair.name} minus {pair.against}, paired:", ""]
        row = [_difference_text(pair.differences, m) for m in metrics]
        lines += markdown_table(metrics, [row])
    for part in report.slices:
        lines += ["", f"{slice_text(part)}:", ""]
        lines += markdown_table(
            ["ranker", *metrics],
            [[r.name, *(cell_text(r.cells[m]) for m in metrics)] for r in part.rankers],
        )
        lines += ["", f"Difference to {report.reference} there, paired:", ""]
        lines += markdown_table(
            ["ranker", *metrics],
            [
                [r.name, *(_difference_text(r.differences, m) for m in metrics)]
                for r in part.rankers[1:]
            ],
        )
    lines += _probes(report)
    return "\n".join([*lines, "", *(f"- {line}" for line in facts(report)), ""])


def _probes(report: Report) -> list[str]:
    """What each edit did to every metric; then a sentence on each probe."""
    rows = [row for row in report.probes if row.differences]
    lines: list[str] = []
    if rows:
        metrics = report.metrics
        lines += ["", f"{report.reference} with one thing changed, minus without it, paired:", ""]
        lines += markdown_table(
            ["probe", *metrics],
            [[row.name, *(_difference_text(row.differences, m) for m in metrics)] for row in rows],
        )
    told = [f"- {line}" for line in probe_lines(report)]
    return [*lines, "", *told] if told else lines


def _corrected(report: Report) -> str:
    others = len(report.rankers) - 1
    return f", intervals corrected for {others} comparisons a metric" if others > 1 else ""


def _difference_text(differences: Mapping[str, Difference], metric: str) -> str:
    difference = differences.get(metric)
    if difference is None:
        return "-"
    return difference_text(difference)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a markdown table, aligned, so that it reads well raw too."""
    grid = Table(box=box.MARKDOWN)
    for name in head:
        grid.add_column(Text(_cell(name)))
    for row in rows:
        grid.add_row(*(Text(_cell(text)) for text in row))
    console = Console(width=_WHOLE, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(grid)
    return [line for line in captured.get().splitlines() if line.strip()]


def _cell(text: str) -> str:
    """Text of users, such as a slice's name, as it stands: no column, no tag, no mention of it."""
    for mark, shown in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("@", "&#64;")):
        text = text.replace(mark, shown)
    return text
