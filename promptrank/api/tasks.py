"""Tasks by name: list them, open one, find its data and its model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.errors import DataError, InputError
from promptrank.project import Project, TaskPath, open_project

if TYPE_CHECKING:
    from promptrank.schema.task import Task

Say = Callable[[str], None]

PARTS = ("train", "valid", "test")


def silent(message: str) -> None:
    """A ``say`` that says nothing."""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task with the place it was read from.

    Attributes:
        project: folder of the project that it was opened in; a built-in task lies elsewhere.
    """

    place: TaskPath
    task: "Task"
    project: Path

    @property
    def name(self) -> str:
        """The task's name."""
        return self.place.name


def ls(project: str | Path | None = None) -> Iterator[TaskPath]:
    """Every task that can be named, the project's own first looked up; nothing is parsed."""
    return open_project(project).tasks()


def open_task(
    name: str, *, project: str | Path | Project | None = None, settings: Sequence[str] = ()
) -> OpenTask:
    """Load a task by name or path; ``settings`` are ``a.b=c`` overrides.

    Raises:
        TaskError: no such task, or a file with problems (all of them are in the message).
    """
    from promptrank.schema.load import load_task

    found = project if isinstance(project, Project) else open_project(project)
    place = found.find(name)
    # A task given by its path belongs to the project it lies in, wherever the command is run.
    root = found.root if place.origin == "built-in" else place.root
    return OpenTask(place, load_task(place.path, list(settings)), root)


def data_folder(opened: OpenTask, say: Say = silent) -> Path:
    """The folder that the task's table paths are relative to, fetched first if it is a data set.

    A built-in task's folder is looked up in the project first.

    Raises:
        DataError: neither a folder nor a known data set.
        ModelError: a known data set that cannot be had.
    """
    from promptrank.assets import dataset_names, resolve_dataset
    from promptrank.simulation import KINDS

    name = opened.task.data
    roots = dict.fromkeys([opened.project, opened.place.root])
    folders = [(root / Path(name).expanduser()).resolve() for root in roots]
    for folder in folders:
        if folder.is_dir():
            return folder
    if name in dataset_names():
        return resolve_dataset(name, say=say)
    if Path(name).name in KINDS:
        raise DataError(
            f"{opened.place.path}: data: no folder {folders[0]}; "
            f"`promptrank simulate {Path(name).name} --out {folders[0]}` makes it"
        )
    raise DataError(
        f"{opened.place.path}: data: no folder {folders[0]} and no data set {name!r}; "
        f"known data sets: {', '.join(dataset_names())}"
    )


def check_splits(task: "Task", splits: set[str] | None) -> None:
    """InputError unless the parts asked for are parts of the task's split."""
    for name in sorted(splits or ()):
        if task.split is None:
            raise InputError(f"no part {name!r}: the task declares no split; leave --split out")
        if name not in PARTS:
            raise InputError(f"no part {name!r} in a split; parts: {', '.join(PARTS)}")


def pull(name: str, *, offline: bool = False, say: Say = silent) -> Path:
    """Fetch a model or data set into the user's cache; its folder.

    Raises:
        ModelError: unknown, out of reach, or not what its checksum says.
    """
    from promptrank.assets import dataset_names, resolve_dataset, resolve_model

    if name in dataset_names():
        return resolve_dataset(name, offline=offline, say=say)
    return resolve_model(name, offline=offline, say=say)
