"""Where tasks and templates come from: a path, then the user's project, then what is built in."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.hints import near_names
from promptrank.basics.paths import expanded
from promptrank.errors import InputError, TaskError

_PACKAGE = Path(__file__).resolve().parent


def builtin_root() -> Path:
    """The folder with the shipped ``tasks/`` and ``templates/``.

    In a wheel they lie under ``promptrank/_data``; in a checkout (and an editable install) they
    are the top-level folders beside ``pyproject.toml``, which win because they are the live ones.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "tasks").is_dir():
        return checkout
    return _PACKAGE / "_data"


@dataclass(frozen=True, slots=True)
class TaskPath:
    """A task file and the folders its names are looked up in.

    Attributes:
        name: path below ``tasks/`` without ``.yaml``; the file's stem where it lies elsewhere.
        path: the YAML file.
        root: the project folder; the file's table paths are relative to it.
        origin: ``path``, ``project`` or ``built-in``.
        shadows: True where a built-in task of the same name is hidden by this one.
    """

    name: str
    path: Path
    root: Path
    origin: str
    shadows: bool = False

    @property
    def template_folders(self) -> tuple[Path, ...]:
        """Where templates are searched, first match first."""
        folders = [self.root / "templates", builtin_root() / "templates"]
        if self.origin == "path":
            folders.insert(0, self.path.parent)
        return tuple(dict.fromkeys(f for f in folders if f.is_dir()))


@dataclass(frozen=True, slots=True)
class Project:
    """A folder with ``tasks/``, ``templates/`` and ``adapters/``, over the built-in ones."""

    root: Path

    def tasks(self) -> Iterator[TaskPath]:
        """Every task by name, sorted; nothing is parsed, so a broken file cannot hide others."""
        built_in = {name: path for name, path in _scan(builtin_root())}
        own = {} if self.root == builtin_root() else dict(_scan(self.root))
        for name in sorted({**built_in, **own}):
            if name in own:
                yield TaskPath(name, own[name], self.root, "project", shadows=name in built_in)
            else:
                yield TaskPath(name, built_in[name], builtin_root(), "built-in")

    def find(self, name: str) -> TaskPath:
        """The task file of a name or path.

        Raises:
            TaskError: not found; the message lists the folders searched and near names.
        """
        if name.endswith((".yaml", ".yml")):
            return _by_path(expanded(name))
        known = {task.name: task for task in self.tasks()}
        if name in known:
            return known[name]
        names = near_names(name, known, 3)
        hint = f"did you mean {' or '.join(names)}?" if names else f"tasks: {', '.join(known)}"
        folders = dict.fromkeys([self.root / "tasks", builtin_root() / "tasks"])
        searched = " and ".join(str(f) for f in folders)
        raise TaskError(
            name,
            [
                f"no such task; {hint} (searched {searched}; --project names another project, "
                "and the path of a task file ends in .yaml)"
            ],
        )


def _scan(root: Path) -> Iterator[tuple[str, Path]]:
    folder = root / "tasks"
    for path in folder.rglob("*.yaml") if folder.is_dir() else ():
        yield path.relative_to(folder).with_suffix("").as_posix(), path


def _by_path(path: Path) -> TaskPath:
    if path.exists() and not path.is_file():
        raise TaskError(str(path), ["is no plain file; name a task file"])
    if not path.is_file():
        raise TaskError(
            str(path),
            [f"no such file in {Path.cwd()}; tasks by name have no .yaml at the end"],
        )
    path = path.resolve()
    for parent in path.parents:
        if parent.name == "tasks":
            name = path.relative_to(parent).with_suffix("").as_posix()
            return TaskPath(name, path, parent.parent, "path")
    return TaskPath(path.stem, path, path.parent, "path")


def open_project(folder: str | Path | None = None) -> Project:
    """The project in ``folder``, else in ``PROMPTRANK_PROJECT``, else in the working folder.

    A working folder without ``tasks/`` is still a project: one with built-in tasks only.
    """
    chosen = folder or os.environ.get("PROMPTRANK_PROJECT")
    root = expanded(chosen or ".").resolve()
    if chosen and not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"project folder {root} {what}; give a folder that holds tasks/")
    return Project(root)
