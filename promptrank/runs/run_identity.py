"""What a run is of, in words: ``run.json``, and what differs where another one is there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.errors import InputError

RUN, SUMMARY = "run.json", "summary.json"
_OPTIONS = {"shard": "--shard", "limit": "--limit", "splits": "--split"}
_TOLD = {
    "task": "task",
    "ranker": "ranker",
    "engine": "engine or model",
    "adapter_digest": "adapter",
    "fusion_digest": "fusion",
    "prompt": "template, answers, budget or tokenizer",
    "requests": "request file",
    "items": "table of items",
    "policy": "list of steps",
    "versions": "version of promptrank or a library",
    "task_digest": "task file",
    "questions": "question",
    "score": "score expression",
    "steps": "list of steps",
}
"""Facts of a run -> what people call them."""


def other_scorer(folder: Path, about: Mapping[str, Any]) -> str:
    """What of an earlier run turns answers into other scores, in words; empty where nothing does.

    Args:
        about: the facts of the run that is to take its scores over.

    Raises:
        DataError: its ``run.json`` is damaged.
    """
    written = read_sealed(folder / RUN, then="name the folder of a run after --since")
    before, now = _scorer(written), _scorer(about)
    other = [name for name in now if _differ(before[name], now[name])]
    return ", ".join(f"another {_TOLD.get(name, name)}" for name in other)


def _scorer(about: Mapping[str, Any]) -> dict[str, Any]:
    """What turns the answers to given prompts into scores."""
    engine, config = dict(about.get("engine") or {}), about.get("config") or {}
    for name in ("notes", "max_tokens"):
        engine.pop(name, None)
    facts: dict[str, Any] = {"engine": engine, "questions": config.get("questions")}
    facts |= {name: config.get(name) for name in ("score", "fusion", "steps")}
    names = ("task", "method", "adapter_digest", "fusion_digest", "versions")
    return facts | {name: about.get(name) for name in names}


def begin(folder: Path, about: Mapping[str, Any], identity: str) -> None:
    """Write ``run.json``, or find that it is of the same run.

    Raises:
        InputError: it is of another one.
    """
    check_folders(folder, None)
    place = folder / RUN
    if not place.is_file():
        write_sealed(place, {**about, "identity": identity})
        return
    written = read_sealed(place, then="name another folder for the run")
    if written.get("identity") == identity:
        return
    changed = [
        f"{option} {_option(written.get(name))} (now {_option(about.get(name))})"
        for name, option in _OPTIONS.items()
        if _differ(written.get(name), about.get(name))
    ]
    changed += other_facts(written, about)
    raise InputError(
        f"{folder}: holds a run with {', '.join(changed[:3]) or 'other settings'}; name another "
        f"folder and add --since {folder}, which takes over the scores of prompts that have not "
        "changed"
    )


def other_facts(written: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """What differs between what two runs, or two workers of one, are of, in words."""
    others = [name for name in _TOLD if _differ(written.get(name), about.get(name))]
    if len(others) > 1:  # a task file whose prompts have changed has changed
        others = [name for name in others if name != "task_digest"]
    return [f"another {_TOLD[name]}" for name in others]


def check_folders(folder: Path, earlier: Path | None) -> None:
    """Told before anything is built or loaded.

    Raises:
        InputError: the folder of something else, or an earlier run that is none.
    """
    if earlier is not None and not (earlier / RUN).is_file():
        raise InputError(f"--since {earlier}: is no folder of a run; `rank --run` makes one")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the run")
    there = folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir())
    if there and not (folder / RUN).is_file():
        raise InputError(f"{folder}: is a folder of something else; name another for the run")


def _option(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _differ(written: Any, now: Any) -> bool:
    return json_digest(written) != json_digest(now)
