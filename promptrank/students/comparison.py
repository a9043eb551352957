"""The verdict: what a student keeps of its teacher, and what it costs.

One table of teacher, students and baselines on the same candidates. ``gain`` is a student minus the
student of the same name without the teacher, paired within draws of whole subjects: what
distillation gave. ``kept`` is the share of the teacher's lift over the best baseline that a student
keeps, on the first metric; None where the teacher does not beat the best baseline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from promptrank.evaluation.compare import evaluate as compare
from promptrank.evaluation.judged import Judged
from promptrank.evaluation.report import Cell, Difference, Report

TEACHER = "teacher"


@dataclass(frozen=True, slots=True)
class Cost:
    """What a ranker costs to serve.

    Attributes:
        us_per_candidate: microseconds on one core.
        size: bytes on disk.
    """

    us_per_candidate: float | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One ranker.

    Attributes:
        cells: by metric, with intervals.
        gain: by metric, against the same student without the teacher; empty where none is given.
        kept: share of the teacher's lift over the best baseline.
    """

    name: str
    role: str
    cells: Mapping[str, Cell]
    cost: Cost
    gain: Mapping[str, Difference] = field(default_factory=dict)
    kept: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The table.

    Attributes:
        metrics: their names; the first decides ``kept`` and the best baseline.
        best_baseline: its name.
        report: the comparison that the lines are taken from.
    """

    task: str
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]
    best_baseline: str | None
    report: Report

    def line(self, name: str) -> Line:
        """The line of a ranker."""
        return next(line for line in self.lines if line.name == name)


def verdict(
    task: str,
    judged: Judged,
    metrics: Sequence[str],
    *,
    students: Sequence[str],
    without: Mapping[str, str],
    costs: Mapping[str, Cost],
    draws: int = 1000,
) -> Verdict:
    """The table from every ranker's scores.

    Args:
        judged: scores of ``teacher``, of the students and of baselines.
        students: their names in ``judged``.
        without: student -> the student that had no teacher.
    """
    report = compare(judged, metrics, reference=TEACHER, draws=draws)
    results = {r.name: r for r in report.rankers}
    first = report.metrics[0]
    baselines = [n for n in results if n != TEACHER and n not in students]
    best = max(baselines, key=lambda n: _value(results[n].cells[first]), default=None)
    lines = []
    for name, result in results.items():
        role = TEACHER if name == TEACHER else "student" if name in students else "baseline"
        line = Line(name, role, result.cells, costs.get(name, Cost()))
        if role == "student":
            gain = _gain(judged, metrics, name, without.get(name), draws)
            kept = _kept(
                results[TEACHER].cells[first],
                result.cells[first],
                results[best].cells[first] if best is not None else None,
            )
            line = replace(line, gain=gain, kept=kept)
        lines.append(line)
    return Verdict(task, report.metrics, tuple(lines), best, report)


def _gain(
    judged: Judged, metrics: Sequence[str], name: str, without: str | None, draws: int
) -> Mapping[str, Difference]:
    if without is None:
        return {}
    pair = replace(
        judged,
        scores={n: judged.scores[n] for n in (without, name)},
        probabilities={
            n: judged.probabilities[n] for n in (without, name) if n in judged.probabilities
        },
    )
    report = compare(pair, metrics, reference=without, draws=draws)
    return report.rankers[1].differences if len(report.rankers) > 1 else {}


def _kept(teacher: Cell, student: Cell, best: Cell | None) -> float | None:
    if best is None or None in (teacher.value, student.value, best.value):
        return None
    lift = _value(teacher) - _value(best)
    return (_value(student) - _value(best)) / lift if lift > 0 else None


def _value(cell: Cell) -> float:
    return cell.value if cell.value is not None else float("-inf")
