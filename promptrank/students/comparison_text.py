"""A comparison of teacher, students and baselines as a table for people."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from promptrank.basics.plurals import counted
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_rows import Cell, Difference, RankerRow

_SHOWN = 3  # metrics; the report has all of them


def students_table(report: Report) -> RenderableType:
    """One row a ranker: metrics with intervals, gain by the teacher, lift kept, time, size."""
    metrics = report.metrics[:_SHOWN]
    gains = {pair.name: pair.differences.get(metrics[0]) for pair in report.pairs}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("ranker")
    for name in (*metrics, "gain", "kept", "us/cand", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in report.rankers:
        table.add_row(
            Text(row.name),
            *(_cell(row.cells[name]) for name in metrics),
            _gain(gains.get(row.name)),
            "" if row.kept is None else f"{row.kept:.2f}",
            *_cost(row),
        )
    return Group(table, *(Text(note) for note in _notes(report)))


def _notes(report: Report) -> Iterator[str]:
    counts, first, best = report.counts, report.metrics[0], report.best_baseline
    subjects = counted(counts.subjects, "subject")
    yield (
        f"\n{report.provenance.get('task', '')}: {subjects}, "
        f"{counted(counts.candidates, 'candidate')}; 95% intervals from {report.draws:,} draws of "
        "whole subjects. One core."
    )
    yield f"gain: {first} with the teacher minus labels only, paired (▲ ▼ interval leaves out 0)."
    if best is None:
        return
    if all(row.kept is None for row in report.rankers):
        yield f"kept: no share, for the teacher does not beat {best} on {first}."
    else:
        yield f"kept: share of the teacher's lift over {best} on {first}."


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return "-"
    ends = "" if cell.low is None else f" ({cell.low:.3f}-{cell.high:.3f})"
    return f"{cell.value:.3f}{ends}"


def _gain(gain: Difference | None) -> str:
    if gain is None:
        return ""
    mark = {"better": "▲", "worse": "▼", None: ""}[gain.verdict]
    ends = "" if gain.ends is None else f" ({gain.ends[0]:+.3f} {gain.ends[1]:+.3f})"
    return f"{gain.value:+.3f}{mark}{ends}"


def _cost(row: RankerRow) -> tuple[str, str]:
    cost = row.cost
    if cost is None:
        return "", ""
    time = "" if cost.us_per_candidate is None else f"{cost.us_per_candidate:,.1f}"
    return time, _size(cost.size)


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
