"""What a run is of, in words: ``run.json``, and what differs where another one is there."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from promptrank.basics.digests import json_digest
from promptrank.basics.leftovers import remove
from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.basics.telling import Say
from promptrank.errors import DataError, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs import shards
from promptrank.runs.attempts import FOLDER
from promptrank.runs.manifest import manifest
from promptrank.schema.task import Task
from promptrank.scores.origin import Origin

RUN, SUMMARY = "run.json", "summary.json"
PLAN = "plan.json"
"""Of a folder of several runs."""
PURGE = "purge.json"
"""Of a purge that is to be finished."""
_PARTS = (SUMMARY, "shards", "ids", "prompts", "errors", "scores", FOLDER, RUN)
"""What a folder of a run holds."""
_OPTIONS = {"shard": "--shard", "partition": "--partition", "limit": "--limit", "splits": "--split"}
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
    "set_aside": "set of rows that building the requests set aside",
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


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """What a run is of.

    Attributes:
        origin: of its scores.
        about: all there is to say, for ``run.json`` or the config beside a scores file.
        digest: of all of it that can change a score, or which requests there are.
    """

    origin: Origin
    about: Mapping[str, Any]
    digest: str


def identified(
    ranker: Ranker, file: RequestFile, facts: Mapping[str, Any], sample: Sample | None = None
) -> RunIdentity:
    """The identity of a run over a request file.

    Args:
        facts: what else tells which requests these are.
        sample: the requests, where they are chosen already.
    """
    return identified_by(ranker.task, ranker.origin, file, facts, sample)


def identified_by(
    task: Task,
    origin: Origin,
    file: RequestFile,
    facts: Mapping[str, Any],
    sample: Sample | None = None,
) -> RunIdentity:
    """As `identified`, of a ranker that is open somewhere else."""
    told = {} if sample is None else sample.told
    origin = replace(origin, **told, requests=requests_digest(file.path))
    about = {**manifest("rank", task, origin.task or ""), **asdict(origin), **facts}
    if file.set_aside:  # rows that building the file set aside are error rows of the run
        about["set_aside"] = json_digest([row.as_dict() for row in file.set_aside])
    if sample is not None:
        about["sample"] = json_digest(sorted(sample.ids))
    return RunIdentity(origin, about, json_digest({k: about[k] for k in about if k != "argv"}))


def begin(folder: Path, about: Mapping[str, Any], identity: str) -> None:
    """Write ``run.json``, or find that it is of the same run.

    Where it is damaged or gone it is written again, unless there are shards of another run; and
    where no shard of another run was finished, the folder is this one's.

    Raises:
        InputError: it is of another one.
    """
    check_folders(folder, None)
    place = folder / RUN
    if not place.is_file():
        if not _may_be(folder, identity):
            raise InputError(
                f"{folder}: holds shards of another run, and no {RUN}; name another folder"
            )
        write_sealed(place, {**about, "identity": identity})
        return
    try:
        written = read_sealed(place, then="name another folder for the run")
    except DataError:
        if not _may_be(folder, identity):
            raise
        write_sealed(place, {**about, "identity": identity})
        return
    if written.get("identity") == identity:
        return
    if not shards.numbers(folder) and not (folder / SUMMARY).exists():
        write_sealed(place, {**about, "identity": identity})
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


def _may_be(folder: Path, identity: str) -> bool:
    """Whether a folder without a manifest is of a run: by its first shard, if it has any."""
    for number in shards.numbers(folder):
        with suppress(DataError):
            return shards.read_shard(folder, number).identity == identity
    return True


def clear_other(folder: Path, identity: str, say: Say) -> None:
    """Remove what a folder holds of another run, and what an older version left in its place.

    Raises:
        InputError: it holds something else.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {RUN}
    if not names:
        return
    if RUN not in names and not names <= {*_PARTS}:
        check_folders(folder, None)
    elif folder.exists():
        try:
            if read_sealed(folder / RUN, then="").get("identity") == identity:
                return
        except (InputError, NotADirectoryError):
            pass
        say(f"{folder.name} is of another task, model or requests, or damaged: starting over")
        clear_run(folder)


def clear_run(folder: Path) -> None:
    """Remove a run; what says that it is one goes last, so that a kill meanwhile does no harm."""
    if folder.is_dir():
        for name in _PARTS:
            remove(folder / name)
        with suppress(OSError):  # somebody has put something else there
            folder.rmdir()
    else:
        remove(folder)


def shard_count(folder: Path, identity: str) -> int | None:
    """How many shards a finished run has; None for one that is not finished."""
    try:
        summary = read_sealed(folder / SUMMARY, then="")
    except InputError:
        return None
    count = summary.get("shards")
    return count if summary.get("identity") == identity and isinstance(count, int) else None


def check_folders(folder: Path, earlier: Path | None) -> None:
    """Told before anything is built or loaded.

    Raises:
        InputError: the folder of something else, or an earlier run that is none.
    """
    if earlier is not None and (earlier / PLAN).is_file() and not (earlier / RUN).is_file():
        raise InputError(f"--since {earlier}: holds several runs; name the folder of one of them")
    if earlier is not None and not (earlier / RUN).is_file():
        raise InputError(f"--since {earlier}: is no folder of a run; `rank --run` makes one")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the run")
    if (folder / PLAN).is_file() and not (folder / RUN).is_file():
        raise InputError(f"{folder}: holds several runs; name another folder for one")
    there = folder.is_dir() and any(path.name[0] != "." for path in folder.iterdir())
    if there and not (folder / RUN).is_file() and not shards.numbers(folder):
        raise InputError(f"{folder}: is a folder of something else; name another for the run")


def _option(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "none" if value is None else str(value)


def _differ(written: Any, now: Any) -> bool:
    return json_digest(written) != json_digest(now)
