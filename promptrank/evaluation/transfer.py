"""Negative transfer: what a task loses where its adapter was trained together with other tasks.

A joint adapter is held against one that was trained on the task alone, on the same candidates and
draws. The loss is named on each metric where the joint one is worse by the corrected interval of
their paired difference. Joint training that takes from one task what it gives another is the rule
rather than the exception where tasks conflict (Caruana 1997, Machine Learning 28:41; Wang et al.,
"Characterizing and Avoiding Negative Transfer", CVPR 2019).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from promptrank.evaluation.report import Report, Transfer
from promptrank.evaluation.report_numbers import gap_text, number
from promptrank.evaluation.report_rows import Difference
from promptrank.evaluation.verdict import row_of


@dataclass(frozen=True, slots=True)
class JointAndSingle:
    """Two rankers of a comparison: adapters that were trained on several tasks, and on this alone.

    Attributes:
        joint, single: their names in the report.
        task: the task that both were trained on, which is evaluated.
        tasks: all that the joint one was trained on.
        caveats: in what else their training differs.
    """

    joint: str
    single: str
    task: str
    tasks: tuple[str, ...]
    caveats: tuple[str, ...] = ()


def transfers_of(report: Report, kin: Iterable[JointAndSingle]) -> Iterator[Transfer]:
    """What each pair shows; nothing of a pair that was not compared."""
    for each in kin:
        differences = {
            metric: gap
            for metric in report.metrics
            if (gap := _difference(report, each.joint, each.single, metric)) is not None
        }
        if differences:
            worse = tuple(m for m, gap in differences.items() if gap.verdict == "worse")
            yield Transfer(
                each.joint,
                each.single,
                each.task,
                each.tasks,
                differences,
                worse,
                each.caveats,
            )


def _difference(report: Report, joint: str, single: str, metric: str) -> Difference | None:
    """The joint ranker's metric minus the single one's."""
    if joint == report.reference:
        row = row_of(report, single)
        gap = row.differences.get(metric) if row is not None else None
        return gap.turned if gap is not None else None
    if single == report.reference:
        row = row_of(report, joint)
        return row.differences.get(metric) if row is not None else None
    for pair in report.pairs:
        if (pair.name, pair.against) == (joint, single):
            return pair.differences.get(metric)
    return None


def transfer_text(transfer: Transfer) -> str:
    """The finding, as a sentence."""
    t = transfer
    others = ", ".join(name for name in t.tasks if name != t.task)
    joint = f"{t.name} (trained with {others} too)"
    single = f"{t.against} (trained on {t.task} alone)"
    if t.worse:
        losses = ", ".join(f"{m} {gap_text(t.differences[m])}" for m in t.worse)
        text = f"negative transfer on {t.task}: {joint} is worse than {single}: {losses}"
    else:
        metric, gap = next(iter(t.differences.items()))
        text = f"no negative transfer is shown on {t.task}: {joint} less {single}: "
        text += f"{metric} {gap_text(gap)}"
        if gap.detectable is not None:
            text += f"; {number(gap.detectable)} would be marked four times in five"
    return "; ".join([text, *t.caveats])
