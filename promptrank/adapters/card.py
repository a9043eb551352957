"""``card.json``: what an adapter was trained on, and what it was worth.

A card keeps the template's source and the answers themselves, not only their fingerprints, so that
a later change of them can be shown and not only noticed. It is sealed, and has a digest of each of
the adapter's files.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict

from promptrank.basics.digests import json_digest
from promptrank.basics.seals import file_digests, first_damage, read_kept, write_sealed
from promptrank.errors import ModelError
from promptrank.schema.task import Task

CARD = "card.json"
_AGAIN = "train the adapter again, or remove the card to use it as a plain peft adapter"

Metrics = Mapping[str, float | None]

# Unknown keys are refused: a misspelt one would silently be nothing.
_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Base:
    """The model an adapter belongs to.

    Attributes:
        name: as the user gave it.
        digest: `promptrank.adapters.weights.weights_digest` of its folder.
    """

    __pydantic_config__: ClassVar = _STRICT

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Prompting:
    """What words the prompts: everything in a task whose change alters what a model reads.

    Attributes:
        template: name of the template.
        sources: file -> text: the template and all that it extends or imports.
        settings: ``chat``, ``vars`` and how history is shown, as far as they differ from defaults.
        answers: question -> ``ask`` and ``answers`` (name -> ``say``, ``value``).
    """

    __pydantic_config__: ClassVar = _STRICT

    template: str
    sources: Mapping[str, str]
    settings: Mapping[str, Any]
    answers: Mapping[str, Any]

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of what the template says and of what the answers are."""
        return {
            "template": json_digest(
                _plain([dict(self.sources), dict(self.settings)]), escaped=False
            ),
            "answers": json_digest(_plain(dict(self.answers)), escaped=False),
        }


@dataclass(frozen=True, slots=True)
class TaskCard:
    """One task that an adapter was trained on.

    Attributes:
        prompting: template and answers at that time.
        fingerprints: SHA-256 of ``template``, ``answers`` and ``data`` (the requests trained on).
        split: the task's split with its gap, and ``requests``: how many of each part there were.
        before: validation metrics of the base model (or of what training started from).
        after: the same metrics of this adapter.
    """

    __pydantic_config__: ClassVar = _STRICT

    prompting: Prompting
    fingerprints: Mapping[str, str]
    split: Mapping[str, Any]
    before: Metrics
    after: Metrics


@dataclass(frozen=True, slots=True)
class AdapterCard:
    """See the module's docstring.

    Attributes:
        tasks: by name.
        versions: of Python and the libraries.
        command: the words of the command line that made it.
        created: ISO 8601, UTC.
        training: settings of the training (learning rate, epochs, loss), for a reader.
        init: name and digest of the adapter that training started from, if any.
        files: name -> SHA-256 of the adapter's config and weights; cards of older versions have
            none.
    """

    __pydantic_config__: ClassVar = _STRICT

    base: Base
    tasks: Mapping[str, TaskCard]
    versions: Mapping[str, str]
    command: tuple[str, ...]
    created: str
    training: Mapping[str, Any] = field(default_factory=dict)
    init: Base | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    format: Literal[1] = 1


def prompting(task: Task, sources: Mapping[str, str]) -> Prompting:
    """What words a task's prompts; ``sources`` are those of its loaded template."""
    history = task.history
    shown = {
        "chat": task.chat or None,
        "wrapper": task.wrapper.model_dump() if task.wrapper is not None else None,
        "vars": task.vars or None,
        "history.as": history.as_ if history is not None else None,
        "history.question": history.question if history is not None else None,
    }
    answers = {
        name: {
            "ask": question.ask,
            "answers": {
                label: {"say": list(answer.say), "value": answer.value}
                for label, answer in question.answers.items()
            },
        }
        for name, question in task.questions.items()
    }
    settings = {name: value for name, value in shown.items() if value is not None}
    return Prompting(task.template, dict(sources), _plain(settings), answers)


def task_card(
    task: Task,
    sources: Mapping[str, str],
    *,
    data: str,
    requests: Mapping[str, int],
    before: Metrics,
    after: Metrics,
) -> TaskCard:
    """The part of a card about one task.

    Args:
        sources: of its loaded template (`Template.sources`).
        data: digest of the requests it was trained on.
        requests: part (``train``, ``valid``) -> number of requests used.
    """
    words = prompting(task, sources)
    split = task.split.model_dump(mode="json", exclude_none=True) if task.split is not None else {}
    return TaskCard(
        words,
        {**words.fingerprints, "data": data},
        {**split, "requests": dict(requests)},
        dict(before),
        dict(after),
    )


def write_card(folder: str | Path, card: AdapterCard) -> Path:
    """Write ``card.json`` into an adapter's folder, with the digests of its files; its path."""
    path = Path(folder) / CARD
    names = [file.name for file in path.parent.glob("adapter_*") if file.is_file()]
    given = {**asdict(card), "files": file_digests(path.parent, names)}
    write_sealed(path, _plain(given), indent=1)
    return path


def read_card(folder: str | Path) -> AdapterCard | None:
    """The card of an adapter; None where the folder has none (peft alone made it).

    Raises:
        ModelError: a card that cannot be read; the message lists every problem.
    """
    path = Path(folder) / CARD
    if not path.exists():
        return None
    what = "a card of this promptrank"
    return read_kept(path, AdapterCard, what=what, error=ModelError, then=_AGAIN)


def check_files(folder: Path) -> None:
    """Hold an adapter's files against its card; one without a card is believed.

    Raises:
        ModelError: a card that cannot be read, or a file that is not what it was written for.
    """
    card = read_card(folder)
    if card is not None and (problem := first_damage(folder, card.files)):
        raise ModelError(
            f"{problem}, as {CARD} has another digest of it; copy the adapter again, {_AGAIN}"
        )


def _plain(value: Any) -> Any:
    """JSON values alone; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return str(value)
