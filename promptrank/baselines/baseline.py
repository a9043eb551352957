"""What a baseline is, and what it may learn from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from promptrank.baselines.item_texts import ItemTexts
from promptrank.basics.telling import Say, silent
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.labelled import Label
from promptrank.ranking.values import RankValues
from promptrank.records import Request
from promptrank.schema.task import Task

# Why nothing can be learned, in the same words for all that learn from labels.
NO_LABELS = "there are no labelled training requests"
ONE_CLASS = "all training labels are of one class"
NO_FIELD = "the training requests have no usable field"


@dataclass(frozen=True, slots=True)
class Baseline:
    """A baseline, or why there is none.

    Attributes:
        rank: None where it could not be made, and then ``reason`` says why.
        facts: what a reader of the report should know, such as the fields it uses.
    """

    rank: RankValues | None
    reason: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Aim:
    """What a task's baselines are for.

    Attributes:
        gain_of, relevant_at: a candidate's gain, and the gain from which it is relevant.
        texts: which words of an item count, and what a request looks for in them.
    """

    task: Task
    gain_of: Label
    relevant_at: float
    texts: ItemTexts


def aim_of(task: Task, texts: Sequence[str] | None = None) -> Aim:
    """The aim of a task.

    Args:
        texts: the item fields whose words count; None for all that are texts.

    Raises:
        InputError: a score expression that is no number for the answers' values.
    """
    gain, relevant_at = gain_of(task)
    return Aim(task, gain, relevant_at, ItemTexts(texts, gain, relevant_at))


def _no_model(name: str, baseline: str) -> str:
    return f"nothing says where its model {name} is"


@dataclass(frozen=True, slots=True)
class Sources:
    """What a baseline may look at once it has been shown all requests.

    Attributes:
        train: the requests of split ``train`` once more, as often as it is called.
        catalogue: texts of all items that were known before the first request that is judged; None
            where nothing but the training requests tells of items.
        model: the name of an embedding model, and of the baseline that needs it -> its folder,
            fetched by this call if it is to be fetched; or the reason why it is not.
        say: is told what takes long.
    """

    train: Callable[[], Iterable[Request]]
    catalogue: Callable[[], Iterable[str]] | None = None
    model: Callable[[str, str], Path | str] = _no_model
    say: Say = silent


class Learner(Protocol):
    """Becomes a baseline, given the aim of a task."""

    def add(self, request: Request) -> None:
        """Take in a request, of whatever split; all are shown once, in the order of the file."""
        ...

    def fit(self, sources: Sources) -> Baseline:
        """The baseline, or the reason why there can be none.

        Raises:
            ModelError: a model that cannot be had.
        """
        ...
