"""Reports made by hand, for the tests of what is said about them."""

from typing import Any

from promptrank.evaluation.report import Counts, Report
from promptrank.evaluation.report_rows import Cell, Difference, RankerRow


def cell(value: float | None) -> Cell:
    """A metric's value give or take .05; None where it is undefined."""
    if value is None:
        return Cell(None, None, None, "all candidates are relevant", "candidates", 0, 9)
    return Cell(value, value - 0.05, value + 0.05, None, "candidates", 9, 0)


def row(
    name: str, auc: float | None, gap: float | None = None, half: float = 0.03, loss: float = 0.6
) -> RankerRow:
    """A ranker whose AUC differs by ``gap`` from the decoder's, give or take ``half``."""
    differences = {}
    if gap is not None:
        low, high = gap - half, gap + half
        verdict = "better" if low > 0 else "worse" if high < 0 else None
        own = gap - half / 2, gap + half / 2
        differences["auc"] = Difference(gap, *own, verdict, low, high, 0.04)
        differences["log_loss"] = Difference(loss - 0.6, -0.01, 0.01, None, -0.02, 0.02, 0.02)
    return RankerRow(name, 0, {"auc": cell(auc), "log_loss": cell(loss)}, differences)


def report(*rows: RankerRow, **more: Any) -> Report:
    """A report of AUC and log-loss with the decoder as its reference, on 100 subjects."""
    counts = Counts(100, 200, 2000, 900, 0, 0, 0)
    given = {"baselines": ("bm25", "logistic", "random", "logged"), **more}
    return Report("decoder", ("auc", "log_loss"), 1000, 0, 0.95, counts, rows, **given)
