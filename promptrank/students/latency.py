"""How long one request takes on one core."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

from promptrank.records import Candidate, Request

CANDIDATES = 100
_RUNS, _WARM, _FROM = 60, 5, 50


def wide_requests(requests: Iterable[Request], candidates: int = CANDIDATES) -> list[Request]:
    """Requests with ``candidates`` candidates each, gathered from neighbouring requests."""
    neighbours = list(islice(requests, _FROM))
    pool = [c for r in neighbours for c in r.candidates]
    if not pool:
        return []
    wide = []
    for start, request in enumerate(neighbours):
        taken: list[Candidate] = []
        for place in range(candidates):
            candidate = pool[(start * 7 + place) % len(pool)]
            taken.append(replace(candidate, candidate_id=f"{candidate.candidate_id}#{place}"))
        wide.append(replace(request, candidates=tuple(taken)))
    return wide


def times_of(run: Callable[[Request], Any], requests: list[Request], runs: int) -> list[float]:
    """Seconds of single calls on one core, after some calls that warm up."""
    times = []
    with _one_core():
        for request in requests[:_WARM]:
            run(request)
        for i in range(runs):
            start = time.perf_counter()
            run(requests[i % len(requests)])
            times.append(time.perf_counter() - start)
    return times


@contextmanager
def _one_core() -> Iterator[None]:
    """One thread for numpy's libraries, and for torch where it is loaded."""
    from threadpoolctl import threadpool_limits

    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch is not None else None
    try:
        with threadpool_limits(1):
            if torch is not None:
                torch.set_num_threads(1)
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(threads)


def latency_of(
    run: Callable[[Request], Any], requests: Iterable[Request], runs: int = _RUNS
) -> dict[str, Any]:
    """Milliseconds of a request with 100 candidates, one after the other, on one core."""
    import numpy as np

    wide = wide_requests(requests)
    if not wide:
        return {}
    times = times_of(run, wide[:runs], runs)
    p50, p99 = (float(1e3 * np.quantile(times, q)) for q in (0.5, 0.99))
    micros = 1e3 * p50 / CANDIDATES
    return {
        "candidates": CANDIDATES,
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
        "us_per_candidate": round(micros, 2),
    }
