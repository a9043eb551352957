"""``rank``: requests to a scores file, resumable."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

from promptrank.adapters.shelf import adapter_digest
from promptrank.api.journal import Journal, Row
from promptrank.api.manifest import digest, manifest, write_json
from promptrank.api.outputs import check_output
from promptrank.api.ranker import Ranker, open_ranker
from promptrank.api.requests import RequestFile, items_stamp, read, request_file
from promptrank.api.tasks import Say, check_splits, silent
from promptrank.api.teacher import with_store
from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.rows import ranking_rows, row_types
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
        notes: what a student fell back on.
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
    notes: tuple[str, ...] = ()


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
    allow_changed: bool = False,
    store: bool = False,
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
        allow_changed: rank although template or answers changed since the adapter was trained.
        store: answer from the project's teacher store where it can be, and add to it what cannot.

    Raises:
        InputError: whatever in the input keeps the run from starting.
    """
    path = check_output(out, (".parquet", ".jsonl"), [requests])
    with open_ranker(
        task,
        engine=engine,
        model=model,
        adapter=adapter,
        project=project,
        settings=settings or (),
        threads=threads,
        allow_changed=allow_changed,
        say=say,
    ) as ranker:
        stored = with_store(ranker) if store else None
        if requests is None:
            check_splits(ranker.opened.task, splits)
        if splits is None and requests is None and ranker.opened.task.split is not None:
            splits = {"test"}
        with request_file(ranker.opened, requests, splits=splits, say=say) as file:
            ranked = rank_file(ranker, file, path, splits, limit, say, progress)
    if stored is not None:
        say(f"{stored.found:,} prompts answered from the store, {stored.asked:,} by the model")
    return ranked


def rank_file(
    ranker: Ranker,
    file: RequestFile,
    path: Path,
    splits: set[str] | None,
    limit: int | None,
    say: Say,
    progress: Progress,
) -> Ranked:
    """Rank a request file into ``path``; the part of `rank` that starts with an open ranker."""
    from promptrank.requests.sampling import file_digest, request_ids

    opened = ranker.opened
    ids = request_ids(file.path, splits, limit)
    if not ids:
        part = f" of part {' or '.join(sorted(splits))}" if splits else ""
        raise DataError(f"no request{part} to rank in {file.path.name}")
    facts = manifest(
        "rank",
        opened.task,
        opened.name,
        ranker.info,
        adapter=ranker.adapter,
        adapter_digest=adapter_digest(ranker.adapter),
        prompt=ranker.fingerprint,
        **fusion_facts(ranker),
        requests=file_digest(file.path),
        items=items_stamp(opened, file.path),
        splits=sorted(splits) if splits else None,
        limit=limit,
    )
    identity = digest({k: v for k, v in facts.items() if k != "argv"})
    with Journal(path, identity) as journal:
        resumed = len(journal.done)
        if resumed:
            say(f"resuming: {resumed:,} requests were already ranked")
        elif journal.replaced:
            say(f"{journal.path.name} is of another task, model or requests: starting over")
        total = len(ids)
        todo = set(ids) - journal.done
        progress(resumed, total)
        for done, (request_id, rows, errors) in enumerate(
            _rank_rest(ranker, file, splits, todo, journal.others), resumed + 1
        ):
            journal.add(request_id, rows, errors)
            progress(done, total)
        ranked = _write(journal, ranker.opened.task, path, resumed)
        ranked = replace(ranked, notes=ranker.notes())
        result = {"result": asdict(ranked)}
        write_json(path.with_name(f"{path.stem}.config.json"), {**facts, **result})
        journal.finish()
    return ranked


def fusion_facts(ranker: Ranker) -> dict[str, str]:
    """Path and digest of the fusion in use, for a manifest; nothing without one."""
    if ranker.fusion is None:
        return {}
    return {"fusion": str(ranker.fusion.path), "fusion_digest": ranker.fusion.digest}


def _rank_rest(
    ranker: Ranker, file: RequestFile, splits: set[str] | None, todo: set[str], others: bool
) -> Iterator[tuple[str, list[Row], list[Row]]]:
    """Rank the requests in ``todo``; rows that could not be used go to their request.

    Rows of no request at all come last, under an empty id, unless the journal has them already.
    """
    lost: dict[str, list[ErrorRow]] = {}
    for row in file.set_aside:
        lost.setdefault(row.request_id or "", []).append(row)
    ranked: set[str] = set()
    for ranking in ranker.rank_many(read(ranker.opened, file.path, splits, lost, todo)):
        errors = [*lost.pop(ranking.request_id, ()), *ranking.errors]
        ranked.add(ranking.request_id)
        yield ranking.request_id, list(ranking_rows(ranking)), [e.as_dict() for e in errors]
    late: list[ErrorRow] = []
    for name, rows in lost.items():
        if not name or name in ranked:
            late += rows  # of no request, or of one whose rows lie far apart in the file
        elif name in todo:
            yield name, [], [e.as_dict() for e in rows]
    if late and not others:
        yield "", [], [e.as_dict() for e in late]


def _write(journal: Journal, task: Task, path: Path, resumed: int) -> Ranked:
    """Turn a complete journal into the scores file and the errors file, and sum them up."""
    import pyarrow as pa

    from promptrank.requests.write import TableWriter

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
