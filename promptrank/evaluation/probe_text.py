"""What probes showed, in sentences: one a line."""

from collections.abc import Iterator, Sequence

from promptrank.evaluation.probe_rows import ProbeRow
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_numbers import gap_text, number

ROUNDING = 2e-4
"""A score that moves no further has moved by rounding: 1e-4 for each log-prob of log-odds."""

CURVE = "context"
SECTIONS = "sections"


def probe_lines(report: Report) -> Iterator[str]:
    """A line for each edit; one for a whole curve."""
    for probe in dict.fromkeys(row.probe for row in report.probes):
        rows = [row for row in report.probes if row.probe == probe]
        metric = metric_of(rows, report.metrics)
        if probe == CURVE and metric is not None:
            yield _curve(rows, metric)
            continue
        yield from (probe_text(row, metric) for row in rows)
        if probe == SECTIONS and metric is not None and (needs := needed_text(rows, metric)):
            yield f"probe sections: {needs}"


def metric_of(rows: Sequence[ProbeRow], metrics: Sequence[str]) -> str | None:
    """The first metric that some of the rows have."""
    known = {name for row in rows for name, cell in row.cells.items() if cell.value is not None}
    return next((name for name in metrics if name in known), None)


def probe_text(row: ProbeRow, metric: str | None) -> str:
    """What an edit did to the metric, the scores and the order."""
    name = f"probe {row.name}"
    if row.reason is not None:
        return f"{name}: {row.reason}"
    if row.unmoved or row.largest_change == 0:
        return f"{name}: {moved_text(row)}{_changed(row)}"
    parts = []
    difference = row.differences.get(metric or "")
    if difference is not None:
        verdict = f" {difference.verdict}" if difference.verdict else ""
        parts.append(f"{metric} {gap_text(difference)}{verdict}")
    if row.survival is not None and row.survival.share is not None:
        parts.append(f"{row.survival.share:.0%} of the lift survives")
    parts.append(moved_text(row))
    if row.order is not None:
        tau, first = row.order.kendall_tau.value, row.order.top1.value
        if tau is not None and first is not None:
            parts.append(f"tau {number(tau)}, same first {first:.0%}")
    return f"{name}: {', '.join(parts)}{_changed(row)}"


def moved_text(row: ProbeRow) -> str:
    """How far scores moved; and whether that may be, where none may."""
    largest = row.largest_change
    if largest is None:
        return "nothing was measured"
    if row.unmoved:
        if largest == 0:
            return "no score moves, as it must be"
        if largest <= ROUNDING:
            return f"scores move by {largest:.0e} at most: rounding, as it may be"
        return (
            f"SCORES MOVE, by up to {number(largest)}, and must not (in float32; fewer bits round "
            "more)"
        )
    if largest == 0:
        return "no score moves: the ranker does not use it"
    if row.probability_change is not None:
        return f"probabilities move {number(row.probability_change)}"
    assert row.score_change is not None
    return f"scores move {number(row.score_change)}"


def needed_text(rows: Sequence[ProbeRow], metric: str) -> str | None:
    """Which sections a ranker needs, as far as the data can tell."""
    known = {row.name.partition(":")[2]: row.differences.get(metric) for row in rows}
    told = {name: gap for name, gap in known.items() if gap is not None}
    if not told:
        return None
    needs = [name for name, gap in told.items() if gap.verdict == "worse"]
    rest = [name for name in told if name not in needs]
    if not needs:
        return f"{metric} is no worse without {_or(rest)} that the data could tell"
    text = f"{metric} needs {' and '.join(needs)}"
    return text + (f"; not {_or(rest)} that the data could tell" if rest else "")


def _or(names: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _changed(row: ProbeRow) -> str:
    if row.changed == row.requests:
        return ""
    return f"; it changes {row.changed:,} of {row.requests:,} prompts"


def _curve(rows: Sequence[ProbeRow], metric: str) -> str:
    points = []
    for row in rows:
        cell = row.cells.get(metric)
        if cell is None or cell.value is None:
            continue
        length = row.name.partition(":")[2]
        points.append(
            f"{number(cell.value)} with {f'all, up to {length}' if row.plain else length}"
        )
    return f"probe context: {metric} {', '.join(points)} past events"
