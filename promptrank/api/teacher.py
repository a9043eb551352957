"""Who answers: a decoder behind the teacher store, or a scores file."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.adapters.shelf import adapter_digest
from promptrank.api.ranker import Ranker, StudentRanker, open_encoder, open_ranker
from promptrank.api.tasks import OpenTask, Say
from promptrank.errors import DataError, InputError, ModelError
from promptrank.ranking.loop import Ranking
from promptrank.records import Request
from promptrank.schema.task import Task

if TYPE_CHECKING:
    from promptrank.students.lessons import Taught
    from promptrank.students.teacher_store import StoredEngine

TEACHER = "teacher"
"""Folder of a project that holds its teacher store."""


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who answers, as ``--teacher`` and ``--vs`` name it.

    Attributes:
        kind: ``base``, ``adapter``, ``student`` or ``scores``.
        name: of the adapter or student, or the path of the scores file.
    """

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def parse_answerer(text: str, kinds: Sequence[str]) -> Answerer:
    """``base``, ``adapter:NAME``, ``student:NAME`` or ``scores:FILE``, those of ``kinds``.

    Raises:
        InputError: anything else.
    """
    kind, _, name = text.partition(":")
    if kind in kinds and bool(name) == (kind != "base"):
        return Answerer(kind, name)
    shown = [k if k == "base" else f"{k}:{'FILE' if k == 'scores' else 'NAME'}" for k in kinds]
    raise InputError(f"{text!r}: write {', '.join(shown[:-1])} or {shown[-1]}")


def open_answerer(
    opened: OpenTask,
    who: Answerer,
    *,
    engine: str = "packed",
    model: str | None = None,
    threads: int | None = None,
    say: Say,
) -> Ranker:
    """The ranker behind ``base``, ``adapter:NAME`` or ``student:NAME``."""
    if who.kind == "student":
        return open_ranker(opened, engine=str(who), threads=threads, say=say)
    adapter = who.name if who.kind == "adapter" else None
    return open_ranker(
        opened, engine=engine, model=model, adapter=adapter, threads=threads, say=say
    )


def with_store(ranker: Ranker) -> "StoredEngine":
    """Put the project's teacher store before a ranker's engine.

    Raises:
        InputError: the ranker is a student, whose answers are cheaper than a look-up.
    """
    from promptrank.students.teacher_store import StoredEngine

    if isinstance(ranker, StudentRanker):
        raise InputError(f"{ranker.info.model}: the store is for decoders; leave --store out")
    stored = StoredEngine(ranker.engine, ranker.opened.project / TEACHER, adapter_digest)
    ranker.engine = stored
    return stored


@dataclass(slots=True)
class Lost:
    """Candidates that got no answer.

    Attributes:
        reason: of the first of them.
    """

    candidates: int = 0
    reason: str = ""

    def add(self, ranking: Ranking) -> None:
        """Count those of one ranking."""
        given = len(ranking.request.candidates) if ranking.request is not None else 0
        lost = given - len(ranking.scored)
        # Events that were left out are among the errors too, and cost no answer.
        found = [e.message for e in ranking.errors if not e.reason.startswith("event_")]
        if lost and not self.reason and found:
            self.reason = found[0]
        self.candidates += lost


def ask(ranker: Ranker, requests: Iterable[Request], lost: Lost) -> "Iterator[Taught]":
    """The ranker's answer probabilities, among the declared answers, request by request."""
    for ranking in ranker.rank_many(requests):
        lost.add(ranking)
        yield {
            (ranking.request_id, scored.candidate_id): tuple(
                _shares(list(answered.logprobs.values())) for answered in scored.questions.values()
            )
            for scored in ranking.scored
        }


def read_taught(opened: OpenTask, path: Path, say: Say) -> tuple["Taught", dict[str, Any]]:
    """Answer probabilities of a scores file, and what its config says about who answered.

    Raises:
        DataError: no scores file of this task, or scores of other prompts than the template words
            today.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException
    from pyarrow import json as arrow_json

    names = ["request_id", "candidate_id"]
    names += [
        f"{q}_logprob_{a}" for q, about in opened.task.questions.items() for a in about.answers
    ]
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path, columns=names)
        else:
            table = arrow_json.read_json(path).select(names)
    except (OSError, ArrowException, KeyError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a scores file of {opened.name}: {first}") from None
    facts = _check_prompts(opened, path, say)
    columns = [table.column(name).to_pylist() for name in names]
    taught = {}
    for request, candidate, *logs in zip(*columns, strict=True):
        if None not in logs:
            taught[str(request), str(candidate)] = tuple(_by_question(opened.task, logs))
    return taught, {**facts, "candidates": len(taught)}


def _by_question(task: Task, logs: Sequence[float]) -> Iterable[Any]:
    start = 0
    for question in task.questions.values():
        end = start + len(question.answers)
        yield _shares(logs[start:end])
        start = end


def _shares(logs: Sequence[float]) -> Any:
    import numpy as np

    values = np.exp(np.array(logs, dtype=np.float64) - max(logs))
    return values / values.sum()


def _check_prompts(opened: OpenTask, path: Path, say: Say) -> dict[str, Any]:
    """Compare the prompts a scores file was made with to those of today."""
    from promptrank.students.kinds import KINDS

    config = path.with_name(f"{path.stem}.config.json")
    if not config.is_file():
        say(f"{path.name} has no {config.name}: whether its prompts are today's is not known")
        return {"scores": str(path), "prompts": "unknown"}
    about = json.loads(config.read_text(encoding="utf-8"))
    engine = about.get("engine") or {}
    facts = {
        "scores": str(path),
        "engine": engine,
        "adapter": about.get("adapter"),
        "adapter_digest": about.get("adapter_digest"),
        "prompt": about.get("prompt"),
    }
    if about.get("task") != opened.name:
        raise DataError(f"{path}: scores of task {about.get('task')}, not of {opened.name}")
    if engine.get("name") in KINDS:
        return facts
    now = _fingerprint(opened, engine, say)
    if now is None:
        return {**facts, "prompts": "unknown"}
    if now != about.get("prompt"):
        raise DataError(
            f"{path}: these scores were made with other prompts than {opened.name} words today "
            "(template, answers, budget or tokenizer changed); rank again, or undo the change"
        )
    return facts


def _fingerprint(opened: OpenTask, engine: dict[str, Any], say: Say) -> str | None:
    from promptrank.assets import resolve_model

    # The fake engine has no model: its prompts are made with the task's tokenizer.
    name = opened.task.model if engine.get("name") == "fake" else str(engine.get("model"))
    try:
        folder = resolve_model(name, offline=True)
    except ModelError:
        say(f"{name} is not here: whether the scores' prompts are today's is unknown")
        return None
    return open_encoder(opened, folder, int(engine.get("max_tokens") or 0)).fingerprint
