"""What a student learns from: requests, their labels, and a teacher's answers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from promptrank.basics.telling import Progress, Say
from promptrank.engine.compute import Compute
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.scoring import score
from promptrank.runtime.runtime import Runtime
from promptrank.schema.task import Task
from promptrank.scores.scores import Scores
from promptrank.students.lessons import Lessons, make_lessons
from promptrank.workspace.kept_scores import CacheChoice, score_cache, teachers_cache, tell_use
from promptrank.workspace.named import parse_named
from promptrank.workspace.rankers import open_named
from promptrank.workspace.request_files import given_file
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import OpenTask


class LearnedFrom:
    """The requests that a student learns from, as often as they are wanted."""

    def __init__(
        self,
        opened: OpenTask,
        file: RequestFile,
        unlabelled: str | Path | None,
        limit: int | None,
    ) -> None:
        """Choose requests of ``train`` and ``valid``.

        Args:
            unlabelled: a further request file, whose labels are not used.
            limit: at most so many of each part; a smaller sample lies within a larger one.
        """
        self.opened, self.file = opened, file
        self.more = given_file(opened, unlabelled) if unlabelled is not None else None
        self.parts = {"train", "valid"} if opened.task.split is not None else None
        self.sample = Sample(file, self.parts, ids=self._ids(limit))
        self.sample.hold()

    def _ids(self, limit: int | None) -> set[str]:
        if self.parts is None:
            return set(self.file.ids(None, limit))
        return {name for part in self.parts for name in self.file.ids({part}, limit)}

    def requests(self) -> Iterator[Request]:
        """The labelled ones, then the others as training requests without outcomes."""
        yield from self.sample
        for request in self.more.read() if self.more is not None else ():
            if request.request_id not in self.sample.ids and request.split in ("train", None):
                bare = tuple(replace(c, outcomes={}) for c in request.candidates)
                yield replace(request, candidates=bare, split="train")

    def lessons(self, teacher: Scores | None, labels: int | None) -> Lessons:
        """Lessons, with the labels of ``labels`` requests of each part, or of all."""
        shown = self._ids(labels) if labels is not None else None
        return lambda: make_lessons(self.opened.task, self.requests(), teacher, labelled=shown)


@dataclass(frozen=True, slots=True)
class Taught:
    """A teacher's answers.

    Attributes:
        scores: None without a teacher.
        facts: who it was, for the student's card.
        asked: prompts that the teacher had to answer now; others came from the score cache.
    """

    scores: Scores | None = None
    facts: dict[str, Any] | None = None
    asked: int = 0


def teach(
    source: LearnedFrom,
    teacher: str | None,
    engine: str,
    model: str | None,
    compute: Compute,
    say: Say,
    progress: Progress,
    cache: CacheChoice = True,
) -> Taught:
    """Have a teacher answer for the requests; a decoder's answers are kept in the score cache."""
    if teacher is None:
        return Taught()
    who = parse_named(teacher, ("adapter", "base", "scores"))
    if who.kind == "scores":
        scores = open_scores(source.opened, who.name, say)
        for name in source.opened.task.questions:
            scores.logprobs(source.opened.task, name)  # a baseline's scores teach nothing
        return Taught(scores, {"name": str(who), **scores.origin.as_dict(), **_count(scores)})
    given: dict[str, Any] = {"engine": engine, "model": model, "compute": compute, "say": say}
    cache = teachers_cache(engine, cache, say)
    with (
        score_cache(source.opened.project, cache, say) as kept,
        Runtime(cache=kept) as runtime,
        open_named(source.opened, who, runtime=runtime, **given) as ranker,
    ):
        total = sum(1 for _ in source.requests())
        lost: list[str] = []  # why, for each candidate that got no answer
        scores = score(
            ranker,
            source.requests(),
            progress,
            total=total,
            say=say,
            watch=lambda ranking: lost.extend(_unanswered(ranking)),
        )
        tell_use(kept, say, "teacher")
    if lost:
        say(f"{len(lost):,} candidates could not be asked, first: {next(filter(None, lost), '')}")
    facts = {"name": str(who), **scores.origin.as_dict(), **_count(scores)}
    return Taught(scores, facts, kept.asked if kept is not None else len(scores))


def counts(task: Task, lessons: Lessons) -> dict[str, Any]:
    """What a student learned from, for its card: the training part, and the labels of ``valid``."""
    requests = candidates = 0
    labelled, taught, valid = (dict.fromkeys(task.questions, 0) for _ in range(3))
    for lesson in lessons():
        training = lesson.request.split != "valid"
        requests += training
        candidates += training * len(lesson.request.candidates)
        for name in task.questions:
            known = sum(i is not None for i in lesson.labels[name])
            (labelled if training else valid)[name] += known
            taught[name] += training * sum(t is not None for t in lesson.teacher[name])
    counted = {"requests": requests, "candidates": candidates, "labels": labelled}
    return counted | {"taught": taught, "valid_labels": valid}


def _unanswered(ranking: Ranking) -> list[str]:
    """A reason for each candidate without an answer."""
    # Events that were left out are among the errors too, and cost no answer.
    reasons = [row.message for row in ranking.errors if not row.reason.startswith("event_")]
    count = len(ranking.request.candidates) - len(ranking.scored)
    return [*reasons, *[""] * count][:count]


def _count(scores: Scores) -> dict[str, int]:
    return {"candidates": len(scores)}
