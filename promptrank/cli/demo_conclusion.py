"""What the demo found: two sentences and one short table, computed from its report."""

import sys
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from promptrank.cli.terminal import PLAIN_WIDTH, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from promptrank.evaluation.report import Report
    from promptrank.evaluation.report_rows import Cell, Difference, RankerRow


METRICS = {"auc": "AUC", "ndcg@10": "NDCG@10"}


def renamed(report: "Report", names: Mapping[str, str]) -> "Report":
    """The same report with other names for its rankers; what ``names`` lacks keeps its own."""

    def name_of(name: str) -> str:
        return names.get(name, name)

    return replace(
        report,
        reference=name_of(report.reference),
        judged=name_of(report.judged) if report.judged is not None else None,
        baselines=tuple(name_of(name) for name in report.baselines),
        verdict=None,  # a sentence with the old names; the conclusion says it in the demo's words
        rankers=tuple(replace(r, name=name_of(r.name)) for r in report.rankers),
        absent={name_of(name): reason for name, reason in report.absent.items()},
        pairs=tuple(
            replace(p, name=name_of(p.name), against=name_of(p.against)) for p in report.pairs
        ),
    )


def conclusion(
    report: "Report",
    baselines: Collection[str],
    student: str,
    *,
    decoder_us: float | None,
    student_us: float | None,
) -> str:
    """Two sentences: the decoder against the best simple baseline, and its student against it.

    Args:
        report: its reference is the decoder.
        baselines: which of its rankers are simple baselines.
        student: the student's name in the report.
        decoder_us, student_us: microseconds a candidate on one core.
    """
    from promptrank.evaluation.report_numbers import number

    rankers = {ranker.name: ranker for ranker in report.rankers}
    auc = _value(rankers[report.reference].cells["auc"])
    best = max(
        (ranker for name, ranker in rankers.items() if name in baselines),
        key=lambda ranker: _value(ranker.cells["auc"]),
    )
    lift = best.differences["auc"].turned
    said = {
        "better": "ranks better than the best simple baseline,",
        "worse": "ranks worse than the best simple baseline,",
        None: "cannot be told apart from the best simple baseline,",
    }[lift.verdict]
    first = (
        f"On {report.counts.subjects:,} members the decoder with the shipped adapter {said} "
        f"{best.name}: AUC {number(auc)} against {number(_value(best.cells['auc']))} "
        f"({_difference(lift, report.level)})."
    )
    return f"{first} {_student(rankers[student], report.level, decoder_us, student_us)}"


def _student(
    student: "RankerRow", level: float, decoder_us: float | None, student_us: float | None
) -> str:
    from promptrank.evaluation.report_numbers import number

    difference = student.differences["auc"]
    said = {
        "better": "ranks better than the decoder",
        "worse": "ranks worse than the decoder",
        None: "cannot be told apart from it",
    }[difference.verdict]
    cost = f", and takes {_time(student_us)} a candidate" if student_us is not None else ""
    if cost and decoder_us is not None:
        cost += f" where the decoder takes {_time(decoder_us)}"
    return (
        f"Its student, small trees that learned from the decoder's answers, {said}: AUC "
        f"{number(_value(student.cells['auc']))} ({_difference(difference, level)}){cost}."
    )


def short_table(report: "Report") -> "Table":
    """Every ranker with AUC and NDCG@10, each with its interval, the best AUC first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from promptrank.evaluation.report_numbers import cell_text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("ranker", no_wrap=True)
    for name in METRICS.values():
        table.add_column(name, no_wrap=True)
    for ranker in sorted(report.rankers, key=lambda r: -_value(r.cells["auc"])):
        table.add_row(Text(ranker.name), *(cell_text(ranker.cells[m]) for m in METRICS))
    return table


def show_conclusion(text: str, report: "Report") -> None:
    """Print the two sentences, then the short table and how to read it."""
    sys.stdout.write(f"\nConclusion\n{textwrap.fill(text, 100)}\n\n")
    print_table(short_table(report), PLAIN_WIDTH)
    sys.stdout.write(
        "\nAUC and NDCG@10: 1 is a perfect order; by chance AUC is .5. In brackets: 95% intervals, "
        "drawn over\nwhole members. Two rankers whose intervals overlap may still differ; the "
        "report pairs them.\n"
    )


def page(text: str, report: "Report", students: "Report") -> str:
    """The whole report in markdown, the conclusion first."""
    from rich.console import Console

    from promptrank.evaluation.report_markdown import markdown
    from promptrank.students.comparison_text import students_table

    console = Console(width=160, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(students_table(students))
    table = "\n".join(line.rstrip() for line in captured.get().splitlines())
    return (
        f"# The demo's report\n\n{text}\n\n## All rankers\n\n{markdown(report)}\n"
        f"## Teacher, students and what they cost\n\n```\n{table}\n```\n"
    )


def _value(cell: "Cell") -> float:
    return cell.value if cell.value is not None else float("-inf")


def _difference(difference: "Difference", level: float) -> str:
    """``difference +.013, 95% interval -.008 to +.037``."""
    from promptrank.evaluation.report_numbers import number

    text = f"difference {number(difference.value, '+')}"
    if difference.ends is None:
        return text
    low, high = difference.ends
    return f"{text}, {level:.0%} interval {number(low, '+')} to {number(high, '+')}"


def _time(microseconds: float) -> str:
    if microseconds >= 1000:
        return f"{microseconds / 1000:,.0f} milliseconds"
    return f"{microseconds:,.0f} microseconds"
