"""``distill``: a decoder's answers into a small student."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.api.evaluate import gain_of
from promptrank.api.latency import latency_of
from promptrank.api.lessons import Source, counts, teach
from promptrank.api.manifest import versions
from promptrank.api.rank import Progress, no_progress
from promptrank.api.ranker import open_decoder, open_encoder
from promptrank.api.requests import RequestFile, read, request_file
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.errors import DataError, InputError
from promptrank.records import Request

if TYPE_CHECKING:
    from promptrank.students.card import StudentCard, StudentFolder
    from promptrank.students.lessons import Learning, Lessons, Taught
    from promptrank.students.student import Student
    from promptrank.students.targets import Loss

_FEW = 50
"""Requests that a decoder is measured on: it takes its time."""


@dataclass(frozen=True, slots=True)
class Distilled:
    """What `distill` made.

    Attributes:
        asked: prompts that the teacher had to answer now; what the store held is not asked again.
    """

    student: "StudentFolder"
    asked: int


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
    say: Say = silent,
    progress: Progress = no_progress,
) -> Distilled:
    """Train a student on the ``train`` part and write ``students/NAME/``.

    Args:
        teacher: ``base``, ``adapter:NAME`` (answers are kept in the project's ``teacher/``) or
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
        replace_: put the student in the place of one of that name.

    Raises:
        InputError: whatever in the input keeps it from starting, too few labels among it.
    """
    from promptrank.students.card import (
        FOLDER,
        StudentCard,
        check_free,
        check_name,
        questions_digest,
        write_student,
    )
    from promptrank.students.kinds import kind_of
    from promptrank.students.lessons import Learning

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    check_name(name)
    check_free(opened.project / FOLDER / name, replace_)
    learning = Learning(
        _checked(opened, student, loss, teacher), alpha, seed, threads, options or {}
    )
    typed = _check_options(opened, student, model, learning, say)
    with ExitStack() as stack:
        file = stack.enter_context(request_file(opened, requests, splits=None, say=say))
        source = Source(opened, file, unlabelled, limit)
        taught, about, asked = teach(source, teacher, engine, model, threads, say, progress)
        lessons = source.lessons(taught, labels)
        data = counts(opened.task, lessons)
        if teacher is not None and not any(data["taught"].values()):
            raise DataError(
                f"{teacher} has answered for no training candidate of {opened.name}; give scores "
                "of the training part, or see what `promptrank validate` says of its requests"
            )
        made = (
            _fit_decoder(opened, model, lessons, learning, say)
            if student == "decoder"
            else kind_of(student).fit(opened.task, lessons, learning, say)
        )
        few = _FEW if student == "decoder" else None
        card = StudentCard(
            name,
            student,
            opened.name,
            questions_digest(opened.task),
            loss,
            about,
            alpha,
            seed,
            {option: typed[option] for option in learning.options},
            data=data,
            facts=made.facts(),
            versions=versions(),
        )
        card = replace(card, metrics=_metrics(opened, file, made, taught, few, say))
        card = replace(card, latency=latency_of(made.answers, source.labelled(), 3 if few else 60))
        written = write_student(
            opened.project,
            card,
            made,
            replace=replace_,
            check=lambda folder: _check_opens(opened, card, folder, threads),
        )
    return Distilled(written, asked)


def _checked(opened: OpenTask, student: str, loss: str, teacher: str | None) -> "Loss":
    """The loss, where it goes with the rest."""
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


def _check_options(
    opened: OpenTask, student: str, model: str | None, settings: "Learning", say: Say
) -> dict[str, Any]:
    if student == "decoder":
        from promptrank.assets import resolve_model
        from promptrank.students.decoder import pruned as decoder

        found = decoder.check_options(settings)
        decoder.check_layers(resolve_model(model or opened.task.model, say=say), found["layers"])
        return found
    from promptrank.students.kinds import kind_of

    return kind_of(student).check_options(settings)


def _fit_decoder(
    opened: OpenTask, model: str | None, lessons: "Lessons", settings: "Learning", say: Say
) -> "Student":
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits
    from promptrank.students.decoder import pruned as decoder

    folder = resolve_model(model or opened.task.model, say=say)
    encoder = open_encoder(opened, folder, model_limits(folder).max_tokens)
    return decoder.fit(opened.task, encoder, folder, lessons, settings, say)


def _check_opens(opened: OpenTask, card: "StudentCard", folder: Path, threads: int | None) -> None:
    """What was written is read once, so that no student is handed over that cannot be opened."""
    from promptrank.students.kinds import kind_of

    if card.kind == "decoder":
        open_decoder(opened, card, folder, threads).close()
    else:
        kind_of(card.kind).load(opened.task, folder, threads)


def _metrics(
    opened: OpenTask,
    file: RequestFile,
    made: "Student",
    taught: "Taught",
    limit: int | None,
    say: Say,
) -> dict[str, Any]:
    """On ``valid``, so that a choice among students never looks at the test part.

    Against the labels there, and against the teacher where it answered. Empty where the task has
    no such part.
    """
    from promptrank.requests.sampling import request_ids
    from promptrank.students.serve import slot_scores
    from promptrank.students.teacher_agreement import agreement

    if opened.task.split is None:
        return {}
    say("measuring the student on valid")
    part = {"valid"}
    only = set(request_ids(file.path, part, limit))
    requests = list(read(opened, file.path, part, {}, only))
    found = _measured(opened, requests, made)
    if taught:
        found |= agreement(opened.task, slot_scores(opened.task, made), requests, taught)
    return found


def _measured(opened: OpenTask, requests: Sequence[Request], made: "Student") -> dict[str, Any]:
    import numpy as np

    from promptrank.evaluation.compare import evaluate as compare
    from promptrank.evaluation.judged import Scored, judge
    from promptrank.ranking.loop import rank_answers
    from promptrank.students.serve import slot_scores

    task = opened.task
    gain, relevant_at = gain_of(task)
    answers = slot_scores(task, made)
    only = next(iter(task.questions)) if len(task.questions) == 1 else None

    def score(request: Request) -> Scored:
        ranking = next(rank_answers(task, answers, [request]))
        found = {s.candidate_id: s for s in ranking.scored}
        rows = [found.get(c.candidate_id) for c in request.candidates]
        scores = [s.score if s is not None else None for s in rows]
        if only is None:
            return Scored(scores)
        chances = [s.questions[only].probability if s is not None else None for s in rows]
        return Scored(scores, chances)

    if not any(gain(c) is not None for r in requests for c in r.candidates):
        return {}
    judged = judge(requests, {"student": score}, gain_of=gain, relevant_at=relevant_at)
    if np.isnan(judged.scores["student"]).all():
        return {}
    report = compare(judged, task.metrics, reference="student", draws=200)
    return {
        name: {"value": cell.value, "low": cell.low, "high": cell.high}
        for name, cell in report.rankers[0].cells.items()
    }
