"""Teacher, students and baselines in one report: what a student keeps of its teacher.

``gain`` is a pair of the report: a student minus the student of its kind that had no teacher,
within draws of whole subjects, which is what distillation gave. ``kept`` is the share of the
teacher's lift over the best baseline that a student keeps, on the first metric; None where the
teacher does not beat the best baseline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from promptrank.basics.telling import Say
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_rows import Cell, Cost
from promptrank.students.card import StudentFolder

TEACHER = "teacher"


def with_students(report: Report, students: Sequence[str], costs: Mapping[str, Cost]) -> Report:
    """The report with costs, the best baseline, and what each student keeps.

    Args:
        report: of ``teacher``, the students and baselines; its first metric decides.
        students: which of its rankers are students.
    """
    rows, first = {row.name: row for row in report.rankers}, report.metrics[0]
    baselines = [name for name in rows if name != TEACHER and name not in students]
    best = max(baselines, key=lambda name: _value(rows[name].cells[first]), default=None)
    told = []
    for name, row in rows.items():
        kept = None
        if name in students and best is not None and TEACHER in rows:
            cells = (rows[which].cells[first] for which in (TEACHER, name, best))
            kept = _kept(*cells)
        told.append(replace(row, cost=costs.get(name, Cost()), kept=kept))
    return replace(report, rankers=tuple(told), best_baseline=best)


def pairs_of(folders: Mapping[str, StudentFolder], say: Say) -> dict[str, str]:
    """Each taught student with one of its kind that learned from as many labels and nothing else.

    One of the same seed is preferred. Between students of other labels there is no gain to state.
    """
    cards = {name: student.card for name, student in folders.items()}
    pairs = {}
    for name, card in cards.items():
        if card.teacher is None:
            continue
        plain = [n for n, c in cards.items() if (c.kind, c.loss) == (card.kind, "labels")]
        labels = card.data.get("labels")
        like = [n for n in plain if cards[n].data.get("labels") == labels]
        if like:
            pairs[name] = next((n for n in like if cards[n].seed == card.seed), like[0])
        elif plain:
            say(f"{name}: no gain, for {plain[0]} learned from other labels; distill one like it")
    return pairs


def _kept(teacher: Cell, student: Cell, best: Cell) -> float | None:
    if None in (teacher.value, student.value, best.value):
        return None
    lift = _value(teacher) - _value(best)
    return (_value(student) - _value(best)) / lift if lift > 0 else None


def _value(cell: Cell) -> float:
    return cell.value if cell.value is not None else float("-inf")
