"""Adapters by name: which there are, what their cards say, aliases, and merging into the base."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from promptrank.adapters.alias import Step, current, read_aliases
from promptrank.adapters.alias import rollback as roll_back
from promptrank.adapters.alias import set_alias as point_alias
from promptrank.adapters.card import AdapterCard, prompting, read_card
from promptrank.adapters.changes import Change, changes
from promptrank.adapters.shelf import (
    AdapterPath,
    adapter_config,
    adapter_digest,
    check_base,
    find_adapter,
    list_adapters,
)
from promptrank.api.tasks import OpenTask, Say, silent
from promptrank.errors import InputError, ModelError
from promptrank.project import open_project

AdapterFolder = Callable[[str | Path], str]


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
    aliases: dict[str, tuple[Step, ...]]


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
    from promptrank.adapters.merge import merge as run
    from promptrank.assets import resolve_model

    found = find_adapter(name, open_project(project).root)
    card = read_card(found.folder)
    base = model or (card.base.name if card is not None else None)
    if base is None:
        raise ModelError(f"{found.folder}: no card.json names its base model; give --model")
    folder = resolve_model(base, say=say)
    check_base(found.folder, base, folder)
    say(f"merging {found.name} into {base}")
    return run(folder, found.folder, Path(out))


def set_alias(alias: str, target: str, *, project: str | Path | None = None) -> AdapterPath:
    """Point ``movies@prod`` at an adapter: a name, a path, or what another alias stands for.

    Raises:
        InputError: no name of an alias.
        ModelError: no such adapter.
    """
    root = open_project(project).root
    found = find_adapter(target, root)
    digest = adapter_digest(found.folder)
    assert digest is not None
    named = found.name if found.origin != "path" else str(found.folder)
    point_alias(root / "adapters", alias, named, digest)
    return found


def rollback(alias: str, *, project: str | Path | None = None) -> Step:
    """Point an alias at what it stood for before.

    Raises:
        InputError: no such alias, or nothing before.
    """
    return roll_back(open_project(project).root / "adapters", alias)


def target_of(steps: tuple[Step, ...]) -> str:
    """Name or path that an alias stands for."""
    step = current(steps)
    return (step.target if step is not None else None) or "nothing"


def adapter_folders(
    opened: OpenTask, model: str, model_folder: Path, *, allow_changed: bool, say: Say
) -> AdapterFolder:
    """From names, paths and aliases to folders; each adapter is checked once, when first named.

    The function raises ModelError for an adapter that is not there, is incomplete, belongs to
    another base, or (unless ``allow_changed``) was trained on another template or other answers.
    """

    @cache
    def folder_of(name: str | Path) -> str:
        found = find_adapter(name, opened.project)
        check_base(found.folder, model, model_folder)
        _check_words(opened, found, allow_changed, say)
        return str(found.folder)

    return folder_of


def changed(opened: OpenTask, card: AdapterCard) -> tuple[Change, ...]:
    """What changed in a task since an adapter was trained on it; nothing if it never was."""
    from promptrank.prompt.template import load_template

    if opened.name not in card.tasks:
        return ()
    template = load_template(opened.task.template, opened.place.template_folders)
    now = prompting(opened.task, template.sources)
    return changes(card.tasks[opened.name].prompting, now)


def _check_words(opened: OpenTask, found: AdapterPath, allow_changed: bool, say: Say) -> None:
    card = read_card(found.folder)
    if card is None:
        say(f"{found.name} has no card.json: what it was trained on is not known")
        return
    if opened.name not in card.tasks:
        say(f"{found.name} was trained on {', '.join(card.tasks)}, not on {opened.name}")
        return
    differences = changed(opened, card)
    if not differences:
        return
    parts = " and ".join(change.part for change in differences)
    lines = [line for change in differences for line in change.difference]
    text = f"{found.name} was trained on {opened.name} with other {parts}:\n" + "\n".join(lines)
    if not allow_changed:
        raise InputError(
            f"{text}\nits scores would not be those it was tuned and measured for; undo the "
            "change, train again, or rank all the same with --allow-changed"
        )
    say(f"warning: {text}")
