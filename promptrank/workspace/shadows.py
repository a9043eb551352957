"""Shadows as ``--shadow`` names them: which ranker scores what share of which task's requests."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.runs.log_files import SERVED
from promptrank.workspace.named import Named, parse_named
from promptrank.workspace.rankers import STUDENT
from promptrank.workspace.tasks import OpenTask

_KINDS = ("adapter", "student", "base")


@dataclass(frozen=True, slots=True)
class WantedShadow:
    """A ranker that scores requests a second time.

    Attributes:
        task: whose requests.
        who: the ranker.
        share: of the requests, above 0 and at most 1.
    """

    task: str
    who: Named
    share: float

    @property
    def name(self) -> str:
        """What the files of its scores are called."""
        return re.sub(r"[^\w.+-]", "-", Path(self.who.name).name) or self.who.kind


def open_shadow(
    opened: OpenTask, wanted: WantedShadow, engine: str, open_: Callable[..., Ranker]
) -> Ranker:
    """The ranker of a shadow.

    Args:
        engine: of the task that it is beside; decoders are asked by it.
        open_: `open_ranker` with all else that the server was given.
    """
    kind, name = wanted.who.kind, wanted.who.name
    if kind == "student":
        return open_(opened, engine=str(wanted.who))
    decoder = "packed" if engine.startswith(STUDENT) else engine
    return open_(opened, engine=decoder, adapter=name if kind == "adapter" else None)


def parse_shadows(values: Sequence[str], tasks: Sequence[str]) -> list[WantedShadow]:
    """``adapter:new=0.1`` for every task, or ``movies/like=adapter:new=0.1`` for one.

    Raises:
        InputError: no ranker, no share, a task that is not served, or a name that comes twice.
    """
    wanted: dict[tuple[str, str], WantedShadow] = {}
    for value in values:
        left, _, number = value.rpartition("=")
        task, _, named = left.rpartition("=")
        share = _share(number, value)
        if task and task not in tasks:
            raise InputError(f"--shadow {value}: no task {task!r} is served; {near(task, tasks)}")
        who = parse_named(named, _KINDS)
        for each in [task] if task else tasks:
            shadow = WantedShadow(each, who, share)
            if shadow.name == SERVED or (each, shadow.name) in wanted:
                raise InputError(
                    f"--shadow {value}: its scores would stand under {shadow.name!r}, which is "
                    "taken; give the adapter another name or an alias"
                )
            wanted[each, shadow.name] = shadow
    return list(wanted.values())


def _share(text: str, value: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise InputError(
            f"--shadow {value}: end it with a share of the requests, above 0 and at most 1, such "
            "as adapter:new=0.1"
        )
    return share
