"""A task's part of a training run: its requests chosen, encoded, and split off for validation."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.api.evaluate import gain_of
from promptrank.api.ranker import open_encoder
from promptrank.api.requests import read
from promptrank.api.tasks import OpenTask, Say
from promptrank.errors import ErrorRow, InputError
from promptrank.records import Request
from promptrank.training.settings import Settings

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.training.examples import Example
    from promptrank.training.label_shares import Entry, HeldOut
    from promptrank.training.validation import Slice


@dataclass(frozen=True, slots=True)
class Prepared:
    """One task, ready to train.

    Attributes:
        requests: part -> how many requests are used.
        data: digest of the requests trained on.
        labels: in its examples.
        lost: rows that could not be read or encoded.
    """

    opened: OpenTask
    encoder: "Encoder"
    examples: Sequence["Example"]
    slice: "Slice | None"
    requests: dict[str, int]
    data: str
    labels: int
    lost: int


def shape_of(opened: OpenTask, settings: Settings) -> str:
    """``turns`` or ``packed``.

    Raises:
        InputError: turns are asked for where history is a list, or there is none, or where no loss
            is on turns.
    """
    history = opened.task.history
    turns = history is not None and history.as_ == "turns"
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
            f"{opened.name}: --shape turns needs history with as: turns, so that the events stand "
            "in prompts as questions with answers; set it, or take --shape packed"
        )
    return "turns" if turns and settings.shape != "packed" else "packed"


def prepare(
    opened: OpenTask,
    file: Path,
    settings: Settings,
    *,
    number: int,
    model: Path,
    max_tokens: int,
    say: Say,
) -> Prepared:
    """Choose, encode and check one task's requests.

    Args:
        file: its request file, with all parts.
        number: of the task in the run.
        model: folder of the base, for its tokenizer.
        max_tokens: longest path it takes.

    Raises:
        DataError: nothing to learn from.
    """
    from promptrank.api.manifest import digest
    from promptrank.requests.sampling import file_digest
    from promptrank.training.example_checks import check_examples
    from promptrank.training.examples import examples
    from promptrank.training.label_shares import select

    turns = shape_of(opened, settings) == "turns"
    lost: dict[str, list[ErrorRow]] = {}
    say(f"{opened.name}: choosing requests")
    held, entries = _survey(opened, file, turns, lost)
    shares = select(entries, settings.limit, settings.seed)
    chosen = [held.without(r) for r in read(opened, file, _train(opened), {}, set(shares))]
    encoder = open_encoder(opened, model, max_tokens)
    unencoded: list[ErrorRow] = []
    dropped: list[int] = []
    found: list[Example] = []
    for one, requests in _variants(opened, encoder, settings, model, max_tokens, chosen):
        found += examples(
            opened.task,
            one,
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
            f"{opened.name}: {count:,} events of histories did not fit into budget.tokens="
            f"{opened.task.budget.tokens}; their labels train nothing"
        )
    check_examples(opened.name, opened.task, found, len(entries), unencoded)
    # Examples stand in the order of the sample, however the file is sorted.
    order = {name: place for place, name in enumerate(shares)}
    found.sort(key=lambda example: order[example.request_id])
    part = _slice(opened, file, encoder, settings)
    counts = {"train": len(found), "valid": len(part.requests) if part is not None else 0}
    return Prepared(
        opened,
        encoder,
        found,
        part,
        counts,
        digest([file_digest(file), [example.request_id for example in found]]),
        sum(example.labels for example in found),
        sum(map(len, lost.values())) + len(unencoded),
    )


def _train(opened: OpenTask) -> set[str] | None:
    return {"train"} if opened.task.split is not None else None


def _survey(
    opened: OpenTask, file: Path, turns: bool, lost: dict[str, list[ErrorRow]]
) -> "tuple[HeldOut, list[Entry]]":
    """Labels that must not be seen, and what there is to choose from."""
    from promptrank.training.label_shares import HeldOut, entry_of

    held, entries = HeldOut(), []
    for request in read(opened, file, None, lost):
        if request.split in ("test", "valid"):
            held.add(request)
        elif opened.task.split is None or request.split == "train":
            entries.append(entry_of(request, opened.task, turns))
    return held, entries


def _slice(opened: OpenTask, file: Path, encoder: "Encoder", settings: Settings) -> "Slice | None":
    """The sample of the part ``valid``; None where the task or the run has none."""
    from promptrank.requests.sampling import request_ids
    from promptrank.training.validation import Slice

    if opened.task.split is None or not settings.valid:
        return None
    ids = set(request_ids(file, {"valid"}, settings.valid))
    requests = list(read(opened, file, {"valid"}, {}, ids)) if ids else []
    if not requests:
        return None
    gain, relevant_at = gain_of(opened.task)
    metrics = tuple(dict.fromkeys([settings.metric, *opened.task.metrics]))
    task = opened.task
    return Slice(opened.name, task, encoder, requests, gain, relevant_at, metrics)


def _variants(
    opened: OpenTask,
    encoder: "Encoder",
    settings: Settings,
    model: Path,
    max_tokens: int,
    requests: Sequence[Request],
) -> "Iterator[tuple[Encoder, list[Request]]]":
    """Encoders of the task's own words and of other words, each with its share of the requests."""
    tasks = list(_reworded(opened, settings))
    left = 1.0 - sum(share for share, _ in tasks)
    ways = [(left, encoder)]
    ways += [(share, open_encoder(other, model, max_tokens)) for share, other in tasks]
    groups: list[list[Request]] = [[] for _ in ways]
    for request in requests:
        name = f"{settings.seed}:words:{request.request_id}".encode()
        draw = int.from_bytes(hashlib.md5(name).digest()[:6]) / 2**48
        place = 0
        while place < len(ways) - 1 and draw >= ways[place][0]:
            draw -= ways[place][0]
            place += 1
        groups[place].append(request)
    for (_, one), mine in zip(ways, groups, strict=True):
        if mine:
            yield one, mine


def _reworded(opened: OpenTask, settings: Settings) -> Iterator[tuple[float, OpenTask]]:
    """The task with its answers' other wordings first, and with other templates."""
    task = opened.task
    turns = max(len(a.say) for q in task.questions.values() for a in q.answers.values()) - 1
    if settings.rewordings and not turns:
        raise InputError(
            f"{opened.name}: no answer has a second wording to train with; list some under say"
        )
    for turn in range(1, turns + 1 if settings.rewordings else 1):
        questions = {
            name: question.model_copy(
                update={
                    "answers": {
                        n: a.model_copy(
                            update={"say": a.say[turn % len(a.say) :] + a.say[: turn % len(a.say)]}
                        )
                        for n, a in question.answers.items()
                    }
                }
            )
            for name, question in task.questions.items()
        }
        share = settings.rewordings / turns
        yield share, replace(opened, task=task.model_copy(update={"questions": questions}))
    for template, share in settings.templates.items():
        yield share, replace(opened, task=task.model_copy(update={"template": template}))
