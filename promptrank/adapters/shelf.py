"""Where adapters are found: a path, then the project's ``adapters/``, then what is built in."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.adapters.alias import current, is_alias, read_aliases
from promptrank.adapters.card import read_card
from promptrank.adapters.weights import weights_digest
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
        alias: what it was asked for by, where that was an alias.
        problem: what keeps it from being used (a missing file); None where nothing does.
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


def list_adapters(root: Path) -> Iterator[AdapterPath]:
    """Every adapter of a project and every built-in one it does not shadow, by name."""
    found: dict[str, AdapterPath] = {}
    for folder, origin in _shelves(root):
        for path in folder.iterdir() if folder.is_dir() else ():
            # A folder without either file is no adapter: a training's checkpoints, for one.
            if _NAME.fullmatch(path.name) and any((path / f).is_file() for f in (CONFIG, WEIGHTS)):
                problem = _problem(path)
                found.setdefault(path.name, AdapterPath(path.name, path, origin, problem=problem))
    yield from (found[name] for name in sorted(found))


def find_adapter(name: str | Path, root: Path) -> AdapterPath:
    """The adapter of a path, a name or an alias, with all its files.

    Raises:
        ModelError: not found, incomplete, or an alias whose adapter was changed since it was set.
    """
    text = str(name)
    if is_alias(text) and not Path(text).exists():
        return _of_alias(text, root)
    path = Path(name).expanduser()
    tried = [(path, "path")]
    if _NAME.fullmatch(text):
        tried += [(folder / text, origin) for folder, origin in _shelves(root)]
    for folder, origin in tried:
        if any((folder / f).is_file() for f in (CONFIG, WEIGHTS)):
            found = folder.resolve()
            if problem := _problem(found):
                raise ModelError(f"{folder}: {problem}; copy the adapter again, or train it again")
            # A link in a shelf goes by its own name, which is the one that finds it again.
            return AdapterPath(found.name if origin == "path" else text, found, origin)
    known = [adapter.name for adapter in list_adapters(root)]
    near = difflib.get_close_matches(text, known, 3, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"adapters: {', '.join(known)}"
    searched = ", ".join(str(folder) for folder, _ in tried)
    hint = hint if known else "there is none yet; `promptrank train` makes one"
    raise ModelError(f"no adapter {text}: {hint} (searched {searched})")


def adapter_digest(folder: str | Path | None) -> str | None:
    """SHA-256 over an adapter's config and weights; None for no adapter."""
    if folder is None:
        return None
    found = hashlib.sha256()
    for path in sorted(Path(folder).glob("adapter_*")):
        with path.open("rb") as file:
            found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()


def adapter_config(folder: Path) -> dict[str, Any]:
    """``adapter_config.json`` as peft wrote it.

    Raises:
        ModelError: it cannot be read.
    """
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, Mapping):
        raise ModelError(f"{path}: expected an object, got {type(found).__name__}")
    return dict(found)


def check_base(folder: Path, model: str, model_folder: Path) -> None:
    """Refuse an adapter that was trained on other weights than ``model_folder`` holds.

    Nothing is known of an adapter without a card; the engine then compares shapes only.

    Raises:
        ModelError: another base.
    """
    card = read_card(folder)
    if card is None:
        return
    found = weights_digest(model_folder)
    if found != card.base.digest:
        raise ModelError(
            f"adapter {folder.name} was trained on {card.base.name} (weights "
            f"{card.base.digest[:12]}), and this is {model} (weights {found[:12]}); give the "
            "model it was trained on, or train an adapter on this one"
        )


def _shelves(root: Path) -> list[tuple[Path, str]]:
    own, built_in = root / "adapters", builtin_root() / "adapters"
    if own.resolve() == built_in.resolve():
        return [(built_in, "built-in")]
    return [(own, "project"), (built_in, "built-in")]


def _problem(folder: Path) -> str | None:
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    return f"it has no {' and no '.join(missing)}" if missing else None


def _of_alias(alias: str, root: Path) -> AdapterPath:
    aliases = read_aliases(root / "adapters")
    step = current(aliases.get(alias, ()))
    if step is None or step.target is None:
        known = ", ".join(sorted(aliases)) or "none"
        raise ModelError(
            f"no alias {alias!r} in {root / 'adapters'}; aliases: {known}; "
            f"`promptrank adapters alias {alias} NAME` sets one"
        )
    found = find_adapter(step.target, root)
    if adapter_digest(found.folder) != step.digest:
        raise ModelError(
            f"{alias} stands for {step.target} as it was on {step.at}, and its files have changed "
            f"since; look at it, then set the alias again or roll it back"
        )
    return AdapterPath(found.name, found.folder, found.origin, alias)
