"""One job on Ray that is killed again and again, each time gone on with, until it is finished."""

import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
from _killed import MADE, SHARD_FILES, SHARDS, Kill, apart, command, finish, names

STARTING = 0.25
"""Of the kills, those before the first shard of a start; a start of Ray is most of a short job."""
LATE = 0.1  # seconds at most between the shard that is waited for and the kill
ALONE = 0.5  # of the kills, those of the command only; the others take Ray's processes along
_LOOK = 0.02
_LAST = 90.0  # seconds in which processes of Ray end after the command that started them


def kills_of_one_job(base: Path, seed: int, how: signal.Signals, count: int) -> Iterator[Kill]:
    """So many kills, and whether the job's files are those of an unbroken one.

    After each kill the shards that are marked as done have to be those of the unbroken run, and at
    the end, which the last kill stands for, every file; then no process is left either. A start
    that has ended before it was killed counts as none, and another job is killed from there on.
    """
    whole, project = base / "ray" / "project", base / "ray-killed" / "project"
    starting, ending = _unbroken(base / "fresh", whole)
    rng = random.Random(f"ray/{seed}")
    there: list[psutil.Process] = []
    shutil.copytree(base / "fresh", project)
    kills, words, faults, ended = 0, "", list[str](), list[str]()
    while kills < count:
        done = len(_marked(project))
        running = command("ray", project, again=False)
        if rng.random() < STARTING:
            when = rng.random() * starting
            _wait(running, when, lambda: False)
            words = f"{when:.1f} s after its start"
        else:
            # The kills that are left are spread over the shards that are left.
            further = rng.randint(1, max(1, 2 * (SHARDS - done) // (count - kills + 1)))
            target = min(done + further, SHARDS)
            _wait(running, None, partial(_has, project, target))
            time.sleep(rng.random() * (ending if target == SHARDS else LATE))
            words = f"from {done} to {len(_marked(project))} of {SHARDS} shards"
        family = _family(running)
        there += family
        alone = rng.random() < ALONE
        if running.poll() is None:
            for process in [] if alone else family:
                _send(process, how)
            running.send_signal(how)
        if running.wait() == 0:  # it was finished first: another job is killed
            ended += _other(whole, project)
            shutil.rmtree(project)
            shutil.copytree(base / "fresh", project)
            continue
        kills += 1
        words += ", the command alone" if alone else ", all its processes"
        print(f"ray, kill {kills}: {words}", flush=True)
        faults = [*ended, *_other(whole, project, of_shards=_marked(project))]
        ended = []
        if kills < count:
            yield Kill(words, tuple(faults))
    seconds = finish("ray", project, again=True)
    faults += _other(whole, project)
    last = psutil.wait_procs(there, timeout=_LAST)[1]
    faults += [f"left over: process {process.name()}" for process in last if process.is_running()]
    print(f"ray: the last start took {seconds:.0f} s to the end", flush=True)
    yield Kill(words, tuple(faults))


def _unbroken(fresh: Path, whole: Path) -> tuple[float, float]:
    """Run the job to its end; seconds up to its first shard, and after its last."""
    shutil.copytree(fresh, whole)
    running, began = command("ray", whole, again=False), time.monotonic()
    _wait(running, None, lambda: bool(_marked(whole)))
    first = time.monotonic() - began
    _wait(running, None, lambda: len(_marked(whole)) == SHARDS)
    last = time.monotonic()
    if running.wait():
        raise RuntimeError((whole.parent / "log").read_text(encoding="utf-8")[-400:])
    ending = time.monotonic() - last
    print(
        f"ray, unbroken: {first:.1f} s to its first shard, {last - began - first:.1f} s to its "
        f"last, {ending:.1f} s to its end",
        flush=True,
    )
    return first, ending


def _wait(
    running: "subprocess.Popen[bytes]", seconds: float | None, until: Callable[[], bool]
) -> None:
    """Until the command has ended, so many seconds have gone, or something is so."""
    began = time.monotonic()
    while running.poll() is None and not until():
        if seconds is not None and time.monotonic() - began >= seconds:
            return
        time.sleep(_LOOK)


def _has(project: Path, shards: int) -> bool:
    return len(_marked(project)) >= shards


def _marked(project: Path) -> list[int]:
    """Numbers of the shards that are marked as done."""
    return sorted(int(path.stem) for path in project.glob("run/shards/*.json"))


def _other(whole: Path, project: Path, of_shards: list[int] | None = None) -> Iterator[str]:
    """What is not as it is after an unbroken run, of all or of some shards."""
    if of_shards is not None:
        for name in (kind % number for number in of_shards for kind in SHARD_FILES):
            yield from apart(whole / "run" / name, project / "run" / name)
        return
    for name in MADE["ray"]:
        yield from apart(whole / name, project / name)
    if _counts(whole) != _counts(project):
        yield f"summary.json says {_counts(project)} for {_counts(whole)}"
    if more := names(project) - names(whole):
        yield f"left over: {', '.join(sorted(more)[:5])}"


def _counts(project: Path) -> dict[str, object]:
    """What a finished run says it came to; its identity also tells where its model lay."""
    said = json.loads((project / "run" / "summary.json").read_text(encoding="utf-8"))
    return {name: value for name, value in said.items() if name not in ("identity", "sha256")}


def _family(running: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    try:
        return [*psutil.Process(running.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _send(process: psutil.Process, how: signal.Signals) -> None:
    try:
        process.send_signal(how)
    except psutil.NoSuchProcess:
        return
