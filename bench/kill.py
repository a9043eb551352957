"""Kill ``rank``, ``train`` and ``distill`` at random moments, run them again, and compare.

    python bench/kill.py --kills 100                # of each
    python bench/kill.py --kills 20 --only ray      # rank --run DIR --on ray
    python bench/kill.py --only train --signal TERM --seed 3

Every kill hits a run of its own, at a moment drawn evenly from the time that an unbroken run takes;
the same command (with ``--resume`` for ``train``) then runs to its end. ``identical`` counts the
kills after which the files are, byte for byte, those of the unbroken run, and nothing else lies
beside them.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.models import make_model  # noqa: E402
from support.toys import make_project  # noqa: E402

REQUESTS = 1500
SHARD_FILES = ("scores/%06d.parquet", "errors/%06d.jsonl", "prompts/%06d.parquet")
COMMANDS = {
    "rank": "rank toys/like --engine fake --requests given.jsonl --out scores.parquet",
    "train": "train toys/like --adapter a --steps 12 --every 2 --batch 2 --valid 4 --threads 1 "
    "--set history.as=turns --set ratings.group.last=3",
    "distill": "distill toys/like --name small --teacher base --threads 1",
    "ray": "rank toys/like --engine fake --requests given.jsonl --run run --shard 50 --on ray "
    "--workers 2",
}
AGAIN = {"train": ("--resume",)}
MADE = {
    "rank": ("scores.parquet", "scores.errors.jsonl"),
    "train": ("adapters/a/adapter_model.safetensors", "adapters/a/adapter_config.json"),
    "distill": ("students/small/features.json", "students/small/like.lgb.txt"),
    "ray": tuple(f"run/{kind}" % i for i in range(REQUESTS // 50) for kind in SHARD_FILES),
}
"""What has to be the same; cards, configs and manifests also say when, how long and where."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: at which share of the way, and what was not as after an unbroken run."""

    share: float
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


def kill(
    verb: str, fresh: Path, whole: Path, moment: float, share: float, how: signal.Signals
) -> Kill | None:
    """Kill one run and finish it; None where it had ended before it was killed."""
    with TemporaryDirectory(prefix="kill-") as folder:
        project = Path(folder) / "project"
        shutil.copytree(fresh, project)
        running = command(verb, project, again=False)
        time.sleep(moment)
        if running.poll() is not None:
            return None
        os.killpg(running.pid, how)
        running.wait()
        # What already stands is never made again: it was killed on its way out.
        if verb in ("rank", "ray") or not all((project / name).is_file() for name in MADE[verb]):
            try:
                finish(verb, project, again=True)
            except RuntimeError as error:
                return Kill(share, (str(error),))
        faults = [fault for name in MADE[verb] for fault in apart(whole / name, project / name)]
        if more := names(project) - names(whole):
            faults.append(f"left over: {', '.join(sorted(more)[:5])}")
        return Kill(share, tuple(faults))


def kills(verb: str, base: Path, seed: int, how: signal.Signals, jobs: int) -> Iterator[Kill]:
    """Kills without end."""
    whole = base / verb / "project"
    shutil.copytree(base / "fresh", whole)
    # The first run also warms the disk's cache, so that the next one says how long it takes.
    finish(verb, whole, again=False)
    rng = random.Random(f"{verb}/{seed}")
    took = 0.0
    for _ in range(2):
        shutil.rmtree(whole)
        shutil.copytree(base / "fresh", whole)
        took = max(took, finish(verb, whole, again=False))

    def draw(share: float) -> Kill | None:
        return kill(verb, base / "fresh", whole, share * took, share, how)

    with ThreadPoolExecutor(jobs) as pool:
        while True:
            for done in pool.map(draw, [rng.random() for _ in range(jobs)]):
                if done is not None:
                    yield done


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


def main() -> int:
    """Print a line per verb and the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=list(COMMANDS))
    parser.add_argument("--kills", type=int, default=100, help="of each verb")
    parser.add_argument("--signal", choices=["KILL", "TERM", "INT"], default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    given = parser.parse_args()
    how = signal.Signals[f"SIG{given.signal}"]
    identical: dict[str, int] = {}
    with TemporaryDirectory(prefix="kill-base-") as folder:
        make_fresh(Path(folder) / "fresh")
        for verb in given.only or [verb for verb in COMMANDS if verb != "ray"]:
            began, done = time.monotonic(), list[Kill]()
            for killed in kills(verb, Path(folder), given.seed, how, given.jobs):
                done.append(killed)
                for fault in killed.faults:
                    print(f"{verb}, killed at {killed.share:.0%}: {fault}", flush=True)
                if len(done) == given.kills:
                    break
            identical[verb] = sum(not killed.faults for killed in done)
            shares = sorted(killed.share for killed in done)
            print(
                f"{verb}: {len(done)} kills between {shares[0]:.0%} and {shares[-1]:.0%} of the "
                f"way, in {time.monotonic() - began:.0f} s",
                flush=True,
            )
    print(f"kills={given.kills} " + " ".join(f"{v}: identical={n}" for v, n in identical.items()))
    return int(any(count < given.kills for count in identical.values()))


if __name__ == "__main__":
    sys.exit(main())
