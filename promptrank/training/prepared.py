"""A task's part of a training run: its requests chosen, encoded, and split off for validation."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Say
from promptrank.errors import ErrorRow, InputError
from promptrank.prompt.encode import Encoder
from promptrank.records import Request
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile, Sample
from promptrank.schema.task import Task
from promptrank.training.example_checks import check_examples
from promptrank.training.examples import Example, examples
from promptrank.training.label_shares import Choosable, HeldOut, entry_of, select
from promptrank.training.settings import Settings
from promptrank.training.validation import Slice

EncoderOf = Callable[[Task], Encoder]
"""A task, or a variant of it with other words -> its encoder for the model that is trained."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One task, ready to train.

    Attributes:
        requests: part -> how many requests are used.
        data: digest of the requests trained on.
        labels: in its examples.
        lost: rows that could not be read or encoded.
    """

    name: str
    task: Task
    encoder: Encoder
    examples: Sequence[Example]
    slice: Slice | None
    requests: dict[str, int]
    data: str
    labels: int
    lost: int


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
    say: Say,
) -> Prepared:
    """Choose, encode and check one task's requests.

    Args:
        file: its request file, with all parts.
        number: of the task in the run.

    Raises:
        DataError: nothing to learn from.
    """
    turns = shape_of(name, task, settings) == "turns"
    unread: list[ErrorRow] = []
    say(f"{name}: choosing requests")
    held, entries = _survey(task, file, turns, unread)
    shares = select(entries, settings.limit, settings.seed)
    chosen = [held.without(request) for request in file.read(_train(task), set(shares))]
    encoder = encoder_of(task)
    unencoded: list[ErrorRow] = []
    dropped: list[int] = []
    made: list[Example] = []
    for variant, requests in _variants(name, task, encoder, settings, encoder_of, chosen):
        made += examples(
            task,
            variant,
            requests,
            shares,
            number=number,
            turns=turns,
            weights=settings.questions,
            errors=unencoded.append,
            dropped=dropped.append,
        )
    if turns and (count := sum(dropped)):
        say(
            f"{name}: {count:,} events of histories did not fit into budget.tokens="
            f"{task.budget.tokens}; their labels train nothing"
        )
    check_examples(name, task, made, len(entries), unencoded)
    # Examples stand in the order of the sample, however the file is sorted.
    order = {request: place for place, request in enumerate(shares)}
    made.sort(key=lambda example: order[example.request_id])
    part = _slice(name, task, file, encoder, settings)
    counts = {"train": len(made), "valid": len(part.requests) if part is not None else 0}
    used: list[Any] = [requests_digest(file.path), [example.request_id for example in made]]
    if (items := file.items_stamp()) is not None:
        used.append(items)
    labels = sum(example.labels for example in made)
    lost = len(unread) + len(unencoded)
    return Prepared(name, task, encoder, made, part, counts, json_digest(used), labels, lost)


def _train(task: Task) -> set[str] | None:
    return {"train"} if task.split is not None else None


def _survey(
    task: Task, file: RequestFile, turns: bool, unread: list[ErrorRow]
) -> tuple[HeldOut, list[Choosable]]:
    """Labels that must not be seen, and what there is to choose from."""
    held, entries = HeldOut(), []
    for request in file.read(errors=unread.append):
        if request.split in ("test", "valid"):
            held.add(request)
        elif task.split is None or request.split == "train":
            entries.append(entry_of(request, task, turns))
    return held, entries


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


def _variants(
    name: str,
    task: Task,
    encoder: Encoder,
    settings: Settings,
    encoder_of: EncoderOf,
    requests: Sequence[Request],
) -> Iterator[tuple[Encoder, list[Request]]]:
    """Encoders of the task's own words and of other words, each with its share of the requests."""
    variants = list(_reworded(name, task, settings))
    left = 1.0 - sum(share for share, _ in variants)
    ways = [(left, encoder)]
    ways += [(share, encoder_of(variant)) for share, variant in variants]
    groups: list[list[Request]] = [[] for _ in ways]
    for request in requests:
        drawn = f"{settings.seed}:words:{request.request_id}".encode()
        draw = int.from_bytes(hashlib.md5(drawn).digest()[:6]) / 2**48
        place = 0
        while place < len(ways) - 1 and draw >= ways[place][0]:
            draw -= ways[place][0]
            place += 1
        groups[place].append(request)
    for (_, way), mine in zip(ways, groups, strict=True):
        if mine:
            yield way, mine


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
