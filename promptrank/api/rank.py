"""``rank``: requests to a scores file, resumable."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from promptrank.api.build import build
from promptrank.api.journal import Journal, Row
from promptrank.api.manifest import digest, manifest, write_json
from promptrank.api.ranker import Ranker, open_ranker
from promptrank.api.tasks import OpenTask, Say, check_splits, data_folder, silent
from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.rows import ranking_rows, row_types
from promptrank.records import Request
from promptrank.schema.task import Task

Progress = Callable[[int, int | None], None]


def no_progress(done: int, total: int | None) -> None:
    """A ``progress`` that shows nothing."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What `rank` wrote.

    Attributes:
        candidates: scored candidates, one row each in ``path``.
        partial: rankings that lost a candidate.
        cut_events: history events that did not fit their prompts.
        label_mass: mean probability that the declared answers hold together, per question.
        resumed: requests taken over from an earlier run that was stopped.
    """

    path: Path
    errors_path: Path
    requests: int
    candidates: int
    errors: int
    partial: int
    cut_events: int
    label_mass: dict[str, float]
    resumed: int


@contextmanager
def request_file(
    opened: OpenTask, requests: str | Path | None, *, splits: set[str] | None, say: Say
) -> Iterator[Path]:
    """The given request file, or one built from the task's tables that is gone afterwards.

    Raises:
        DataError: the given file does not exist.
    """
    if requests is not None:
        if not Path(requests).is_file():
            raise DataError(f"no request file {requests}; `promptrank build` writes one")
        yield Path(requests)
        return
    with TemporaryDirectory(prefix="promptrank-") as folder:
        path = Path(folder) / "requests.parquet"
        say("building requests")
        build(opened, path, splits=splits, say=say)
        yield path


def rank(
    task: str,
    out: str | Path,
    *,
    requests: str | Path | None = None,
    splits: set[str] | None = None,
    limit: int | None = None,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Ranked:
    """Score and rank requests into ``out`` (``.parquet`` or ``.jsonl``).

    A run that was stopped goes on where it was, given the same task, model, adapter and requests.
    Beside ``out``: ``<stem>.errors.jsonl`` and ``<stem>.config.json``.

    Args:
        requests: a request file; the task's own tables where left out.
        splits: only these parts; ``test`` where the task declares a split, else everything.
        limit: at most this many requests, sampled by a hash of their ids.

    Raises:
        InputError: whatever in the input keeps the run from starting.
    """
    from promptrank.data.write import check_suffix

    path = Path(out)
    check_suffix(path)
    with open_ranker(
        task,
        engine=engine,
        model=model,
        adapter=adapter,
        project=project,
        settings=settings or (),
        threads=threads,
        say=say,
    ) as ranker:
        if requests is None:
            check_splits(ranker.opened.task, splits)
        if splits is None and requests is None and ranker.opened.task.split is not None:
            splits = {"test"}
        with request_file(ranker.opened, requests, splits=splits, say=say) as file:
            return rank_file(ranker, file, path, splits, limit, say, progress)


def rank_file(
    ranker: Ranker,
    file: Path,
    path: Path,
    splits: set[str] | None,
    limit: int | None,
    say: Say,
    progress: Progress,
) -> Ranked:
    """Rank a request file into ``path``; the part of `rank` that starts with an open ranker."""
    from promptrank.data.select import file_digest, request_ids

    opened = ranker.opened
    facts = manifest(
        "rank",
        opened.task,
        opened.name,
        ranker.engine.info,
        adapter=ranker.adapter,
        prompt=ranker.encoder.fingerprint,
        requests=file_digest(file),
        splits=sorted(splits) if splits else None,
        limit=limit,
    )
    identity = digest({k: v for k, v in facts.items() if k != "argv"})
    with Journal(path, identity) as journal:
        resumed = len(journal.done)
        if resumed:
            say(f"resuming: {resumed:,} requests were already ranked")
        ids = request_ids(file, splits, limit)
        if not ids:
            part = f" of part {' or '.join(sorted(splits))}" if splits else ""
            raise DataError(f"no request{part} to rank; see the errors that `build` writes")
        total = len(ids)
        todo = set(ids) - journal.done
        progress(resumed, total)
        for done, (request_id, rows, errors) in enumerate(
            _rank_rest(ranker, file, splits, todo), resumed + 1
        ):
            journal.add(request_id, rows, errors)
            progress(done, total)
        ranked = _write(journal, ranker.opened.task, path, resumed)
        result = {"result": asdict(ranked)}
        write_json(path.with_name(f"{path.stem}.config.json"), {**facts, **result})
        journal.finish()
    return ranked


def _rank_rest(
    ranker: Ranker, file: Path, splits: set[str] | None, todo: set[str]
) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """Rank the requests in ``todo``; rows that could not be read go to their request."""
    lost: dict[str, list[ErrorRow]] = {}
    for ranking in ranker.rank_many(read(ranker.opened, file, splits, lost, todo)):
        errors = [*lost.pop(ranking.request_id, ()), *ranking.errors]
        yield ranking.request_id, list(ranking_rows(ranking)), [e.as_dict() for e in errors]
    for name, rows in lost.items():
        if name in todo or not name:
            yield name, [], [e.as_dict() for e in rows]


def read(
    opened: OpenTask,
    file: Path,
    splits: set[str] | None,
    lost: dict[str, list[ErrorRow]],
    only: set[str] | None = None,
) -> Iterator[Request]:
    """The requests of a file; rows that cannot be read are collected in ``lost`` by request."""
    from promptrank.data.format import items_path_of
    from promptrank.data.read import read_requests

    def keep(row: ErrorRow) -> None:
        lost.setdefault(row.request_id or "", []).append(row)

    root = None
    if not items_path_of(file).is_file():
        root = data_folder(opened)
    for request in read_requests(file, task=opened.task, root=root, splits=splits, errors=keep):
        if only is None or request.request_id in only:
            yield request


def _write(journal: Journal, task: Task, path: Path, resumed: int) -> Ranked:
    """Turn a complete journal into the scores file and the errors file, and sum them up."""
    import pyarrow as pa

    from promptrank.data.write import TableWriter

    errors_path = path.with_name(f"{path.stem}.errors.jsonl")
    schema = pa.schema(list(row_types(task).items()))
    requests = candidates = errors = partial = cut_events = 0
    mass = dict.fromkeys(task.questions, 0.0)
    with TableWriter(path, schema) as scores, TableWriter(errors_path) as set_aside:
        for entries in _batches(journal.entries(), 500):
            scores.write_rows([row for entry in entries for row in entry["rows"]])
            set_aside.write_rows([row for entry in entries for row in entry["errors"]])
            for entry in entries:
                rows = entry["rows"]
                named = bool(entry["request_id"])  # what has no request id is no ranking
                requests += named
                candidates += len(rows)
                errors += len(entry["errors"])
                # A request that lost every candidate has no row to carry the flag.
                partial += bool(rows[0]["partial"]) if rows else named
                cut_events += rows[0]["events_dropped"] if rows else 0
                for name in mass:
                    mass[name] += sum(row[f"{name}_label_mass"] for row in rows)
    mean = {name: total / candidates for name, total in mass.items()} if candidates else {}
    return Ranked(
        path, errors_path, requests, candidates, errors, partial, cut_events, mean, resumed
    )


def _batches(entries: Iterator[Row], size: int) -> Iterator[list[Row]]:
    while batch := list(islice(entries, size)):
        yield batch
