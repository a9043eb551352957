"""Tasks by name: list them, open one, find its data and its model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, InputError
from promptrank.project import Project, TaskPath, open_project

if TYPE_CHECKING:
    from promptrank.schema.task import Task

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task with the place it was read from.

    Attributes:
        project: folder of the project that it was opened in; a built-in task lies elsewhere.
        left_out: blocks of the template that its prompts go without, for a probe.
        drafts: files of templates -> texts that stand in for what the files hold.
    """

    place: TaskPath
    task: "Task"
    project: Path
    left_out: frozenset[str] = frozenset()
    drafts: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The task's name."""
        return self.place.name


def open_task(
    name: "str | OpenTask",
    *,
    project: str | Path | Project | None = None,
    settings: Iterable[str] | None = None,
) -> OpenTask:
    """Load a task by name or path; one that is open already is given back as it is.

    Args:
        settings: ``a.b=c`` overrides.

    Raises:
        TaskError: no such task, or a file with problems (all of them are in the message).
    """
    from promptrank.schema.load import load_task

    if isinstance(name, OpenTask):
        return name
    opened = project if isinstance(project, Project) else open_project(project)
    place = opened.find(name)
    # A task given by its path belongs to the project it lies in, wherever the command is run.
    root = opened.root if place.origin == "built-in" else place.root
    return OpenTask(place, load_task(place.path, list(settings or ())), root)


def with_template(opened: OpenTask, template: str) -> OpenTask:
    """The same task worded by another template, looked up as the task's own is."""
    return replace(opened, task=opened.task.model_copy(update={"template": template}))


def data_folder(opened: OpenTask, say: Say = silent, *, offline: bool = False) -> Path:
    """The folder that the task's table paths are relative to, fetched first if it is a data set.

    A built-in task's folder is looked up in the project first.

    Args:
        offline: fetch nothing.

    Raises:
        DataError: neither a folder nor a known data set.
        ModelError: a known data set that cannot be had.
    """
    from promptrank.assets import dataset_names, resolve_dataset
    from promptrank.assets.sources import SIMULATED

    name = opened.task.data
    roots = dict.fromkeys([opened.project, opened.place.root])
    folders = [(root / expanded(name)).resolve() for root in roots]
    for folder in folders:
        if folder.is_dir():
            return folder
    if name in dataset_names():
        return resolve_dataset(name, offline=offline, say=say)
    if Path(name).name in SIMULATED:
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


def part_of(task: "Task", split: str | None) -> set[str] | None:
    """The part to work on: the one asked for, else ``test``, else all where there is no split.

    Raises:
        InputError: no part of the task's split.
    """
    if split is not None:
        check_splits(task, {split})
        return {split}
    return {"test"} if task.split is not None else None
