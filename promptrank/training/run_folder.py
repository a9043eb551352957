"""An unfinished training run's folder: what it is, whether to go on with it, and its end."""

import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.adapters.shelf import adapter_digest
from promptrank.basics.digests import json_digest
from promptrank.basics.files import put_folder, write_text
from promptrank.basics.leftovers import part_of, remove
from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.errors import InputError
from promptrank.runs.manifest import task_config, versions
from promptrank.training import processes
from promptrank.training.settings import Settings

if TYPE_CHECKING:
    from promptrank.adapters.card import TaskCard
    from promptrank.training.fit import Fitted
    from promptrank.training.prepared import Prepared

_RUN = "run.json"
_ADAPTER = "adapter"
_PLACED = "placed"
"""File that says: the adapter is whole and on its way to its place."""


@dataclass(frozen=True, slots=True)
class Run:
    """A training run, ready to train.

    Attributes:
        target: where the adapter will stand.
        folder: where it is made: requests, checkpoints, and `made`, the adapter itself.
        name: of the base, as users give it; ``model`` is its folder.
        start: folder of the adapter to start from.
        device: kind of device that it trains on; on cuda in another dtype than elsewhere.
    """

    target: Path
    folder: Path
    name: str
    model: Path
    start: Path | None
    tasks: "tuple[Prepared, ...]"
    device: str = "cpu"

    @property
    def made(self) -> Path:
        """The folder that becomes the adapter."""
        return self.folder / _ADAPTER

    @property
    def began(self) -> str:
        """When it did, the same after every resumption; fit for a file's name."""
        moment = datetime.fromtimestamp((self.folder / _RUN).stat().st_mtime, UTC)
        return moment.strftime("%Y-%m-%dT%H-%M-%S")


def check_places(target: Path, resume: bool, overwrite: bool) -> tuple[Path, bool]:
    """The folder of the run that makes ``target``, and whether there is a beginning to go on with.

    A run that was stopped before it had written down what it is has none: it starts over. What
    lies in the folder may be lost unless resumed. The caller owns ``target``.

    Raises:
        InputError: an adapter of this name, or an unfinished run that is not to be resumed.
    """
    folder = target.with_name(f".{target.name}.run")
    placed = (folder / _PLACED).is_file() and not (folder / _ADAPTER).exists()
    if placed and target.exists() and processes.is_first():
        _discard(folder, target)  # it was killed after its last step: nothing is left to do
    if target.exists() and not overwrite:
        raise InputError(
            f"{target}: there is an adapter of this name; choose another, or say --overwrite"
        )
    begun = (folder / _RUN).is_file()
    if begun and not resume and processes.is_first() and not overwrite:
        raise InputError(
            f"{folder}: an unfinished run of this name; --resume goes on with it, --overwrite "
            "starts over"
        )
    return folder, resume and begun


def start_over(folder: Path, target: Path) -> None:
    """Empty the folder of a run; a kill on the way leaves no half of the old one."""
    if folder.exists():
        _discard(folder, target)
    folder.mkdir(parents=True)


def _discard(folder: Path, target: Path) -> None:
    """Remove a run's folder: it has another name, or it is whole."""
    dead = part_of(target)
    folder.replace(dead)
    remove(dead)


def open_run(run: Run, chosen: Settings, resume: bool) -> Run:
    """Write down what makes this run what it is; a resumed run must be the same one.

    Raises:
        InputError: it is another one.
    """
    from promptrank.adapters.weights import weights_digest

    tasks = {
        part.name: {
            "task": task_config(part.task),
            "prompt": part.encoder.fingerprint,
            "data": part.data,
        }
        for part in run.tasks
    }
    facts = {
        "settings": asdict(chosen),
        "tasks": tasks,
        "base": weights_digest(run.model),
        "init": adapter_digest(run.start),
        "device": run.device,
    }
    path = run.folder / _RUN
    if not path.is_file():
        write_sealed(path, {name: json_digest(value) for name, value in facts.items()})
        return run
    known = read_sealed(path, error=InputError, then="start over with --overwrite")
    other = [name for name, value in facts.items() if known.get(name) != json_digest(value)]
    if other and resume:
        raise InputError(
            f"{run.folder}: the run to resume had other {' and '.join(other)}; repeat its command, "
            "or start over with --overwrite"
        )
    return run


def finish(run: Run, chosen: Settings, fitted: "Fitted") -> None:
    """Put the card beside the weights and the folder in its place; the run is done."""
    from promptrank.adapters.card import AdapterCard, Base, write_card
    from promptrank.adapters.weights import weights_digest

    start = run.start
    facts: dict[str, Any] = {**asdict(chosen), "steps": fitted.steps, "best": fitted.best}
    facts |= {"averaged": fitted.averaged, "device": run.device}
    card = AdapterCard(
        Base(run.name, weights_digest(run.model)),
        {part.name: _task_card(part, fitted) for part in run.tasks},
        versions(),
        command(sys.argv),
        datetime.now(UTC).isoformat(timespec="seconds"),
        facts,
        Base(start.name, adapter_digest(start) or "") if start is not None else None,
    )
    write_card(run.made, card)
    write_text(run.folder / _PLACED, "")
    put_folder(run.made, run.target)
    _discard(run.folder, run.target)


def command(words: list[str]) -> tuple[str, ...]:
    """The command that makes the adapter again: a resumed run is the whole one."""
    program = Path(words[0])
    ours = program.stem == "promptrank" or program.parts[-2:] == ("promptrank", "__main__.py")
    whole = [word for word in words[1:] if word != "--resume"]
    return ("promptrank", *whole) if ours else ("python", words[0], *whole)


def _task_card(part: "Prepared", fitted: "Fitted") -> "TaskCard":
    from promptrank.adapters.card import task_card

    return task_card(
        part.task,
        part.encoder.template.sources,
        data=part.data,
        requests={**part.requests, "labels": part.labels},
        before=fitted.before.get(part.name, {}),
        after=fitted.after.get(part.name, {}),
    )
