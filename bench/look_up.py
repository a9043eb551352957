"""How long it takes to look up a request by ids: MovieLens-100K, 10 candidates.

Last line: ``p50_ms=... p99_ms=... read_s=... disk_mb=... peak_mb=...`` of requests one after
another. Look-ups take the time of queries over sorted tables, so a busy machine shows.
"""

import argparse
import random
import resource
import sys
import time

import numpy as np

from promptrank.workspace.look_ups import open_look_up


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="movies/like")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--candidates", type=int, default=10)
    given = parser.parse_args()
    rng = random.Random(0)
    with open_look_up(given.task, say=lambda text: print(text, file=sys.stderr)) as tables:

        def request() -> dict[str, object]:
            items = rng.sample(range(1, 1683), given.candidates)
            return {
                "member_id": str(rng.randint(1, 943)),
                "candidates": [{"item_id": str(i)} for i in items],
            }

        for _ in range(20):
            tables.look_up(request())
        seconds = []
        for _ in range(given.requests):
            wanted, began = request(), time.perf_counter()
            tables.look_up(wanted)
            seconds.append(time.perf_counter() - began)
        together = [request() for _ in range(100)]
        began = time.perf_counter()
        list(tables.look_up_many(together))
        print(f"100 requests together: {(time.perf_counter() - began) * 1000:.0f} ms")
        read = tables.read
    p50, p99 = np.percentile(seconds, [50, 99]) * 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"p50_ms={p50:.1f} p99_ms={p99:.1f} read_s={read.seconds:.1f} "
        f"disk_mb={read.size / 1e6:.0f} peak_mb={peak:.0f}"
    )


if __name__ == "__main__":
    main()
