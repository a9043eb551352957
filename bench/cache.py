"""The score cache: look-ups a second, answers kept a second, and bytes an entry.

    python bench/cache.py [--entries 100000] [--window 2560]

Answers of two paths, by random keys, looked up in windows as `CachedEngine` does. The rival is a
dict in memory, to whom the answers are objects already.
"""

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from promptrank.caching.cached_engine import CachedEngine
from promptrank.caching.prompt_keys import Answerer
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine.contract import Branch, Slot, SlotScore, Tree
from promptrank.engine.fake import FakeEngine

WHO = Answerer("fake", "fake", "digest", "float32", "cpu", None, None)
Wanted = Sequence[tuple[bytes, str | None]]


def main() -> None:
    """Measure, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--window", type=int, default=2560, help="Prompts looked up together.")
    given = parser.parse_args()
    draw = random.Random(0)
    keys = [draw.randbytes(16) for _ in range(given.entries)]
    wanted: Wanted = [(key, f"member {n // 10}") for n, key in enumerate(keys)]
    other: Wanted = [(draw.randbytes(16), "nobody") for _ in keys]
    scores = [SlotScore((-draw.random(), -draw.random()), draw.random(), 0) for _ in keys]
    windows = [slice(n, n + given.window) for n in range(0, len(keys), given.window)]
    with TemporaryDirectory() as folder:
        with ScoreCache(folder) as cache:

            def keep() -> None:
                for window in windows:
                    pairs = zip(wanted[window], scores[window], strict=True)
                    cache.keep(WHO, [(key, of, score) for (key, of), score in pairs])

            show("kept", len(keys), keep)
        file = next(Path(folder).glob("*.sqlite"))
        sys.stdout.write(f"bytes_per_entry={file.stat().st_size / len(keys):.1f}\n")
        before = memory()
        with ScoreCache(folder) as cache:

            def look(asked: Wanted) -> None:
                for window in windows:
                    cache.look_up(asked[window])

            show("known", len(keys), lambda: look(wanted))
            show("unknown", len(keys), lambda: look(other))
            sys.stdout.write(f"memory_mb={(memory() - before):.1f}\n")
        held = dict(zip(keys, scores, strict=True))
        show("dict", len(keys), lambda: [held.get(key) for key, _ in wanted])
    trees(given.entries)


def trees(entries: int) -> None:
    """The same through the engine: keys of 400 tokens and 10 candidates are made, too."""
    slot = (Slot((1, 2), ((3,), (4,))),)
    asked = [
        Tree(
            str(n),
            tuple((n + 7 * i) % 32_000 for i in range(300)),
            tuple(
                Branch(tuple((n + b + 3 * i) % 32_000 for i in range(10)), slot) for b in range(10)
            ),
            subject=str(n),
        )
        for n in range(entries // 10)
    ]
    with TemporaryDirectory() as folder, ScoreCache(folder) as cache:
        engine = CachedEngine(FakeEngine(), cache)
        for _ in engine.score(asked):
            pass
        show("engine_known", entries, lambda: sum(1 for _ in engine.score(asked)))
        engine.close()


def show(what: str, count: int, run: Callable[[], object]) -> None:
    """Run it, and print how many a second."""
    begun = time.perf_counter()
    run()
    sys.stdout.write(f"{what}_per_second={count / (time.perf_counter() - begun):,.0f}\n")
    sys.stdout.flush()


def memory() -> float:
    """Peak of the process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
