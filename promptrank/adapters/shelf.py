"""Where adapters are looked up: a path, then the project's ``adapters/``, then what is built in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.adapters.alias import current, is_alias, read_aliases
from promptrank.adapters.card import check_files, read_card
from promptrank.adapters.weights import weights_digest
from promptrank.basics.digests import files_digest
from promptrank.basics.hints import near_names
from promptrank.basics.json_files import read_json
from promptrank.basics.paths import expanded
from promptrank.errors import InputError, ModelError
from promptrank.project import builtin_root

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class AdapterPath:
    """An adapter's folder.

    Attributes:
        name: the folder's name.
        origin: ``path``, ``project`` or ``built-in``.
        alias: the alias it was asked for by, if any.
        problem: why it cannot be used (a missing file), or None.
    """

    name: str
    folder: Path
    origin: str
    alias: str | None = None
    problem: str | None = None


def check_name(name: str) -> str:
    """The name, if a new adapter may be called that.

    Raises:
        InputError: it could not be told from a path or an alias.
    """
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"{name!r} is no name for an adapter; use letters, digits, dots, - and _, "
            "such as movies-v2 (an @ makes an alias)"
        )
    return name


def list_adapters(root: Path, *, shipped: Path | None = None) -> Iterator[AdapterPath]:
    """Every adapter of a project and every built-in one it does not shadow, by name.

    ``shipped`` is the folder of the built-in adapters, where that is another one.
    """
    adapters: dict[str, AdapterPath] = {}
    for folder, origin in _shelves(root, shipped):
        for path in folder.iterdir() if folder.is_dir() else ():
            # A folder without either file is no adapter: a training's checkpoints, for one.
            if _NAME.fullmatch(path.name) and any((path / f).is_file() for f in (CONFIG, WEIGHTS)):
                adapter = AdapterPath(path.name, path, origin, problem=_problem(path))
                adapters.setdefault(path.name, adapter)
    yield from (adapters[name] for name in sorted(adapters))


def find_adapter(name: str | Path, root: Path, *, shipped: Path | None = None) -> AdapterPath:
    """The adapter of a path, a name or an alias, with all its files.

    ``shipped`` is as in `list_adapters`.

    Raises:
        ModelError: not found, incomplete, not what its card was written for, or an alias whose
            adapter was changed since it was set.
    """
    text = str(name)
    if is_alias(text) and not Path(text).exists():
        return _of_alias(text, root, shipped)
    path = expanded(name)
    tried = [(path, "path")]
    if _NAME.fullmatch(text):
        tried += [(folder / text, origin) for folder, origin in _shelves(root, shipped)]
    for folder, origin in tried:
        if any((folder / f).is_file() for f in (CONFIG, WEIGHTS)):
            place = folder.resolve()
            if problem := _problem(place):
                raise ModelError(f"{folder}: {problem}; copy the adapter again, or train it again")
            check_files(place)
            # A link in a shelf goes by its own name, which is the one that finds it again.
            return AdapterPath(place.name if origin == "path" else text, place, origin)
    known = [adapter.name for adapter in list_adapters(root, shipped=shipped)]
    names = near_names(text, known, 3)
    hint = f"did you mean {' or '.join(names)}?" if names else f"adapters: {', '.join(known)}"
    searched = ", ".join(str(folder) for folder, _ in tried)
    hint = hint if known else "there is none yet; `promptrank train` makes one"
    raise ModelError(f"no adapter {text}: {hint} (searched {searched})")


def adapter_digest(folder: str | Path | None) -> str | None:
    """SHA-256 over an adapter's config and weights; None for no adapter."""
    if folder is None:
        return None
    return files_digest(sorted(Path(folder).glob("adapter_*")))


def adapter_config(folder: Path) -> dict[str, Any]:
    """``adapter_config.json`` as peft wrote it.

    Raises:
        ModelError: it cannot be read.
    """
    return read_json(folder / CONFIG, error=ModelError, then="save the adapter again")


def check_base(folder: Path, model: str, model_folder: Path) -> None:
    """Refuse an adapter that was trained on other weights than ``model_folder`` holds.

    Nothing is known of an adapter without a card; the engine then compares shapes only.

    Raises:
        ModelError: another base.
    """
    card = read_card(folder)
    if card is None:
        return
    digest = weights_digest(model_folder)
    if digest != card.base.digest:
        raise ModelError(
            f"adapter {folder.name} was trained on {card.base.name} (weights "
            f"{card.base.digest[:12]}), and this is {model} (weights {digest[:12]}); give the "
            "model it was trained on, or train an adapter on this one"
        )


def _shelves(root: Path, shipped: Path | None) -> list[tuple[Path, str]]:
    own, built_in = root / "adapters", shipped or builtin_root() / "adapters"
    if own.resolve() == built_in.resolve():
        return [(built_in, "built-in")]
    return [(own, "project"), (built_in, "built-in")]


def _problem(folder: Path) -> str | None:
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    return f"it has no {' and no '.join(missing)}" if missing else None


def _of_alias(alias: str, root: Path, shipped: Path | None) -> AdapterPath:
    aliases = read_aliases(root / "adapters")
    step = current(aliases.get(alias, ()))
    if step is None or step.target is None:
        known = ", ".join(sorted(aliases)) or "none"
        raise ModelError(
            f"no alias {alias!r} in {root / 'adapters'}; aliases: {known}; "
            f"`promptrank adapters alias {alias} NAME` sets one"
        )
    adapter = find_adapter(step.target, root, shipped=shipped)
    if adapter_digest(adapter.folder) != step.digest:
        raise ModelError(
            f"{alias} stands for {step.target} as it was on {step.at}, and its files have changed "
            f"since; look at it, then set the alias again or roll it back"
        )
    return AdapterPath(adapter.name, adapter.folder, adapter.origin, alias)
