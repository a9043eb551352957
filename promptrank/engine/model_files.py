"""Model and adapter folders as files: what is in them, told without loading torch."""

import hashlib
from functools import lru_cache
from pathlib import Path

from promptrank.engine.plain_json import read_json
from promptrank.errors import ModelError

ADAPTER_WEIGHTS = "adapter_model.safetensors"


def check_model_folder(path: Path) -> None:
    """ModelError unless the folder has a config and safetensors."""
    if not path.is_dir():
        raise ModelError(f"{path}: no such model folder; pull the model, or give a folder")
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path}: no config.json, so no model folder; give one saved as safetensors"
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"{path}: no safetensors file (other formats are not loaded); "
            "save the model with save_pretrained"
        )


def check_adapter_folder(path: Path) -> None:
    """ModelError unless the folder holds a LoRA adapter as peft saves it."""
    if not path.is_dir():
        raise ModelError(f"{path}: no such adapter folder; train one, or correct the path")
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise ModelError(
            f"{path}: no {ADAPTER_WEIGHTS} (other formats are not loaded); save it with peft"
        )
    kind = read_json(path / "adapter_config.json").get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{path}: a {kind} adapter; only LORA adapters can be scored")


def trained_on(path: Path) -> str:
    """The model that an adapter says it was trained on."""
    return str(read_json(path / "adapter_config.json").get("base_model_name_or_path") or "unknown")


def adapter_stamp(path: Path) -> tuple[object, ...]:
    """What changes when an adapter's files do: their sizes and times; cheap."""
    stamp: list[object] = [str(path)]
    for name in ("adapter_config.json", ADAPTER_WEIGHTS):
        try:
            stat = (path / name).stat()
        except OSError:
            stamp.append(None)
        else:
            stamp += [stat.st_size, stat.st_mtime_ns]
    return tuple(stamp)


def model_digest(path: Path) -> str:
    """SHA-256 over the config and the safetensors files, in the order of their names."""
    return _digest([path / "config.json", *sorted(path.glob("*.safetensors"))])


def adapter_digest(path: Path) -> str:
    """SHA-256 over an adapter's config and weights."""
    return _digest([path / "adapter_config.json", path / ADAPTER_WEIGHTS])


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        stat = file.stat()
        digest.update(
            f"{file.name} {_file_digest(file, stat.st_size, stat.st_mtime_ns)}\n".encode()
        )
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(file: Path, _size: int, _mtime_ns: int) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
