"""Build and read the requests of a synthetic ratings table: seconds, rows/s and peak memory.

    python bench/data.py --events 1000000
    python bench/data.py --examples 100000 1000000
    python bench/data.py --lessons 5000 50000

The memory that counts is DuckDB's limit (``--memory``) and what Python adds on top.

``--examples`` encodes training examples of so many labels, and of more, and reads them in random
order, each in a process of its own. Two figures of memory: the peak of what the process cannot give
back, and the peak with the pages of the mapped file, which the system takes back when it wants to.
``--lessons`` does so with what a student of kind decoder learns from.
"""

import argparse
import random
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from promptrank.basics.telling import silent
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


TASK = """\
domain: bench
template: bench.j2
model: {model}
tables:
  items: {{path: items.parquet, key: item_id}}
  members: {{path: members.parquet, key: member_id}}
ratings:
  path: ratings.parquet
  member: members
  item: items
  time: time
  label: if(rating >= 4, 'like', 'dislike')
  group: {{last: 10}}
history: {{last: 10}}
questions:
  like:
    ask: Will they like it?
    answers: {{like: {{say: Yes, value: 1}}, dislike: {{say: No, value: 0}}}}
split: {{by: last, test: 1}}
"""
TEMPLATE = """\
{% block instruction %}You rank items for a member.{% endblock %}
{% block subject %}Age: {{ member.age }}{% endblock %}
{% block event %}{{ event.action }}: {{ item.title }}{% endblock %}
{% block candidate %}Item: {{ item.title }} ({{ item.year }}){% endblock %}
{% block question %}{{ question.ask }} Answer:{% endblock %}
"""


def compare_examples(sizes: list[int], model: str, workers: int, phases: list[str]) -> None:
    """Memory and speed of each phase, per size; then the ratio of the memories."""
    peaks: dict[str, list[float]] = {phase: [] for phase in phases}
    with TemporaryDirectory() as name:
        for size in sizes:
            root = Path(name) / str(size)
            make_examples_project(root, size, model)
            for phase, known in peaks.items():
                words = [sys.executable, __file__, "--phase", phase, str(root), str(workers)]
                out = subprocess.run(
                    words, check=True, stdout=subprocess.PIPE, encoding="utf-8"
                ).stdout
                sys.stdout.write(out)
                sys.stdout.flush()
                known.append(float(out.rpartition("own=")[2].split()[0]))
    ratios = (f"{phase}_memory={known[-1] / known[0]:.2f}" for phase, known in peaks.items())
    print(f"labels={sizes[-1] / sizes[0]:.0f} {' '.join(ratios)}")


def make_examples_project(root: Path, labels: int, model: str) -> None:
    """A project whose training part has about so many labels, with its request file."""
    for folder, name, text in (
        ("tasks", "bench.yaml", TASK.format(model=model)),
        ("templates", "bench.j2", TEMPLATE),
    ):
        (root / folder).mkdir(parents=True)
        (root / folder / name).write_text(text, encoding="utf-8")
    make_tables(root, round(labels * 1.12))  # the last block of every member is test
    code = "import promptrank, sys; promptrank.build('bench', sys.argv[2], project=sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(root), str(root / "r.parquet")], check=True)


def lessons(root: Path) -> None:
    """Encode what a decoder student learns from, and read it in random order."""
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits
    from promptrank.students.decoder.taught_examples import store
    from promptrank.students.lessons import Learning, make_lessons
    from promptrank.workspace.encoders import open_encoder
    from promptrank.workspace.request_files import given_file
    from promptrank.workspace.tasks import open_task

    opened = open_task("bench", project=root)
    folder = resolve_model(opened.task.model)
    encoder = open_encoder(opened, folder, model_limits(folder).max_tokens)
    requests = given_file(opened, root / "r.parquet").read({"train"})
    begin = time.perf_counter()
    with own_peak() as own:
        taught = make_lessons(opened.task, requests, None)
        made, about = store(root / "lessons", opened.task, encoder, taught, Learning("labels"))
        order = list(range(len(made)))
        random.Random(0).shuffle(order)
        assert sum(made[place].labels for place in order) == about.labels
        seconds = time.perf_counter() - begin
    print(
        f"lessons: {about.labels:,} labels in {about.examples:,} examples, {seconds:.1f} s, "
        f"{about.labels / seconds:.0f} labels/s, peak {peak():.2f} GB, own={own[0]:.3f} GB"
    )


def phase(name: str, root: Path, workers: int) -> None:
    """Encode, or read what was encoded, in this process."""
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits
    from promptrank.training.prepared import prepare
    from promptrank.training.settings import Settings
    from promptrank.workspace.request_files import given_file
    from promptrank.workspace.tasks import open_task
    from promptrank.workspace.training_parts import EncoderOpener

    task = open_task("bench", project=root)
    folder = resolve_model(task.task.model)
    opener = EncoderOpener(task, folder, model_limits(folder).max_tokens)
    file = given_file(task, root / "r.parquet")
    settings = Settings(valid=0)
    begin = time.perf_counter()
    with own_peak() as own:
        part = prepare(
            "bench",
            task.task,
            file,
            settings,
            opener,
            number=0,
            store=root / "examples",
            workers=workers,
            say=silent,
        )
        if name == "read":
            begin = time.perf_counter()
            order = list(range(len(part.examples)))
            random.Random(0).shuffle(order)
            labels = sum(part.examples[place].labels for place in order)
            assert labels == part.labels
        seconds = time.perf_counter() - begin
    size = sum(p.stat().st_size for p in (root / "examples").glob("*/*"))
    print(
        f"{name}: {part.labels:,} labels in {len(part.examples):,} examples, {size / 1e6:.0f} MB, "
        f"{seconds:.1f} s, {part.labels / seconds:.0f} labels/s, peak {peak():.2f} GB, "
        f"own={own[0]:.3f} GB"
    )


@contextmanager
def own_peak() -> Iterator[list[float]]:
    """GB that this process alone holds and no file backs, at most; looked at 50 times a second."""
    highest, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            held = next(line for line in lines if line.startswith("RssAnon"))
            highest[0] = max(highest[0], int(held.split()[1]) * 1024 / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield highest
    finally:
        over.set()
        watcher.join()


def peak() -> float:
    """Peak resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print one line for each step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--negatives", type=int, default=0)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--examples", type=int, nargs="+", metavar="LABELS")
    parser.add_argument("--lessons", type=int, nargs="+", metavar="LABELS")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="whose tokenizer is used")
    parser.add_argument("--workers", type=int, default=1, help="processes that encode")
    parser.add_argument("--phase", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phase:
        name, root, workers = args.phase
        lessons(Path(root)) if name == "lessons" else phase(name, Path(root), int(workers))
        return
    if args.examples:
        compare_examples(args.examples, args.model, args.workers, ["encode", "read"])
        return
    if args.lessons:
        compare_examples(args.lessons, args.model, args.workers, ["lessons"])
        return
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
