"""A task's part of a training run: its requests chosen, encoded, and split off for validation."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank import __version__
from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Progress, Say, no_progress
from promptrank.errors import InputError
from promptrank.prompt.encode import WINDOW, Encoder
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.manifest import task_config
from promptrank.schema.task import Task
from promptrank.training.choosing import choose
from promptrank.training.encoding import (
    Chosen,
    ChunkEncoder,
    EncodedChunk,
    EncoderOf,
    Recipe,
    chunks,
)
from promptrank.training.encoding_processes import encoded_by
from promptrank.training.example_checks import check_examples
from promptrank.training.example_facts import Facts
from promptrank.training.example_store import (
    About,
    StoredExamples,
    kept,
    look_up,
    make_room,
    writing,
)
from promptrank.training.examples import Example
from promptrank.training.settings import Settings
from promptrank.training.validation import Slice

FORMAT = 1
"""Raised when the same requests become other examples, or other rows."""
LABELS_A_WORKER = 20_000
"""A process takes seconds to start; so many labels are worth another one."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One task, ready to train.

    Attributes:
        examples: in the order of the sample; read from disk, one by one.
        facts: of the examples.
        requests: part -> how many requests are used.
        data: digest of the requests trained on.
        unread: rows that could not be read.
    """

    name: str
    task: Task
    encoder: Encoder
    examples: Sequence[Example]
    facts: Facts
    slice: Slice | None
    requests: dict[str, int]
    data: str
    unread: int

    @property
    def labels(self) -> int:
        """Labels in its examples."""
        return self.facts.labels

    @property
    def lost(self) -> int:
        """Rows that could not be read or encoded."""
        return self.unread + sum(self.facts.lost.values())


def shape_of(name: str, task: Task, settings: Settings) -> str:
    """``turns`` or ``packed``.

    Raises:
        InputError: turns are asked for where history is a list, or there is none, or where no loss
            is on turns.
    """
    turns = task.history is not None and task.history.as_ == "turns"
    if not settings.losses.get("answers"):
        # Lists are of candidates; a label in a turn would train nothing.
        if settings.shape == "turns":
            raise InputError(
                "--shape turns needs the loss answers: listwise and ranknet compare a request's "
                "candidates alone; add --loss answers, or take --shape packed"
            )
        return "packed"
    if settings.shape == "turns" and not turns:
        raise InputError(
            f"{name}: --shape turns needs history with as: turns, so that the events stand "
            "in prompts as questions with answers; set it, or take --shape packed"
        )
    return "turns" if turns and settings.shape != "packed" else "packed"


def prepare(
    name: str,
    task: Task,
    file: RequestFile,
    settings: Settings,
    encoder_of: EncoderOf,
    *,
    number: int,
    store: Path,
    workers: int = 1,
    say: Say,
    progress: Progress = no_progress,
) -> Prepared:
    """Choose, encode and check one task's requests; or take examples that are in the store.

    Args:
        file: its request file, with all parts.
        number: of the task in the run.
        store: folder of examples; each set has a folder of its own there, named by its key.
        workers: processes that encode, at most; the examples are the same for any number, and a
            few thousand labels are encoded by this process alone.
        progress: is told how many requests are encoded.

    Raises:
        DataError: nothing to learn from.
    """
    turns = shape_of(name, task, settings) == "turns"
    encoder = encoder_of(task)
    ways = list(_ways(name, task, settings))
    encoders = [encoder, *(encoder_of(words) for _, words in ways[1:])]
    folder = store / _key(task, file, settings, turns, ways, encoders)
    with kept(folder, say):
        about = look_up(folder, say)
        if about is not None:
            say(f"{name}: examples: reused from {folder}")
        else:
            recipe = Recipe(
                task, tuple(words for _, words in ways), encoder_of, turns, settings.questions
            )
            encoding = Encoding(recipe, encoders, [share for share, _ in ways], workers, progress)
            about = _write(name, file, settings, encoding, folder, say)
        made = StoredExamples(folder, number)
    facts = about.facts
    if turns and facts.dropped:
        say(
            f"{name}: {facts.dropped:,} events of histories did not fit into budget.tokens="
            f"{task.budget.tokens}; their labels train nothing"
        )
    part = _slice(name, task, file, encoder, settings)
    counts = {"train": len(made), "valid": len(part.requests) if part is not None else 0}
    return Prepared(name, task, encoder, made, facts, part, counts, about.data, about.unread)


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the chosen requests of a task are encoded.

    Attributes:
        encoders: of the recipe's ways, and ``shares`` how much of the examples each words.
    """

    recipe: Recipe
    encoders: Sequence[Encoder]
    shares: Sequence[float]
    workers: int
    progress: Progress

    def encoded(self, chosen: Iterable[Chosen], labels: int) -> Iterator[EncodedChunk]:
        """The chunks of these requests, which have so many labels, in their order."""
        workers = min(self.workers, labels // LABELS_A_WORKER)
        if workers > 1:
            yield from encoded_by(workers, self.recipe, chunks(chosen))
        else:
            alone = ChunkEncoder(self.recipe, self.encoders)
            yield from map(alone.encode, chunks(chosen))


def _write(
    name: str, file: RequestFile, settings: Settings, encoding: Encoding, folder: Path, say: Say
) -> About:
    """Choose requests and encode them into the folder."""
    task = encoding.recipe.task
    say(f"{name}: choosing requests")
    choice = choose(
        task, file, turns=encoding.recipe.turns, limit=settings.limit, seed=settings.seed
    )
    # Examples are read in the order of the sample, however the file is sorted.
    places = {request: place for place, request in enumerate(choice.shares)}
    chosen = (
        Chosen(
            places[request.request_id],
            request,
            choice.shares[request.request_id],
            _way(request.request_id, encoding.shares, settings.seed),
        )
        for request in choice.read(file)
    )
    facts, done = Facts(), 0
    with writing(folder) as written:
        for some in written.rows(encoding.encoded(chosen, choice.labels)):
            facts.join(some)
            done = min(done + WINDOW, len(places))
            encoding.progress(done, len(places))
        check_examples(name, task, facts, choice.requests)
        used: list[Any] = [requests_digest(file.path), written.ids()]
        used += [s for s in (file.items_stamp(), file.labels_stamp()) if s is not None]
        about = written.about(facts, choice.requests, len(choice.unread), json_digest(used))
    make_room(folder, say)
    return about


def _key(
    task: Task,
    file: RequestFile,
    settings: Settings,
    turns: bool,
    ways: Sequence[tuple[float, Task]],
    encoders: Sequence[Encoder],
) -> str:
    """What makes examples what they are, as a folder's name."""
    facts = {
        "version": [__version__, FORMAT],
        "task": task_config(task),
        "requests": requests_digest(file.path),
        "items": file.items_stamp(),
        "labels": file.labels_stamp(),
        "turns": turns,
        "questions": settings.questions,
        "limit": settings.limit,
        "seed": settings.seed,
        "ways": [
            [share, encoder.fingerprint] for (share, _), encoder in zip(ways, encoders, strict=True)
        ],
    }
    return json_digest(facts)[:32]


def _slice(
    name: str, task: Task, file: RequestFile, encoder: Encoder, settings: Settings
) -> Slice | None:
    """The sample of the part ``valid``; None where the task or the run has none."""
    if task.split is None or not settings.valid:
        return None
    requests = list(Sample(file, {"valid"}, settings.valid))
    if not requests:
        return None
    metrics = tuple(dict.fromkeys([settings.metric, *task.metrics]))
    return Slice(name, task, encoder, requests, metrics)


def _ways(name: str, task: Task, settings: Settings) -> Iterator[tuple[float, Task]]:
    """The task's own words and other words, each with its share of the requests."""
    variants = list(_reworded(name, task, settings))
    yield 1.0 - sum(share for share, _ in variants), task
    yield from variants


def _way(request_id: str, shares: Sequence[float], seed: int) -> int:
    """Which words a request gets: once for all epochs, by a hash of its id."""
    drawn = hashlib.md5(f"{seed}:words:{request_id}".encode()).digest()
    draw = int.from_bytes(drawn[:6]) / 2**48
    place = 0
    while place < len(shares) - 1 and draw >= shares[place]:
        draw -= shares[place]
        place += 1
    return place


def _reworded(name: str, task: Task, settings: Settings) -> Iterator[tuple[float, Task]]:
    """The task with its answers' other wordings first, and with other templates."""
    turns = max(len(a.say) for q in task.questions.values() for a in q.answers.values()) - 1
    if settings.rewordings and not turns:
        raise InputError(
            f"{name}: no answer has a second wording to train with; list some under say"
        )
    for turn in range(1, turns + 1 if settings.rewordings else 1):
        questions = {
            asked: question.model_copy(
                update={
                    "answers": {
                        n: a.model_copy(
                            update={"say": a.say[turn % len(a.say) :] + a.say[: turn % len(a.say)]}
                        )
                        for n, a in question.answers.items()
                    }
                }
            )
            for asked, question in task.questions.items()
        }
        share = settings.rewordings / turns
        yield share, task.model_copy(update={"questions": questions})
    for template, share in settings.templates.items():
        yield share, task.model_copy(update={"template": template})
