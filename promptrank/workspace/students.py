"""Students of a task: options checked, fitted by their kind, and measured as they are served."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from promptrank.basics.telling import Say
from promptrank.engine.compute import Compute
from promptrank.evaluation.compare import compare
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.report import Report
from promptrank.records import Request
from promptrank.requests.source import Sample
from promptrank.runs.scoring import score
from promptrank.runtime.runtime import Runtime
from promptrank.scores.scores import Scores
from promptrank.students.card import StudentCard, StudentFolder
from promptrank.students.kinds import kind_of
from promptrank.students.latency import latency_of
from promptrank.students.lessons import Learning, Lessons
from promptrank.students.student import Learned
from promptrank.students.teacher_agreement import teacher_agreement
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.rankers import student_ranker
from promptrank.workspace.tasks import OpenTask

_DRAWS = 200


def check_options(
    opened: OpenTask, kind: str, model: str | None, learning: Learning, say: Say
) -> dict[str, Any]:
    """All options of a kind, typed; InputError for those that cannot be, or for the device."""
    if kind != "decoder":
        return kind_of(kind).check_options(learning)
    from promptrank.assets import resolve_model
    from promptrank.students.decoder import pruned

    typed = pruned.check_options(learning)
    pruned.check_layers(resolve_model(model or opened.task.model, say=say), typed["layers"])
    return typed


def fit_student(
    opened: OpenTask, kind: str, model: str | None, lessons: Lessons, learning: Learning, say: Say
) -> Learned:
    """Learn; DataError where there is too little to learn from."""
    if kind != "decoder":
        return kind_of(kind).fit(opened.task, lessons, learning, say)
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits
    from promptrank.students.decoder import pruned

    folder = resolve_model(model or opened.task.model, say=say)
    encoder = open_encoder(opened, folder, model_limits(folder).max_tokens)
    return pruned.fit(opened.task, encoder, folder, lessons, learning, say)


def measure_student(
    opened: OpenTask,
    student: StudentFolder,
    valid: Sample,
    teacher: Scores | None,
    timed_on: Iterable[Request],
    timed: int,
    threads: int | None,
    say: Say,
) -> tuple[StudentCard, Report | None]:
    """The student's card with its figures, and the report of those against labels.

    They are of ``valid``, so that a choice among students never looks at the test part: against the
    labels there, and against the teacher where it answered. Without such a part there are none.

    Args:
        timed_on: where requests to time are taken from; ``timed`` is how many calls are timed.
    """
    card = student.card
    with Runtime() as runtime:
        # On the CPU, in float32, since its times are those of one core.
        ranker = student_ranker(opened, student, runtime, Compute(threads, "cpu"), say)
        metrics: dict[str, Any] = {}
        report = None
        if opened.task.split is not None:
            say("measuring the student on valid")
            valid.hold()
            scores = score(ranker, valid)
            report = _against_labels(opened, valid, scores)
            if report is not None:
                metrics = {
                    name: {"value": cell.value, "low": cell.low, "high": cell.high}
                    for name, cell in report.rankers[0].cells.items()
                }
            if teacher is not None:
                metrics |= teacher_agreement(opened.task, scores, teacher)
        latency = latency_of(ranker.rank, timed_on, timed)
    return replace(card, metrics=metrics, latency=latency), report


def _against_labels(opened: OpenTask, requests: Sample, scores: Scores) -> Report | None:
    gain, _ = gain_of(opened.task)
    labelled = any(gain(c) is not None for request in requests for c in request.candidates)
    if not labelled or not scores.table.column("score").null_count < len(scores):
        return None
    return compare(opened.task, requests, {scores.origin.ranker: scores}, draws=_DRAWS)
