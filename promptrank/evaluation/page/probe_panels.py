"""What a page shows of probes: a chart of differences, a curve, and whom sections matter to."""

from dataclasses import dataclass

from promptrank.evaluation.page.charts import LineChart, line_chart
from promptrank.evaluation.page.panels import Panel, panel_of
from promptrank.evaluation.probe_rows import ProbeRow
from promptrank.evaluation.probe_text import CURVE, SECTIONS, metric_of, moved_text, needed_text
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_rows import Difference


@dataclass(frozen=True, slots=True)
class ProbePanels:
    """The section of probes.

    Attributes:
        metric: the first that was measured; None where nothing was.
        panel: what each edit does to it; None where no edit was measured.
        rows: every edit, with how far scores moved in words.
        curve: metric by length of the history; None where it was not asked for.
        needs: which sections the ranker needs.
        sections: edits whose effect on subjects is told one by one.
    """

    metric: str | None
    panel: Panel | None
    rows: tuple[tuple[ProbeRow, str], ...]
    curve: LineChart | None
    needs: str | None
    sections: tuple[ProbeRow, ...]


def probes_of(report: Report) -> ProbePanels | None:
    """What to show; None where nothing was probed."""
    if not report.probes:
        return None
    told = tuple((row, "" if row.plain else moved_text(row)) for row in report.probes)
    metric = metric_of(report.probes, report.metrics)
    if metric is None:
        return ProbePanels(None, None, told, None, None, ())
    gaps: list[tuple[str, str, Difference | None]] = [
        (row.name, row.change, row.differences[metric])
        for row in report.probes
        if metric in row.differences and row.probe != CURVE
    ]
    points = [
        (row.name.partition(":")[2], row.cells[metric])
        for row in report.probes
        if row.probe == CURVE and metric in row.cells
    ]
    sections = [row for row in report.probes if row.probe == SECTIONS]
    return ProbePanels(
        metric,
        panel_of(metric, gaps) if gaps else None,
        told,
        line_chart(points) if len(points) > 1 else None,
        needed_text(sections, metric),
        tuple(row for row in sections if row.subjects is not None),
    )
