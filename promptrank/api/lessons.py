"""What `distill` learns from: requests, their labels, and a teacher's answers."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.adapters.shelf import adapter_digest
from promptrank.api.rank import Progress
from promptrank.api.requests import RequestFile, read
from promptrank.api.tasks import OpenTask, Say
from promptrank.api.teacher import (
    Lost,
    ask,
    open_answerer,
    parse_answerer,
    read_taught,
    with_store,
)
from promptrank.records import Request
from promptrank.schema.task import Task

if TYPE_CHECKING:
    from promptrank.students.lessons import Lessons, Taught

_HELD = 20_000  # requests, which are read several times


class Source:
    """The requests that a student learns from, as often as they are wanted."""

    def __init__(
        self, opened: OpenTask, file: RequestFile, unlabelled: str | Path | None, limit: int | None
    ) -> None:
        self.opened, self.path = opened, file.path
        self.more = Path(unlabelled) if unlabelled is not None else None
        self.parts = {"train", "valid"} if opened.task.split is not None else None
        self.ids = self._sample(limit)
        self._held: list[Request] | None = None

    def _sample(self, limit: int | None) -> set[str]:
        """Ids of at most so many requests of each part; a smaller sample lies within a larger."""
        from promptrank.requests.sampling import request_ids

        if self.parts is None:
            return set(request_ids(self.path, None, limit))
        return {name for part in self.parts for name in request_ids(self.path, {part}, limit)}

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
        """Lessons; with the labels of so many requests of each part, or of all."""
        from promptrank.students.lessons import make_lessons

        shown = self._sample(labels) if labels is not None else None
        return lambda: make_lessons(self.opened.task, self.requests(), taught, labelled=shown)


def teach(
    source: Source,
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
        lost = Lost()
        for done, some in enumerate(ask(ranker, source.requests(), lost), 1):
            answers |= some
            progress(done, total)
        info = ranker.info
        facts = {"name": str(who), "engine": info.name, "model": info.model}
        facts |= {"model_digest": info.digest, "prompt": ranker.fingerprint}
        facts |= {"adapter": ranker.adapter, "candidates": len(answers)}
        if ranker.adapter is not None:
            facts["adapter_digest"] = adapter_digest(ranker.adapter)
    say(f"{stored.found:,} prompts answered from the store, {stored.asked:,} by the teacher")
    if lost.candidates:
        say(f"{lost.candidates:,} candidates could not be asked, first: {lost.reason}")
    return answers, facts, stored.asked


def counts(task: Task, lessons: "Lessons") -> dict[str, Any]:
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
    found = {"requests": requests, "candidates": candidates, "labels": labelled, "taught": taught}
    return found | {"valid_labels": valid}
