"""A report as the summary of a step in a GitHub workflow: verdict, requirements, one table."""

from collections.abc import Iterator
from dataclasses import replace

from promptrank.evaluation.report import Report, RequirementResult
from promptrank.evaluation.report_markdown import markdown, markdown_table
from promptrank.evaluation.report_numbers import cell_text, gap_text, number
from promptrank.evaluation.report_rows import Difference, RankerRow
from promptrank.evaluation.report_table import DETECTABLE, MARK, marks_text
from promptrank.evaluation.requirement_told import metric_text, requirement_text
from promptrank.evaluation.transfer import transfer_text

_METRICS = 3  # in the table that is seen first


def step_summary(report: Report) -> str:
    """Markdown that stands below what other steps have appended; the rest is folded away."""
    task = report.provenance.get("task", "")
    lines = [f"### promptrank eval {task}".rstrip(), ""]
    if report.verdict is not None:
        lines += [f"**{report.verdict.text}**", ""]
    lines += [f"- {_marked(result)}" for result in report.requirements]
    lines += [""] if report.requirements else []
    lines += [f"- {transfer_text(each)}" for each in report.transfers]
    lines += [""] if report.transfers else []
    if report.metrics:
        metrics = report.metrics[:_METRICS]
        head = ["ranker", *metrics, f"{metrics[0]} - {report.reference}'s", "could show"]
        lines += markdown_table(head, [_row(row, report) for row in report.rankers])
        if len(report.rankers) > 1:
            meaning = marks_text(report, report.rankers)
            lines += ["", f"{meaning} could show: the smallest difference {DETECTABLE}.".strip()]
    whole = replace(report, verdict=None, slices=())  # which stand above and below
    folded = ["", "<details><summary>Everything</summary>", "", markdown(whole), *_slices(report)]
    return "\n".join([*lines, *folded, "</details>", "", ""])


def _slices(report: Report) -> Iterator[str]:
    """One table of all slices but those that hold everything: they are the comparison above."""
    parts = [part for part in report.slices if part.counts != report.counts]
    if not parts or not report.metrics:
        return
    metric = report.metrics[0]
    names = [row.name for row in report.rankers]
    head = ["slice", "subjects", "candidates", *(f"{metric} of {name}" for name in names)]
    rows = []
    for part in parts:
        cells = {row.name: _with_mark(row, metric) for row in part.rankers}
        counts = f"{part.counts.subjects:,}", f"{part.counts.candidates:,}"
        rows.append([f"{part.by} {part.name}", *counts, *(cells.get(name, "-") for name in names)])
    yield from markdown_table(head, rows)
    meaning = marks_text(report, [row for part in parts for row in part.rankers])
    rest = "The JSON has all metrics of each slice, with intervals."
    yield from ("", f"{meaning} {rest}".strip(), "")


def _with_mark(row: RankerRow, metric: str) -> str:
    value, gap = row.cells[metric].value, row.differences.get(metric)
    if value is None:
        return "-"
    return f"{number(value)}{MARK[gap.verdict] if gap is not None else ''}".strip()


def _marked(result: RequirementResult) -> str:
    # As code: GitHub takes `@10` for somebody's name elsewhere.
    named = result.text if result.holds is None else metric_text(result)
    text = requirement_text(result).replace(named, f"`{named}`", 1)
    return text if result.holds else f"**{text}**"


def _row(row: RankerRow, report: Report) -> list[str]:
    cells = [cell_text(row.cells[metric]) for metric in report.metrics[:_METRICS]]
    gap = row.differences.get(report.metrics[0])
    if gap is None:
        return [row.name, *cells, "", ""]
    least = "" if gap.detectable is None else number(gap.detectable)
    return [row.name, *cells, _gap(gap), least]


def _gap(gap: Difference) -> str:
    return f"{gap_text(gap)} {MARK[gap.verdict]}".strip()
