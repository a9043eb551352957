"""Scoring a sample of requests with a ranker: into memory, or resumable into a file."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.basics.digests import file_digest, json_digest
from promptrank.basics.json_files import json_object
from promptrank.basics.seals import file_digests, read_sealed, write_sealed, written_digest
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking
from promptrank.records import Request
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import Sample
from promptrank.requests.write import TableWriter
from promptrank.runs.amount import announced
from promptrank.runs.journal import Entry, Journal
from promptrank.runs.manifest import manifest
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import METADATA, Origin
from promptrank.scores.read import config_of
from promptrank.scores.scores import Scores

_AGAIN = "write it again by ranking again"
_BATCH = 500  # requests that are turned into columns together


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
        removed: of the candidates those that policy steps took out.
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
    removed: int = 0


def errors_of(path: Path) -> Path:
    """The file beside a scores file with the rows that were set aside."""
    return path.with_name(f"{path.stem}.errors.jsonl")


def reasons_beside(path: Path) -> dict[str, int]:
    """Rows set aside on the way to a scores file, by reason; empty where nothing tells."""
    beside = errors_of(path)
    if not beside.is_file():
        return {}
    stated = written_digest(beside, config_of(path))
    if stated is not None and stated != file_digest(beside):
        raise DataError(
            f"{beside}: is not what was written: it was damaged or changed since; {_AGAIN}"
        )
    reasons: Counter[str] = Counter()
    with beside.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            row = json_object(line, f"{beside}:{number}", then=_AGAIN)
            if not isinstance(row.get("reason"), str):
                raise DataError(f"{beside}:{number}: names no reason; {_AGAIN}")
            reasons[row["reason"]] += 1
    return dict(sorted(reasons.items()))


def score(
    ranker: Ranker,
    requests: Iterable[Request],
    progress: Progress = no_progress,
    *,
    total: int | None = None,
    say: Say = silent,
    watch: Callable[[Ranking], None] | None = None,
) -> Scores:
    """Scores of requests, in memory.

    Args:
        progress: is told of requests.
        total: how many there are.
        say: is told how much there is, where the total is known.
        watch: is shown every ranking.
    """
    schema, origin = _schema(ranker), _origin(ranker, requests)
    batches: list[pa.RecordBatch] = []
    waiting: list[Ranking] = []
    if total is not None:
        requests = announced(ranker, requests, total, say)
    for done, ranking in enumerate(ranker.rank_many(requests), 1):
        if watch is not None:
            watch(ranking)
        waiting.append(ranking)
        progress(done, total)
        if len(waiting) == _BATCH:
            batches.append(columns_of(waiting, schema))
            waiting = []
    batches.append(columns_of(waiting, schema))
    return Scores(pa.Table.from_batches(batches, schema), origin)


def _schema(ranker: Ranker) -> pa.Schema:
    return schema_of(ranker.task, answers=ranker.method.answers)


def _origin(ranker: Ranker, requests: Iterable[Request]) -> Origin:
    """The ranker's, with what was changed in its requests: such scores never pass for plain."""
    if not isinstance(requests, Sample):
        return ranker.origin
    return replace(ranker.origin, **requests.told)


def score_into(
    path: Path,
    ranker: Ranker,
    sample: Sample,
    facts: Mapping[str, Any],
    say: Say = silent,
    progress: Progress = no_progress,
) -> Ranked:
    """Scores of a sample into ``path``, with its errors file and its config beside it.

    A run that was stopped goes on where it was, if everything that can change a score is the same.
    The config states the digests of both files, which `read_scores` holds them against.

    Args:
        facts: of the run, for its identity and the config: which requests, from where.

    Raises:
        DataError: a sample without requests.
    """
    if not sample.ids:
        raise DataError(f"no request to rank in {sample.file.path.name}")
    origin, about, identity = _identified(ranker, sample, facts)
    with Journal(path, identity, _schema(ranker), sample.ids) as journal:
        resumed = len(journal.done)
        if journal.damaged:
            say(
                f"{journal.path.name} is damaged or was changed after {resumed:,} requests; what "
                "came after them is scored again"
            )
        if resumed:
            say(f"resuming: {resumed:,} requests were already ranked")
        elif journal.replaced:
            say(
                f"{journal.path.name} is of another task, model or requests, or damaged: "
                "starting over"
            )
        progress(resumed, len(sample))
        _rank_into(journal, ranker, sample, say, progress)
        metadata = {METADATA: origin.to_json()}
        ranked = _write(journal, path, ranker, metadata, resumed)
        ranked = replace(ranked, notes=ranker.notes())
        files = file_digests(path.parent, [path.name, ranked.errors_path.name])
        result = {"result": asdict(ranked), "files": files, "identity": identity}
        write_sealed(config_of(path), {**about, **result})
        journal.finish()
    return ranked


def is_scored(path: Path, ranker: Ranker, sample: Sample, facts: Mapping[str, Any]) -> bool:
    """Whether the file is there, whole, and what `score_into` would write of the same arguments."""
    files = [path, errors_of(path)]
    if not all(file.is_file() for file in (*files, config_of(path))):
        return False
    try:
        written = read_sealed(config_of(path), then=_AGAIN)
    except DataError:
        return False
    _, _, identity = _identified(ranker, sample, facts)
    now = file_digests(path.parent, [file.name for file in files])
    return written.get("identity") == identity and written.get("files") == now


def _identified(
    ranker: Ranker, sample: Sample, facts: Mapping[str, Any]
) -> tuple[Origin, dict[str, Any], str]:
    """The origin of a sample's scores, all there is to say of the run, and its digest."""
    origin = replace(_origin(ranker, sample), requests=requests_digest(sample.file.path))
    about = {**manifest("rank", ranker.task, origin.task or ""), **asdict(origin), **facts}
    return origin, about, json_digest({k: v for k, v in about.items() if k != "argv"})


def _rank_into(
    journal: Journal, ranker: Ranker, sample: Sample, say: Say, progress: Progress
) -> None:
    """Rank what the journal lacks; rows that could not be used go to their request.

    Rows of no request at all come last, under an empty id, unless the journal has them already.
    """
    schema = _schema(ranker)
    todo = sample.ids - journal.done
    set_aside: dict[str, list[ErrorRow]] = {}
    for row in sample.file.set_aside:
        set_aside.setdefault(row.request_id or "", []).append(row)
    told: dict[str, int] = {}  # request -> how many of the rows that it lost are in the journal
    requests = (request for request in sample if request.request_id in todo)
    for ranking in ranker.rank_many(announced(ranker, requests, len(todo), say)):
        name = ranking.request_id
        lost = [*set_aside.get(name, ()), *sample.lost.get(name, ())]
        told[name] = len(lost)
        journal.add(name, columns_of([ranking], schema), [*lost, *ranking.errors])
        progress(len(journal.done), len(sample))
    nothing, late = columns_of([], schema), list[ErrorRow]()
    for name in dict.fromkeys([*set_aside, *sample.lost]):
        rows = [*set_aside.get(name, ()), *sample.lost.get(name, ())]
        if not name or name in told:
            late += rows[told.get(name, 0) :]  # of no request, or far from the others in the file
        elif name in todo:
            journal.add(name, nothing, rows)
            progress(len(journal.done), len(sample))
    if late and not journal.others:
        journal.add("", nothing, late)


def _write(
    journal: Journal, path: Path, ranker: Ranker, metadata: Mapping[str, str], resumed: int
) -> Ranked:
    """Turn a complete journal into the scores file and the errors file, and sum them up."""
    schema = _schema(ranker)
    mass = dict.fromkeys(ranker.task.questions if ranker.method.answers else (), 0.0)
    requests = candidates = removed = errors = partial = cut_events = 0
    with (
        TableWriter(path, schema, metadata=metadata) as scores,
        TableWriter(errors_of(path)) as set_aside,
    ):
        for entries in _batches(journal.entries()):
            table = pa.Table.from_batches([entry.rows for entry in entries])
            scores.write_table(table)
            set_aside.write_rows([row for entry in entries for row in entry.errors])
            candidates += len(table)
            removed += table.column("rank").null_count
            for name in mass:
                mass[name] += sum(table.column(f"{name}_label_mass").to_pylist())
            for entry in entries:
                named = bool(entry.request_id)  # what has no request id is no ranking
                requests += named
                errors += len(entry.errors)
                # A request that lost every candidate has no row to carry the flag.
                rows = entry.rows
                partial += rows.column("partial")[0].as_py() if len(rows) else named
                cut_events += rows.column("events_dropped")[0].as_py() if len(rows) else 0
    mean = {name: total / candidates for name, total in mass.items()} if candidates else {}
    return Ranked(
        path,
        errors_of(path),
        requests,
        candidates,
        errors,
        partial,
        cut_events,
        mean,
        resumed,
        removed=removed,
    )


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, _BATCH)):
        yield batch
