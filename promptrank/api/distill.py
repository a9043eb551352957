"""``distill``: a decoder's answers into a small student."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.owner import owned
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.compute import Compute
from promptrank.errors import DataError, InputError
from promptrank.requests.source import Sample
from promptrank.runs.manifest import manifest, versions
from promptrank.runs.outputs import check_output, taken
from promptrank.workspace.kept_scores import CacheChoice
from promptrank.workspace.learned_from import LearnedFrom, counts, teach
from promptrank.workspace.policies import without_steps
from promptrank.workspace.request_files import request_file
from promptrank.workspace.students import check_options, fit_student, measure_student
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.students.card import StudentFolder
    from promptrank.students.targets import Loss

TIMED = 60
"""Requests that are timed for a student's card."""
_FEW, _FEW_TIMED = 50, 3  # requests that a decoder is measured on and timed by: it takes its time


@dataclass(frozen=True, slots=True)
class Distilled:
    """What `distill` made.

    Attributes:
        asked: prompts that the teacher had to answer now, without those in the score cache.
        report: of the student on ``valid``; None where nothing there is labelled.
    """

    student: "StudentFolder"
    asked: int
    report: "Report | None"


def distill(
    task: str | OpenTask,
    *,
    name: str,
    teacher: str | None = None,
    student: str = "gbdt",
    loss: str = "auxiliary",
    alpha: float = 1.0,
    options: Mapping[str, Any] | None = None,
    requests: str | Path | None = None,
    unlabelled: str | Path | None = None,
    limit: int | None = None,
    labels: int | None = None,
    seed: int = 0,
    replace_: bool = False,
    engine: str = "packed",
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    cache: CacheChoice = True,
    timed: int = TIMED,
    report: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Distilled:
    """Train a student on the ``train`` part and write ``students/NAME/``.

    Args:
        teacher: ``base``, ``adapter:NAME`` (answers are kept in the score cache) or
            ``scores:FILE`` (a file that `rank` wrote); not needed for losses ``labels`` and
            ``self-auxiliary``.
        student: kind: ``gbdt``, ``sequence`` or ``decoder``.
        loss: ``labels``, ``direct``, ``auxiliary`` or ``self-auxiliary``.
        alpha: weight of the teacher beside a label's 1.
        options: settings of the kind.
        unlabelled: a further request file that the teacher answers; its labels are not used.
        limit: at most this many requests of each part, sampled by a hash of their ids.
        labels: use the labels of this many requests of each part only (those of ``valid`` stop the
            training); 0: of none, for a student of the teacher alone.
        device: of the teacher, and of a student of kind ``decoder`` while it learns.
        dtype: of the teacher's weights.
        cache: where the teacher's answers are kept: True for the project's score cache, a folder,
            or False for nowhere.
        replace_: put the student in the place of one of that name.
        timed: requests that are timed for its card.
        report: where to write, as JSON, how it does on ``valid``.

    Raises:
        InputError: whatever in the input keeps it from starting, too few labels among it.
    """
    from promptrank.evaluation.report import write_report
    from promptrank.students.card import (
        StudentCard,
        check_free,
        new_student,
        place_of,
        questions_digest,
        read_student,
        write_card,
    )
    from promptrank.students.lessons import Learning

    compute = Compute(threads, device, dtype)
    if report is not None:
        check_output(report, (".json",), [requests])
    opened = without_steps(open_task(task, project=project, settings=settings))
    place = place_of(opened.project, name)
    check_free(place, replace_)
    checked = _checked(opened, student, loss, teacher)
    learning = Learning(checked, alpha, seed, threads, options or {}, device)
    typed = check_options(opened, student, model, learning, say)
    slow = student == "decoder"
    with (
        taken(report, "distill"),
        owned(place, "distill"),
        request_file(opened, requests, splits=None, say=say) as file,
    ):
        source = LearnedFrom(opened, file, unlabelled, limit)
        taught = teach(source, teacher, engine, model, compute, say, progress, cache)
        lessons = source.lessons(taught.scores, labels)
        data = counts(opened.task, lessons)
        if teacher is not None and not any(data["taught"].values()):
            raise DataError(
                f"{teacher} has answered for no training candidate of {opened.name}; give scores "
                "of the training part, or see what `promptrank validate` says of its requests"
            )
        made = fit_student(opened, student, model, lessons, learning, say)
        card = StudentCard(
            name,
            student,
            opened.name,
            questions_digest(opened.task),
            loss,
            taught.facts,
            alpha,
            seed,
            {option: typed[option] for option in learning.options},
            data={**data, **(file.labels_stamp() or {})},
            facts=made.facts(),
            versions=versions(),
        )
        with new_student(place, replace=replace_) as folder:
            made.save(folder)
            write_card(folder, card)
            # What is measured is what will be served, so that none is handed over that cannot be.
            card, measured = measure_student(
                opened,
                read_student(folder),
                Sample(file, {"valid"}, _FEW if slow else None),
                taught.scores,
                source.sample,
                _FEW_TIMED if slow else timed,
                threads,
                say,
            )
            write_card(folder, card)
        if measured is not None:
            about = manifest("distill", opened.task, opened.name, student=name)
            measured = replace(measured, provenance=about)
            if report is not None:
                write_report(measured, Path(report))
        return Distilled(read_student(place), taught.asked, measured)


def _checked(opened: OpenTask, student: str, loss: str, teacher: str | None) -> "Loss":
    """The loss, where it goes with the other options."""
    from promptrank.students.kinds import KINDS
    from promptrank.students.targets import LOSSES

    if student not in KINDS:
        raise InputError(f"no kind of student {student!r}; kinds: {', '.join(KINDS)}")
    if loss not in LOSSES:
        raise InputError(f"no loss {loss!r}; losses: {', '.join(LOSSES)}")
    if teacher is None and loss in ("direct", "auxiliary"):
        raise InputError(f"loss {loss} learns from a teacher; name one, such as --teacher base")
    if teacher is not None and loss == "labels":
        raise InputError("loss labels learns from no teacher; leave --teacher out")
    if opened.task.fused:
        raise InputError(
            f"{opened.name} says `score: fused`, and a fusion is over a decoder's log-odds; distil "
            "the task without it, such as with --set score=QUESTION"
        )
    return loss
