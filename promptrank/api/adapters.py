"""Adapters by name: which there are, what their cards say, aliases, and merging into the base."""

from dataclasses import dataclass
from pathlib import Path

from promptrank.adapters.alias import AliasStep, current, read_aliases
from promptrank.adapters.alias import rollback as roll_back
from promptrank.adapters.alias import set_alias as point_alias
from promptrank.adapters.card import AdapterCard, read_card
from promptrank.adapters.shelf import (
    AdapterPath,
    adapter_config,
    adapter_digest,
    find_adapter,
    list_adapters,
)
from promptrank.basics.telling import Say, silent
from promptrank.project import open_project
from promptrank.workspace.merging import merge_adapter


@dataclass(frozen=True, slots=True)
class Shown:
    """One adapter with what is known of it.

    Attributes:
        digest: of its config and weights.
        card: None for a folder that peft alone made.
        rank: of its LoRA layers.
    """

    path: AdapterPath
    digest: str
    card: AdapterCard | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """What ``adapters ls`` shows.

    Attributes:
        aliases: alias -> what was done to it, oldest first.
    """

    adapters: tuple[AdapterPath, ...]
    aliases: dict[str, tuple[AliasStep, ...]]


def list_all(project: str | Path | None = None) -> Listed:
    """Adapters of the project and the built-in ones; aliases of the project."""
    root = open_project(project).root
    return Listed(tuple(list_adapters(root)), read_aliases(root / "adapters"))


def show(name: str, *, project: str | Path | None = None) -> Shown:
    """One adapter by path, name or alias.

    Raises:
        ModelError: not found, incomplete, or a card that cannot be read.
    """
    path = find_adapter(name, open_project(project).root)
    rank = adapter_config(path.folder).get("r")
    digest = adapter_digest(path.folder)
    assert digest is not None
    return Shown(path, digest, read_card(path.folder), rank if isinstance(rank, int) else None)


def merge(
    name: str,
    out: str | Path,
    *,
    model: str | None = None,
    project: str | Path | None = None,
    say: Say = silent,
) -> float:
    """Write base + adapter to a new model folder; the largest log-prob difference between the two.

    Args:
        model: the base model; what the adapter's card names where left out.

    Raises:
        InputError: ``out`` exists.
        ModelError: another base, or no base known.
    """
    return merge_adapter(name, out, model=model, project=open_project(project).root, say=say)


def set_alias(alias: str, target: str, *, project: str | Path | None = None) -> AdapterPath:
    """Point ``movies@prod`` at an adapter: a name, a path, or what another alias stands for.

    Raises:
        InputError: no name of an alias.
        ModelError: no such adapter.
    """
    root = open_project(project).root
    adapter = find_adapter(target, root)
    digest = adapter_digest(adapter.folder)
    assert digest is not None
    named = adapter.name if adapter.origin != "path" else str(adapter.folder)
    point_alias(root / "adapters", alias, named, digest)
    return adapter


def rollback(alias: str, *, project: str | Path | None = None) -> AliasStep:
    """Point an alias at what it stood for before.

    Raises:
        InputError: no such alias, or nothing before.
    """
    return roll_back(open_project(project).root / "adapters", alias)


def target_of(steps: tuple[AliasStep, ...]) -> str:
    """Name or path that an alias stands for."""
    step = current(steps)
    return (step.target if step is not None else None) or "nothing"
