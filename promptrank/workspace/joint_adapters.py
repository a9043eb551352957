"""Which adapters of a comparison were trained on several tasks, and which on this task alone."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from promptrank.adapters.card import AdapterCard, read_card
from promptrank.adapters.shelf import find_adapter
from promptrank.evaluation.transfer import JointAndSingle
from promptrank.training.settings import Settings
from promptrank.workspace.tasks import OpenTask

_HOW = (
    *("rank", "alpha", "lora", "half", "lr", "epochs", "batch", "average", "shape", "limit"),
    *("losses", "prompt_weight", "questions", "templates", "rewordings"),
)
"""Settings that change what an adapter becomes; how many steps it took follows from the data."""


def joint_and_single(
    opened: OpenTask, adapters: Mapping[str, str | Path]
) -> tuple[JointAndSingle, ...]:
    """Every pair of a joint adapter and one that was trained on the task alone.

    Args:
        adapters: name of a ranker -> its adapter, as it was named; one without a card is passed
            over, since nobody knows what it was trained on.

    Raises:
        ModelError: no such adapter, or one that is not what its card was written for.
    """
    cards = {
        ranker: card
        for ranker, name in adapters.items()
        if (card := read_card(find_adapter(name, opened.project).folder)) is not None
        and opened.name in card.tasks
    }
    return tuple(
        JointAndSingle(
            joint,
            single,
            opened.name,
            tuple(cards[joint].tasks),
            tuple(_caveats(opened.name, cards[joint], cards[single])),
        )
        for joint in cards
        if len(cards[joint].tasks) > 1
        for single in cards
        if len(cards[single].tasks) == 1
    )


def _caveats(task: str, joint: AdapterCard, single: AdapterCard) -> Iterator[str]:
    """In what else than the other tasks their training differs."""
    one, other = joint.training, single.training
    # A card that is older than a setting was trained as its default says.
    usual = asdict(Settings())
    if differ := [n for n in _HOW if one.get(n, usual[n]) != other.get(n, usual[n])]:
        yield f"their training differs in {', '.join(differ)} too"
    if joint.tasks[task].fingerprints.get("data") != single.tasks[task].fingerprints.get("data"):
        yield f"they were trained on other requests of {task}"
    starts = [None if card.init is None else card.init.digest for card in (joint, single)]
    if starts[0] != starts[1]:
        yield "they started from different adapters"
