"""What a decoder's answers give a small student, beside few labels; and what each costs.

    python bench/students.py [--teacher adapter:movies] [--labels 40] [--taught 300] [--test 100]

movies/like on MovieLens-100K, ten candidates a request. Of a sample of training requests a few keep
their labels, and the teacher answers all of them (kept in a teacher store under --project, so that
a second run asks nothing). Every student sees the same requests and labels, with the teacher or
without. Which is best is chosen on the part ``valid``, among students with the teacher whose p99 is
under 5 ms for one request of 100 candidates on one core; where none is, the output says so and the
best of all of them is taken.

The last line is about that one: ``distill_gain`` is its NDCG@10 minus that of the student of its
kind from labels alone, paired, on the whole test part; ``lift_kept`` its share of the teacher's
lift over the best baseline on the sample of it that the teacher ranks, ``none`` where the teacher
has no such lift. The baselines learn from the labels of the whole training part.
"""

import argparse
import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promptrank import build, compare_students, distill, evaluate, open_ranker, rank
from promptrank.cli.students import show_students
from promptrank.cli.terminal import progress_bar
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.requests.sampling import request_ids
from promptrank.students.latency import times_of, wide_requests
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task

TASK = "movies/like"
STUDENTS = {
    "gbdt-labels": ("gbdt", "labels"),
    "gbdt-direct": ("gbdt", "direct"),
    "gbdt-auxiliary": ("gbdt", "auxiliary"),
    "sequence-labels": ("sequence", "labels"),
    "sequence-direct": ("sequence", "direct"),
    "sequence-auxiliary": ("sequence", "auxiliary"),
}
WITHOUT = {n: f"{kind}-labels" for n, (kind, loss) in STUDENTS.items() if loss != "labels"}
METRIC = "ndcg@10"
LIMIT_MS = 5.0
CORES = os.cpu_count() or 1  # for the teacher's answers; everything that is timed has one


def fewer_valid(requests: Path, limit: int) -> None:
    """Leave so many requests of ``valid`` in the file: the teacher need not answer more."""
    few = request_ids(requests, {"valid"}, limit)
    table = pq.read_table(requests)
    ids = table["request_id"]
    kept = pc.is_in(ids, value_set=pa.array(few, ids.type))
    pq.write_table(table.filter(pc.or_(kept, pc.not_equal(table["split"], "valid"))), requests)


def learn(opened: OpenTask, requests: Path, given: argparse.Namespace) -> dict[str, float]:
    """Write all students; their metric on ``valid``."""
    quality = {}
    for name, (kind, loss) in STUDENTS.items():
        start = time.perf_counter()
        with progress_bar("teacher", "requests") as progress:
            made = distill(
                opened,
                name=name,
                student=kind,
                loss=loss,
                teacher=None if loss == "labels" else given.teacher,
                requests=requests,
                limit=given.taught,
                labels=given.labels,
                replace_=True,
                threads=CORES,
                progress=progress,
            )
        card, spent = made.student.card, time.perf_counter() - start
        quality[name] = card.metrics[METRIC]["value"] or 0.0
        labels, taught = (sum(card.data[part].values()) for part in ("labels", "taught"))
        print(
            f"{name}: {labels:,} labels, {taught:,} answers ({made.asked:,} asked now), "
            f"{METRIC} {quality[name]:.3f} on valid, {spent:.0f} s",
            flush=True,
        )
    return quality


def ask(opened: OpenTask, requests: Path, out: Path, given: argparse.Namespace) -> None:
    """Let the teacher answer the sample of the test part; the comparison finds it in the store."""
    with progress_bar("teacher", "requests") as progress:
        rank(
            TASK,
            out,
            project=opened.project,
            requests=requests,
            splits={"test"},
            limit=given.test,
            adapter=adapter_of(given.teacher),
            threads=CORES,
            cache=True,
            progress=progress,
        )


def adapter_of(teacher: str) -> str | None:
    """The adapter's name; None for ``base``."""
    return teacher.partition(":")[2] or None


def times(opened: OpenTask, requests: Path, given: argparse.Namespace) -> dict[str, float]:
    """Print what single requests take; p99 of the students in milliseconds."""
    wide = wide_requests(given_file(opened, requests).read({"test"}))
    p99: dict[str, float] = {}
    print(f"\none request of {len(wide[0].candidates)} candidates, one core")
    for name in ("teacher", *STUDENTS):
        who: dict[str, Any] = {"engine": f"student:{name}"}
        if name == "teacher":
            who = {"adapter": adapter_of(given.teacher)}
        with open_ranker(opened, threads=1, **who) as ranker:
            p50, p99[name], rate = timed(ranker, wide, 3 if name == "teacher" else given.runs)
        print(f"  {name:<20} p50 {p50:8.2f}, p99 {p99[name]:9.2f} ms {rate:10,.0f} candidates/s")
    return p99


def quick_of(p99: dict[str, float]) -> list[str]:
    """Students with the teacher that are quick enough; all of them where none is, and says so."""
    quick = [name for name in WITHOUT if p99[name] < LIMIT_MS]
    if not quick:
        print(f"no student with the teacher is under {LIMIT_MS:.0f} ms; the best of all is taken")
    return quick or list(WITHOUT)


def gain_of(opened: OpenTask, requests: Path, name: str) -> str:
    """The metric of a student minus that of its like without the teacher; prints the interval."""
    report = evaluate(
        opened, engine=f"student:{WITHOUT[name]}", vs=[f"student:{name}"], requests=requests
    )
    gain = report.ranker(f"student:{name}").differences[METRIC]
    ends = "" if gain.low is None else f", between {gain.low:+.4f} and {gain.high:+.4f}"
    print(f"{name}: {METRIC} {gain.value:+.4f} by the teacher{ends}")
    return f"{gain.value:+.4f}"


def timed(ranker: Ranker, wide: list[Request], runs: int) -> tuple[float, float, float]:
    """p50 and p99 in milliseconds of one request, and candidates a second over many."""
    times = times_of(ranker.rank, wide[: max(1, min(len(wide), runs))], runs)
    start = time.perf_counter()
    bulk = wide[: max(1, runs // 8)]
    count = sum(len(ranking.scored) for ranking in ranker.rank_many(bulk))
    rate = count / (time.perf_counter() - start)
    p50, p99 = (1e3 * float(np.quantile(times, q)) for q in (0.5, 0.99))
    return p50, p99, rate


def main() -> None:
    """Learns, compares, measures and prints; the last line is for machines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", default="adapter:movies", help="or base")
    parser.add_argument("--labels", type=int, default=40, help="labelled requests of each part")
    parser.add_argument("--taught", type=int, default=300, help="training requests")
    parser.add_argument("--valid", type=int, default=100, help="validation requests")
    parser.add_argument("--test", type=int, default=100, help="test requests for the teacher too")
    parser.add_argument("--runs", type=int, default=400, help="timed requests a student")
    parser.add_argument("--project", type=Path, help="keeps store and students; else a new folder")
    given = parser.parse_args()
    with TemporaryDirectory(prefix="promptrank-") as folder:
        project = given.project or Path(folder)
        project.mkdir(parents=True, exist_ok=True)
        opened = open_task(TASK, project=project)
        requests = Path(folder) / "requests.parquet"
        build(opened, requests)
        fewer_valid(requests, given.valid)
        quality = learn(opened, requests, given)
        ask(opened, requests, Path(folder) / "sample.parquet", given)
        report = compare_students(
            opened,
            teacher=given.teacher,
            students=list(STUDENTS),
            without=WITHOUT,
            requests=requests,
            limit=given.test,
        )
        show_students(report)
        p99 = times(opened, requests, given)
        quick = quick_of(p99)
        best = max(quick, key=lambda name: quality[name])
        gain = gain_of(opened, requests, best)
        kept = report.ranker(best).kept
        shown = "none" if kept is None else f"{kept:.2f}"
        print(f"p99_ms={p99[best]:.2f} distill_gain={gain} lift_kept={shown}")


if __name__ == "__main__":
    main()
