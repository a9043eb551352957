"""``ls`` and ``pull``: which tasks there are, and fetching what they need."""

from collections.abc import Iterator
from pathlib import Path

from promptrank.basics.telling import Say, silent
from promptrank.project import TaskPath, open_project


def ls(project: str | Path | None = None) -> Iterator[TaskPath]:
    """Every task that can be named, the project's own first looked up; nothing is parsed."""
    return open_project(project).tasks()


def pull(name: str, *, offline: bool = False, accept: bool = False, say: Say = silent) -> Path:
    """Fetch a model or data set into the user's cache; its folder.

    Args:
        accept: the terms under which its owner gives it, where it has any, are accepted.

    Raises:
        ModelError: unknown, out of reach, terms not accepted, or not what its checksum says.
    """
    from promptrank.assets import pull_names, resolve_dataset, resolve_embedding, resolve_model

    kind = {known.name: known.kind for known in pull_names()}.get(name)
    if kind == "dataset":
        return resolve_dataset(name, offline=offline, say=say, accept=accept)
    if kind == "embedding":
        return resolve_embedding(name, offline=offline, say=say)
    return resolve_model(name, offline=offline, say=say, accept=accept)
