"""A verdict as a table for people."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from promptrank.evaluation.report import Cell, Difference
from promptrank.students.comparison import Line, Verdict

_SHOWN = 3  # metrics; the report has all of them


def verdict_table(found: Verdict) -> RenderableType:
    """One row a ranker: metrics with intervals, gain by the teacher, lift kept, time, size."""
    metrics = found.metrics[:_SHOWN]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("ranker")
    for name in (*metrics, "gain", "kept", "us/cand", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in found.lines:
        table.add_row(
            line.name,
            *(_cell(line.cells[name]) for name in metrics),
            _gain(line, metrics[0]),
            "" if line.kept is None else f"{line.kept:.2f}",
            "" if line.cost.us_per_candidate is None else f"{line.cost.us_per_candidate:,.1f}",
            _size(line.cost.size),
        )
    return Group(table, *(Text(note) for note in _notes(found)))


def _notes(found: Verdict) -> Iterator[str]:
    counts, first = found.report.counts, found.metrics[0]
    yield (
        f"\n{found.task}: {counts.subjects:,} subjects, {counts.candidates:,} candidates; 95% "
        f"intervals from {found.report.draws:,} draws of whole subjects. One core."
    )
    yield f"gain: {first} with the teacher minus labels only, paired (▲ ▼ interval leaves out 0)."
    if found.best_baseline is None:
        return
    if all(line.kept is None for line in found.lines):
        yield f"kept: no share, for the teacher does not beat {found.best_baseline} on {first}."
    else:
        yield f"kept: share of the teacher's lift over {found.best_baseline} on {first}."


def _cell(cell: Cell) -> str:
    if cell.value is None:
        return "-"
    ends = "" if cell.low is None else f" ({cell.low:.3f}-{cell.high:.3f})"
    return f"{cell.value:.3f}{ends}"


def _gain(line: Line, metric: str) -> str:
    found: Difference | None = line.gain.get(metric)
    if found is None:
        return ""
    mark = {"better": "▲", "worse": "▼", None: ""}[found.verdict]
    ends = "" if found.low is None else f" ({found.low:+.3f} {found.high:+.3f})"
    return f"{found.value:+.3f}{mark}{ends}"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"
