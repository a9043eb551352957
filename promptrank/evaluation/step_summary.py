"""A report as the summary of a step in a GitHub workflow: verdict, requirements, one table."""

from promptrank.evaluation.report import Report, RequirementResult
from promptrank.evaluation.report_markdown import markdown, markdown_table
from promptrank.evaluation.report_numbers import cell_text, difference_text, number
from promptrank.evaluation.report_rows import RankerRow
from promptrank.evaluation.report_table import DETECTABLE, marks_text
from promptrank.evaluation.requirement_told import requirement_text

_METRICS = 3  # in the table that is seen first


def step_summary(report: Report) -> str:
    """Markdown that stands below what other steps have appended; all tables are folded away."""
    task = report.provenance.get("task", "")
    lines = [f"### promptrank eval {task}".rstrip(), ""]
    if report.verdict is not None:
        lines += [f"**{report.verdict.text}**", ""]
    lines += [f"- {_marked(result)}" for result in report.requirements]
    lines += [""] if report.requirements else []
    if report.metrics:
        metrics = report.metrics[:_METRICS]
        head = ["ranker", *metrics, f"{metrics[0]} - {report.reference}'s", "could show"]
        lines += markdown_table(head, [_row(row, report) for row in report.rankers])
        if len(report.rankers) > 1:
            meaning = marks_text(report).replace("▲ better, ▼ worse than", "better, worse than")
            lines += ["", f"{meaning} could show: the smallest difference {DETECTABLE}."]
    folded = ["", "<details><summary>Everything</summary>", "", markdown(report), "</details>", ""]
    return "\n".join([*lines, *folded, ""])


def _marked(result: RequirementResult) -> str:
    # As code: GitHub takes `@10` for somebody's name elsewhere.
    named = result.text
    if result.holds is not None:
        named = f"{result.metric}[{result.part}]" if result.part is not None else f"{result.metric}"
    text = requirement_text(result).replace(named, f"`{named}`", 1)
    return text if result.holds else f"**{text}**"


def _row(row: RankerRow, report: Report) -> list[str]:
    cells = [cell_text(row.cells[metric]) for metric in report.metrics[:_METRICS]]
    gap = row.differences.get(report.metrics[0])
    if gap is None:
        return [row.name, *cells, "", ""]
    least = "" if gap.detectable is None else number(gap.detectable)
    return [row.name, *cells, difference_text(gap), least]
