"""Kill ``rank``, ``train`` and ``distill`` at random moments, run them again, and compare.

    python bench/kill.py --kills 100                # of each
    python bench/kill.py --kills 20 --only ray      # rank --run DIR --on ray
    python bench/kill.py --only train --signal TERM --seed 3

Every kill hits a run of its own, at a moment drawn evenly from the time that an unbroken run takes;
the same command (with ``--resume`` for ``train``) then runs to its end. ``identical`` counts the
kills after which the files are, byte for byte, those of the unbroken run, and nothing else lies
beside them. The job on Ray, whose start takes longer than its ranking, is one job that is killed so
many times, each time gone on with: a quarter of the kills at a moment of its start, the others at
shards all over the job; half of them end the command alone, half all processes of Ray too.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from _killed import COMMANDS, MADE, Kill, apart, command, finish, make_fresh, names
from _killed_job import kills_of_one_job


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
        if verb == "rank" or not all((project / name).is_file() for name in MADE[verb]):
            try:
                finish(verb, project, again=True)
            except RuntimeError as error:
                return Kill(f"at {share:.0%} of the way", (str(error),))
        faults = [fault for name in MADE[verb] for fault in apart(whole / name, project / name)]
        if more := names(project) - names(whole):
            faults.append(f"left over: {', '.join(sorted(more)[:5])}")
        return Kill(f"at {share:.0%} of the way", tuple(faults))


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
            if verb == "ray":
                killed_runs = kills_of_one_job(Path(folder), given.seed, how, given.kills)
            else:
                killed_runs = kills(verb, Path(folder), given.seed, how, given.jobs)
            for killed in islice(killed_runs, given.kills):
                done.append(killed)
                for fault in killed.faults:
                    print(f"{verb}, killed {killed.where}: {fault}", flush=True)
            identical[verb] = sum(not killed.faults for killed in done)
            took = time.monotonic() - began
            print(f"{verb}: {len(done)} kills in {took:.0f} s", flush=True)
    print(f"kills={given.kills} " + " ".join(f"{v}: identical={n}" for v, n in identical.items()))
    return int(any(count < given.kills for count in identical.values()))


if __name__ == "__main__":
    sys.exit(main())
