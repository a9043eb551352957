"""What ``bench/kill.py`` kills: the commands, the project they run in, and what has to be equal."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.models import make_model  # noqa: E402
from support.toys import make_project  # noqa: E402

REQUESTS = 1500
SHARDS = 300
"""Of the job on Ray: enough for kills in the midst of it, as its start takes far longer."""
SHARD_FILES = ("scores/%06d.parquet", "errors/%06d.jsonl", "prompts/%06d.parquet")
COMMANDS = {
    "rank": "rank toys/like --engine fake --requests given.jsonl --out scores.parquet",
    "train": "train toys/like --adapter a --steps 12 --every 2 --batch 2 --valid 4 --threads 1 "
    "--set history.as=turns --set ratings.group.last=3",
    "distill": "distill toys/like --name small --teacher base --threads 1",
    "ray": "rank toys/like --engine fake --requests given.jsonl --run run --on ray --workers 2 "
    f"--shard {REQUESTS // SHARDS}",
}
AGAIN = {"train": ("--resume",)}
MADE = {
    "rank": ("scores.parquet", "scores.errors.jsonl"),
    "train": ("adapters/a/adapter_model.safetensors", "adapters/a/adapter_config.json"),
    "distill": ("students/small/features.json", "students/small/like.lgb.txt"),
    "ray": tuple(f"run/{kind}" % i for i in range(SHARDS) for kind in SHARD_FILES),
}
"""What has to be the same; cards, configs and manifests also say when, how long and where."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: where on the way, and what was not as after an unbroken run."""

    where: str
    faults: tuple[str, ...]


def command(verb: str, project: Path, again: bool) -> subprocess.Popen[bytes]:
    """Start a verb in a project; its messages go to a file there."""
    words = [sys.executable, "-m", "promptrank", *COMMANDS[verb].split()]
    words += AGAIN.get(verb, ()) if again else ()
    sealed = {"PROMPTRANK_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    sealed |= {"PYTHONPATH": str(ROOT), "PROMPTRANK_CACHE": str(project.parent / "cache")}
    with (project.parent / "log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            words,
            cwd=project,
            stdout=log,
            stderr=log,
            env={**os.environ, **sealed},
            start_new_session=True,
        )


def finish(verb: str, project: Path, again: bool) -> float:
    """Run to the end; seconds.

    Raises:
        RuntimeError: it did not end well, with the end of what it said.
    """
    began = time.monotonic()
    if command(verb, project, again).wait():
        log = (project.parent / "log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(" ".join(log.split())[-400:])
    return time.monotonic() - began


def apart(expected: Path, path: Path) -> Iterator[str]:
    """How a file differs from what it should be."""
    if not path.is_file():
        yield f"{path.name} is missing"
    elif (given := path.read_bytes()) != (wanted := expected.read_bytes()):
        at = next((i for i, (a, b) in enumerate(zip(given, wanted, strict=False)) if a != b), 0)
        near = slice(max(at - 30, 0), at + 50)
        yield f"{path.name} is another one: {given[near]!r} for {wanted[near]!r}"


def names(project: Path) -> set[str]:
    """Everything that lies in a project."""
    return {str(path.relative_to(project)) for path in project.rglob("*")}


def make_fresh(folder: Path) -> None:
    """The project that every run begins with."""
    model = make_model(folder.parent / "model")
    make_project(folder, model)
    with (folder / "given.jsonl").open("w", encoding="utf-8") as file:
        for r in range(REQUESTS):
            for c in range(3):
                item = {"title": f"Toy {r} {c}", "color": "red"}
                row: dict[str, object] = {"request_id": f"r{r}", "item_id": f"t{c}", "item": item}
                if not c:
                    row["member"] = {"name": f"Person {r}"}
                file.write(json.dumps(row) + "\n")
