"""Students beside their teacher: quality, and the time of one request on one core.

    python bench/students.py [--teacher adapter:movies] [--taught 200] [--test 100]

movies/like on MovieLens-100K. The teacher answers a sample of training requests (kept in a teacher
store under --project, so that a second run asks nothing); students learn with and without it from
the same labels; all are compared on a sample of the test part. Then, on one core: p50 and p99 of
single requests with 100 candidates, and candidates a second over many requests. ``distill_gain`` is
NDCG@10 with the teacher minus labels only (same kind, paired), ``lift_kept`` the share of the
teacher's lift over the best baseline, ``none`` where the teacher has no such lift; both of the
best student whose p99 is under 5 ms.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from promptrank import build, distill, open_ranker, verdict
from promptrank.api.latency import times_of, wide_requests
from promptrank.api.ranker import Ranker
from promptrank.api.requests import read
from promptrank.api.tasks import open_task
from promptrank.cli.distill import show_verdict
from promptrank.distillation.verdict import Verdict
from promptrank.records import Request

TASK = "movies/like"
STUDENTS = {
    "gbdt-labels": ("gbdt", "labels"),
    "gbdt-direct": ("gbdt", "direct"),
    "gbdt-auxiliary": ("gbdt", "auxiliary"),
    "sequence-labels": ("sequence", "labels"),
    "sequence-auxiliary": ("sequence", "auxiliary"),
}
LIMIT_MS = 5.0


def timed(ranker: Ranker, wide: list[Request], runs: int) -> tuple[float, float, float]:
    """p50 and p99 in milliseconds of one request, and candidates a second over many."""
    times = times_of(ranker.rank, wide[: max(1, min(len(wide), runs))], runs)
    start = time.perf_counter()
    bulk = wide[: max(1, runs // 8)]
    count = sum(len(ranking.scored) for ranking in ranker.rank_many(bulk))
    rate = count / (time.perf_counter() - start)
    p50, p99 = (1e3 * float(np.quantile(times, q)) for q in (0.5, 0.99))
    return p50, p99, rate


def best_of(found: Verdict, p99: dict[str, float]) -> str:
    """The student with the highest first metric among the quick ones."""
    quick = [name for name in STUDENTS if p99[name] < LIMIT_MS] or list(STUDENTS)
    return max(quick, key=lambda name: found.line(name).cells[found.metrics[0]].value or 0.0)


def main() -> None:
    """Trains, compares, measures and prints; the last line is for machines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", default="base")
    parser.add_argument("--taught", type=int, default=200, help="training requests")
    parser.add_argument("--test", type=int, default=100, help="test requests")
    parser.add_argument("--runs", type=int, default=400, help="timed requests a student")
    parser.add_argument("--project", type=Path, help="keeps store and students; else a new folder")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="promptrank-") as folder:
        project = given.project or Path(folder)
        project.mkdir(parents=True, exist_ok=True)
        opened = open_task(TASK, project=project)
        requests = Path(folder) / "requests.parquet"
        build(opened, requests)
        for name, (kind, loss) in STUDENTS.items():
            start = time.perf_counter()
            made = distill(
                opened,
                name=name,
                student=kind,
                loss=loss,
                teacher=None if loss == "labels" else given.teacher,
                requests=requests,
                limit=given.taught,
                replace_=True,
            )
            spent = time.perf_counter() - start
            print(f"{name}: {spent:.0f} s, {made.asked:,} prompts asked of the teacher", flush=True)
        found = verdict(
            opened,
            teacher=given.teacher,
            students=list(STUDENTS),
            without={
                n: f"{kind}-labels" for n, (kind, loss) in STUDENTS.items() if loss != "labels"
            },
            requests=requests,
            limit=given.test,
        )
        show_verdict(found)
        wide = wide_requests(read(opened, requests, {"test"}, {}))
        p99: dict[str, float] = {}
        print(f"\none request of {len(wide[0].candidates)} candidates, one core")
        adapter = given.teacher.removeprefix("adapter:") if ":" in given.teacher else None
        with open_ranker(opened, adapter=adapter, threads=1) as ranker:
            p50, slow, rate = timed(ranker, wide, 3)
            print(
                f"  {'teacher':<20} p50 {p50:8.2f}, p99 {slow:9.2f} ms {rate:10,.0f} candidates/s"
            )
        for name in STUDENTS:
            with open_ranker(opened, engine=f"student:{name}", threads=1) as ranker:
                p50, p99[name], rate = timed(ranker, wide, given.runs)
            print(
                f"  {name:<20} p50 {p50:8.2f}, p99 {p99[name]:9.2f} ms {rate:10,.0f} candidates/s"
            )
        best = best_of(found, p99)
        line = found.line(best)
        gain = line.gain.get("ndcg@10")
        shown = "none" if gain is None else f"{gain.value:+.4f}"
        if gain is not None and gain.low is not None:
            print(f"{best}: distill_gain between {gain.low:+.4f} and {gain.high:+.4f}")
        kept = "none" if line.kept is None else f"{line.kept:.2f}"
        print(f"p99_ms={p99[best]:.2f} distill_gain={shown} lift_kept={kept}")


if __name__ == "__main__":
    main()
