"""``distill``: a decoder's answers into a small student."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.api.evaluate import gain_of
from promptrank.api.latency import latency_of
from promptrank.api.manifest import versions
from promptrank.api.rank import Progress, no_progress
from promptrank.api.ranker import open_encoder, open_ranker
from promptrank.api.requests import RequestFile, read, request_file
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.api.teacher import ask, open_answerer, parse_answerer, read_taught, with_store
from promptrank.errors import InputError
from promptrank.records import Request
from promptrank.schema.task import Task

if TYPE_CHECKING:
    from promptrank.distillation.card import StudentFolder
    from promptrank.distillation.lessons import Lessons, Settings, Taught
    from promptrank.distillation.student import Student

_HELD = 20_000  # requests, which are read several times
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
        labels: use the labels of this many training requests only; 0: the teacher alone.
        replace_: put the student in the place of one of that name.

    Raises:
        InputError: whatever in the input keeps it from starting, too few labels among it.
    """
    from promptrank.distillation.card import (
        FOLDER,
        Card,
        check_free,
        check_name,
        questions_digest,
        write_student,
    )
    from promptrank.distillation.kinds import KINDS, kind_of
    from promptrank.distillation.lessons import Settings
    from promptrank.distillation.losses import LOSSES

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    check_name(name)
    check_free(opened.project / FOLDER / name, replace_)
    if student not in KINDS:
        raise InputError(f"no kind of student {student!r}; kinds: {', '.join(KINDS)}")
    if loss not in LOSSES:
        raise InputError(f"no loss {loss!r}; losses: {', '.join(LOSSES)}")
    if teacher is None and loss in ("direct", "auxiliary"):
        raise InputError(f"loss {loss} learns from a teacher; name one, such as --teacher base")
    if teacher is not None and loss == "labels":
        raise InputError("loss labels learns from no teacher; leave --teacher out")
    with ExitStack() as stack:
        file = stack.enter_context(request_file(opened, requests, splits=None, say=say))
        source = _Source(opened, file, unlabelled, limit)
        taught, about, asked = _teach(source, teacher, engine, model, threads, say, progress)
        lessons = source.lessons(taught, labels)
        learning = Settings(loss, alpha, seed, threads, options or {})
        made = (
            _fit_decoder(opened, model, lessons, learning, say)
            if student == "decoder"
            else kind_of(student).fit(opened.task, lessons, learning, say)
        )
        few = _FEW if student == "decoder" else None
        card = Card(
            name,
            student,
            opened.name,
            questions_digest(opened.task),
            loss,
            about,
            alpha,
            seed,
            dict(options or {}),
            data=_counts(opened.task, lessons),
            facts=made.facts(),
            versions=versions(),
        )
        card = replace(card, metrics=_metrics(opened, file, made, taught, few, say))
        card = replace(card, latency=latency_of(made.answers, source.labelled(), 3 if few else 60))
        written = write_student(opened.project, card, made, replace=replace_)
    # What was written is read once, so that no student is handed over that cannot be opened.
    open_ranker(opened, engine=f"student:{name}", threads=threads).close()
    return Distilled(written, asked)


def _fit_decoder(
    opened: OpenTask, model: str | None, lessons: "Lessons", settings: "Settings", say: Say
) -> "Student":
    from promptrank.assets import resolve_model
    from promptrank.distillation import decoder
    from promptrank.engine.limits import model_limits

    folder = resolve_model(model or opened.task.model, say=say)
    encoder = open_encoder(opened, folder, model_limits(folder).max_tokens)
    return decoder.fit(opened.task, encoder, folder, lessons, settings, say)


class _Source:
    """The requests that a student learns from, as often as they are wanted."""

    def __init__(
        self, opened: OpenTask, file: RequestFile, unlabelled: str | Path | None, limit: int | None
    ) -> None:
        from promptrank.data.select import request_ids

        self.opened, self.path = opened, file.path
        self.more = Path(unlabelled) if unlabelled is not None else None
        self.parts = {"train", "valid"} if opened.task.split is not None else None
        self.ids: set[str] = set()
        self._held: list[Request] | None = None
        for part in ("train", "valid") if self.parts is not None else (None,):
            self.ids |= set(request_ids(file.path, {part} if part else None, limit))

    def labelled(self) -> Iterable[Request]:
        """Requests of ``train`` and ``valid``; held in memory where they are not many."""
        if self._held is None and len(self.ids) <= _HELD:
            self._held = list(read(self.opened, self.path, self.parts, {}, self.ids))
        if self._held is not None:
            return self._held
        return read(self.opened, self.path, self.parts, {}, self.ids)

    def requests(self) -> Iterator[Request]:
        """The same, then the unlabelled ones as training requests without outcomes."""
        yield from self.labelled()
        if self.more is None:
            return
        for request in read(self.opened, self.more, None, {}):
            if request.request_id not in self.ids and request.split in ("train", None):
                bare = tuple(replace(c, outcomes={}) for c in request.candidates)
                yield replace(request, candidates=bare, split="train")

    def lessons(self, taught: "Taught", labels: int | None) -> "Lessons":
        """Lessons; of the labels of ``train`` only those of so many requests."""
        from promptrank.data.select import request_ids
        from promptrank.distillation.lessons import make_lessons

        part = {"train"} if self.parts is not None else None
        shown: set[str] | None = None
        if labels is not None:
            shown = set(request_ids(self.path, part, labels)) & self.ids if labels else set()
        return lambda: make_lessons(self.opened.task, self.requests(), taught, labelled=shown)


def _teach(
    source: _Source,
    teacher: str | None,
    engine: str,
    model: str | None,
    threads: int | None,
    say: Say,
    progress: Progress,
) -> tuple["Taught", dict[str, Any] | None, int]:
    """The teacher's answers, who gave them, and how many prompts it was asked."""
    if teacher is None:
        return {}, None, 0
    who = parse_answerer(teacher, ("adapter", "base", "scores"))
    if who.kind == "scores":
        taught, facts = read_taught(source.opened, Path(who.name), say)
        return taught, {"name": str(who), **facts}, 0
    answers: dict[tuple[str, str], Any] = {}
    with open_answerer(
        source.opened, who, engine=engine, model=model, threads=threads, say=say
    ) as ranker:
        stored = with_store(ranker)
        total = sum(1 for _ in source.requests())
        ask(ranker, _counted(source.requests(), total, progress), answers)
        info = ranker.info
        facts = {"name": str(who), "engine": info.name, "model": info.model}
        facts |= {"model_digest": info.digest, "prompt": ranker.fingerprint}
        facts |= {"adapter": ranker.adapter, "candidates": len(answers)}
    say(f"{stored.found:,} prompts answered from the store, {stored.asked:,} by the teacher")
    return answers, facts, stored.asked


def _counted(requests: Iterator[Request], total: int, progress: Progress) -> Iterator[Request]:
    for done, request in enumerate(requests, 1):
        yield request
        progress(done, total)


def _counts(task: Task, lessons: "Lessons") -> dict[str, Any]:
    requests = candidates = 0
    labelled, taught = dict.fromkeys(task.questions, 0), dict.fromkeys(task.questions, 0)
    for lesson in lessons():
        if lesson.request.split == "valid":
            continue
        requests += 1
        candidates += len(lesson.request.candidates)
        for name in task.questions:
            labelled[name] += sum(i is not None for i in lesson.labels[name])
            taught[name] += sum(t is not None for t in lesson.teacher[name])
    return {"requests": requests, "candidates": candidates, "labels": labelled, "taught": taught}


def _metrics(
    opened: OpenTask,
    file: RequestFile,
    made: "Student",
    taught: "Taught",
    limit: int | None,
    say: Say,
) -> dict[str, Any]:
    """Metrics of the task's test part against labels, and on what the teacher answered."""
    from promptrank.data.select import request_ids
    from promptrank.distillation.agreement import agreement
    from promptrank.distillation.serve import slot_scores

    say("measuring the student")
    test = {"test"} if opened.task.split is not None else None
    only = set(request_ids(file.path, test, limit))
    found = _measured(opened, list(read(opened, file.path, test, {}, only)), made)
    if taught:
        valid = {"valid"} if opened.task.split is not None else None
        answers = slot_scores(opened.task, made)
        only = set(request_ids(file.path, valid, limit))
        requests = read(opened, file.path, valid, {}, only)
        found |= agreement(opened.task, answers, requests, taught)
    return found


def _measured(opened: OpenTask, requests: Sequence[Request], made: "Student") -> dict[str, Any]:
    from promptrank.distillation.serve import slot_scores
    from promptrank.evaluation.compare import evaluate as compare
    from promptrank.evaluation.judged import Scored, judge
    from promptrank.ranking.run import rank_answers

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
    report = compare(judged, task.metrics, reference="student", draws=200)
    return {
        name: {"value": cell.value, "low": cell.low, "high": cell.high}
        for name, cell in report.rankers[0].cells.items()
    }
