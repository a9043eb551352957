"""One run of movies/like with an engine of a certain speed, in a process of its own.

    python bench/_batch_run.py REQUESTS FOLDER RATE PREPARE SIZE GROUPS

RATE is in candidates a second, 0 for an engine that answers at once; GROUPS is how many groups it
takes at a time. Prints JSON: ``seconds`` from the engine's first group to the end, ``ready``
seconds before that, ``candidates``, and how the engine waited for groups: the median, those of 20
ms and more, and ``waited_between``, all waits before the first group of a shard.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median

from _rated import RatedEngine

from promptrank.runs.sharded_run import score_shards
from promptrank.runtime.opened import Opened
from promptrank.workspace.preparing import preparing
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import open_task

TASK = "movies/like"
LONG = 0.02  # seconds


def score(
    requests: Path, folder: Path, rate: float, prepare: int, size: int, groups: int = 1
) -> dict[str, float | int]:
    """Rank a request file into a folder of shards."""
    opened = open_task(TASK)
    began = time.perf_counter()
    with open_ranker(opened, engine="fake") as ranker:
        engine = RatedEngine(ranker.info, rate or None, groups)
        ranker.opened = Opened(engine)
        file = given_file(opened, requests)
        prepared = preparing(opened, ranker, file, engine="fake", model=None, prepare=prepare)
        done = score_shards(folder, ranker, file, {}, size=size, prepare=prepared)
        ended = time.perf_counter()
    first = engine.begun if engine.begun is not None else began
    in_a_shard = -(-size // engine.window.trees)  # groups
    assert done.counted.set_aside == 0, f"{done.counted.set_aside} candidates without a score"
    return {
        "seconds": ended - first,
        "ready": first - began,
        "candidates": done.counted.candidates,
        "whole": ended - began,
        "steps": len(engine.waits),
        "median_wait": median(engine.waits) if engine.waits else 0.0,
        "long_waits": sum(wait >= LONG for wait in engine.waits),
        "waited_long": sum(wait for wait in engine.waits if wait >= LONG),
        "waited_between": sum(engine.waits[in_a_shard - 1 :: in_a_shard]),
    }


if __name__ == "__main__":
    where, into, speed, *numbers = sys.argv[1:]
    made = score(Path(where), Path(into), float(speed), *map(int, numbers))
    print(json.dumps(made))
