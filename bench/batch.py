"""Batch scoring without a model: what the host costs, and what grows.

    python bench/batch.py [--quick] [--only overhead memory host ray resume] [--prepare N]
                          [--groups N]

movies/like, ten candidates and ten events of history a request, in SmolLM2's tokens; every member
and every film is a new one, so nothing is remembered from request to request.

* overhead: a run against an engine that would take 5,000 candidates a second and sleeps as long as
  it takes. ``overhead`` is 1 minus the seconds that the engine needs over those that passed, from
  its first group to the end of the run; what came before (loading, the first block) is told beside.
  ``--prepare`` processes render and tokenize (1). The engine has ``--groups`` groups of 64 requests
  at a time: 2, as vLLM and servers do, which have the next before the last is answered.
* memory: resident memory of all processes of a run at its peak, sampled ten times a second; pages
  that two of them share count twice. ``memory_ratio`` is that of 100,000 requests over that of
  10,000.
* host: candidates a second of one process alone, with an engine that answers at once.
* ray: ``ray2``, two local Ray workers of one thread each, over one.
* resume: seconds in which a run of 10,000 finished shards finds that it is finished, but for the
  last one.

The last line is for machines. ``--quick`` tries that all of it works, on files so small that its
figures say little.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from _batch_run import score
from _new_requests import write_requests

RATE = 5000  # candidates a second
SHARD = 1000
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Sizes:
    """Requests of each part."""

    overhead: int
    few: int
    many: int
    host: int
    shards: int


FULL = Sizes(overhead=40_000, few=10_000, many=100_000, host=10_000, shards=10_000)
QUICK = Sizes(overhead=2_000, few=1_000, many=2_000, host=500, shards=200)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for."""

    sizes: Sizes
    folder: Path
    prepare: int
    groups: int
    quick: bool


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


def run_apart(
    requests: Path,
    folder: Path,
    rate: float,
    prepare: int,
    groups: int = 1,
    peak: bool = False,
) -> tuple[dict[str, float], int]:
    """What `_batch_run` says of a run in a process of its own, and its peak in bytes.

    Args:
        peak: whether memory is looked at; else 0.
    """
    words = [str(requests), str(folder), str(rate), str(prepare), str(SHARD), str(groups)]
    process = subprocess.Popen(
        [sys.executable, str(HERE / "_batch_run.py"), *words],
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    most = 0
    watched = psutil.Process(process.pid)
    while peak and process.poll() is None:
        most = max(most, resident(watched))
        time.sleep(0.1)
    said, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"bench: the run ended with {process.returncode}")
    told: dict[str, float] = json.loads(said.splitlines()[-1])
    return told, most


def resident(process: psutil.Process) -> int:
    """Bytes of a process and all that it has started."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:  # it has ended meanwhile
        pass
    return total


def overhead(asked: Asked) -> str:
    """Share of the time in which the engine waited."""
    requests = asked.folder / "overhead.parquet"
    ideal = write_requests(requests, asked.sizes.overhead) / RATE
    folder = asked.folder / "overhead"
    told, _ = run_apart(requests, folder, RATE, asked.prepare, asked.groups)
    share = 1 - ideal / told["seconds"]
    say(
        f"overhead: {told['candidates']:,} candidates in {told['seconds']:.1f} s, of which the "
        f"engine needs {ideal:.1f}; {told['ready']:.1f} s before its first group; {asked.prepare} "
        "processes prepare"
    )
    say(
        f"overhead: {told['steps']:,} groups, a median wait of {1000 * told['median_wait']:.1f} "
        f"ms; {told['long_waits']:,} waits of 20 ms and more, {told['waited_long']:.1f} s "
        f"together; {told['waited_between']:.1f} s of waits are between shards"
    )
    return f"{share:.3f}"


def memory(asked: Asked) -> str:
    """Peak of many requests over that of few."""
    peaks = []
    for count in (asked.sizes.few, asked.sizes.many):
        requests = asked.folder / f"memory{count}.parquet"
        write_requests(requests, count)
        told, peak = run_apart(
            requests, asked.folder / f"memory{count}", 0, asked.prepare, peak=True
        )
        say(f"memory: {count:,} requests, {peak / 2**20:,.0f} MiB, {told['whole']:.0f} s")
        peaks.append(peak)
    return f"{peaks[1] / peaks[0]:.3f}"


def host(asked: Asked) -> str:
    """Candidates a second of one process."""
    requests = asked.folder / "host.parquet"
    write_requests(requests, asked.sizes.host)
    told, _ = run_apart(requests, asked.folder / "host", 0, 0)
    rate = told["candidates"] / told["seconds"]
    say(f"host: {told['candidates']:,} candidates in {told['seconds']:.1f} s, one process")
    return f"{rate:.0f}"


def ray2(asked: Asked) -> str:
    """Two workers over one."""
    if find_spec("ray_workers") is None:
        say("ray: bench/ray_workers.py is not there, so nothing was measured")
        return "none"
    if find_spec("ray") is None:
        say("ray: not installed (pip install 'promptrank[ray]'), so nothing was measured")
        return "none"
    return f"{import_module('ray_workers').ray2(asked.quick):.2f}"


def resume(asked: Asked) -> str:
    """Seconds of a run whose shards are finished, but for the last one."""
    requests, folder = asked.folder / "resume.parquet", asked.folder / "resume"
    write_requests(requests, asked.sizes.shards, candidates=2, events=0)
    made = score(requests, folder, 0, 0, 1)
    (folder / "summary.json").unlink()
    (folder / "shards" / f"{asked.sizes.shards - 1:06}.json").unlink()
    again = score(requests, folder, 0, 0, 1)
    say(
        f"resume: {asked.sizes.shards:,} shards were made in {made['whole']:.1f} s; found finished "
        f"in {again['whole']:.2f} s"
    )
    return f"{again['whole']:.2f}"


PARTS: dict[str, tuple[str, Callable[[Asked], str]]] = {
    "overhead": ("overhead", overhead),
    "memory": ("memory_ratio", memory),
    "host": ("host", host),
    "ray": ("ray2", ray2),
    "resume": ("resume_s", resume),
}
"""Name of a part -> its figure's name, and what measures it."""


def main() -> None:
    """Run all parts and print the line that is recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="tries that it works; a minute")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--prepare", type=int, default=1, help="processes that render and tokenize")
    parser.add_argument("--groups", type=int, default=2, choices=(1, 2), help="that the engine has")
    given = parser.parse_args()
    told = dict.fromkeys((figure for figure, _ in PARTS.values()), "none")
    with TemporaryDirectory(prefix="promptrank-") as name:
        sizes = QUICK if given.quick else FULL
        asked = Asked(sizes, Path(name), given.prepare, given.groups, given.quick)
        for part in PARTS:
            if part in given.only:
                figure, measure = PARTS[part]
                told[figure] = measure(asked)
    print(" ".join(f"{name}={value}" for name, value in told.items()))


if __name__ == "__main__":
    main()
