"""Build and read the requests of a synthetic ratings table: seconds, rows/s and peak memory.

    python bench/data.py --events 1000000

The memory that counts is DuckDB's limit (``--memory``) and what Python adds on top.
"""

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from promptrank.requests.read import read_requests
from promptrank.schema.task import Task
from promptrank.tables.build import build_requests


def make_tables(root: Path, events: int) -> None:
    """Members and items with a long tail; integer ratings; many rows share a second."""
    members, items = max(events // 100, 2), max(events // 50, 2)
    with duckdb.connect() as con:
        con.execute("SELECT setseed(0.5)")
        con.execute(
            f"COPY (SELECT i AS item_id, 'Title of item ' || i AS title, 1950 + i % 70 AS year, "
            f"repeat('word' || (i % 97) || ' ', 30) AS text FROM range({items}) t(i)) "
            f"TO '{root / 'items.parquet'}'"
        )
        con.execute(
            f"COPY (SELECT i AS member_id, 20 + i % 60 AS age FROM range({members}) t(i)) "
            f"TO '{root / 'members.parquet'}'"
        )
        con.execute(
            f"COPY (SELECT CAST(floor({members} * pow(random(), 1.5)) AS BIGINT) AS member_id, "
            f"CAST(floor({items} * pow(random(), 3)) AS BIGINT) AS item_id, "
            f"1600000000 + CAST(floor({events} * 6 * random()) AS BIGINT) AS time, "
            f"1 + CAST(floor(5 * random()) AS BIGINT) AS rating FROM range({events})) "
            f"TO '{root / 'ratings.parquet'}'"
        )


def make_task(negatives: int) -> Task:
    """Histories, item and member statistics and a percentile."""
    ratings: dict[str, object] = {
        "path": "ratings.parquet",
        "member": "members",
        "item": "items",
        "time": "time",
        "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
        "group": {"last": 10},
    }
    if negatives:
        ratings["negatives"] = {"count": negatives, "sampler": "popular", "label": "dislike"}
    answers = {"like": {"say": "Yes", "value": 1}, "dislike": {"say": "No", "value": 0}}
    return Task.model_validate(
        {
            "domain": "bench",
            "template": "bench.j2",
            "tables": {
                "items": {"path": "items.parquet", "key": "item_id"},
                "members": {"path": "members.parquet", "key": "member_id"},
            },
            "ratings": ratings,
            "history": {"last": 20},
            "statistics": {
                "item_mean": {"mean": "rating", "prior": 5},
                "popularity": {"count": True, "percentile": True},
                "member_mean": {"of": "member", "mean": "rating"},
            },
            "questions": {"like": {"answers": answers}},
            "split": {"by": "last", "test": 1},
        }
    )


def peak() -> float:
    """Peak resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print one line for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--negatives", type=int, default=0)
    parser.add_argument("--memory", default="1GB")
    args = parser.parse_args()
    with TemporaryDirectory() as name:
        root = Path(name)
        make_tables(root, args.events)
        print(f"tables made, {peak():.2f} GB", flush=True)
        begin = time.perf_counter()
        built = build_requests(
            make_task(args.negatives),
            root=root,
            out=root / "out.parquet",
            memory=args.memory,
            say=lambda text: print(f"  {time.perf_counter() - begin:6.1f} s  {text}", flush=True),
        )
        seconds = time.perf_counter() - begin
        rows, size = sum(built.candidates.values()), built.path.stat().st_size / 1e6
        print(
            f"build: {args.events:,} events, {rows:,} candidates in {seconds:.1f} s, "
            f"peak {peak():.2f} GB, file {size:.0f} MB"
        )
        begin, count, events = time.perf_counter(), 0, 0
        for request in read_requests(built.path, errors=lambda row: print(row)):
            count += len(request.candidates)
            events += len(request.history)
        seconds_read = time.perf_counter() - begin
        print(f"read: {count:,} candidates, {events:,} events, peak {peak():.2f} GB")
        print(f"build={args.events / seconds:.0f} read={count / seconds_read:.0f}")


if __name__ == "__main__":
    main()
