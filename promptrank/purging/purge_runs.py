"""Purging folders of runs: shards without a person, whose facts and sum still hold."""

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial, reduce
from pathlib import Path

import pyarrow as pa

from promptrank.basics.digests import file_digest
from promptrank.basics.owner import owned
from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.errors import DataError
from promptrank.purging.exchange import clear_made, exchange, finish, made_for, make
from promptrank.purging.proof import occurrences
from promptrank.purging.purged_subject import PurgedSubject
from promptrank.purging.removed import Removed
from promptrank.purging.tables_without import Row, Without, row_of, tables_in, write_without
from promptrank.runs import shards
from promptrank.runs.attempts import ledger_path
from promptrank.runs.run_identity import PLAN, PURGE, RUN, SUMMARY
from promptrank.runs.several_runs import names_of_runs
from promptrank.runs.shards import NOTHING, Shard, ShardCounts

_AGAIN = "the command that made it goes on with it; then purge again"
PURGED = "purged"
NAMELESS = {"request_id": None, "candidate_id": None, "stage": "data", "reason": PURGED}
"""The error row that stays of a request that was set aside as a whole."""


def runs_in(place: Path) -> list[Path]:
    """What a name stands for: itself, or those runs and plans that lie right in a folder."""
    if not place.is_dir() or _is_run(place):
        return [place]
    return [path for path in sorted(place.iterdir()) if _is_run(path)] or [place]


def _is_run(folder: Path) -> bool:
    return (folder / RUN).is_file() or (folder / PLAN).is_file()


def purge_run(
    folder: Path, subject: PurgedSubject, requests: Collection[str], *, dry: bool
) -> Removed:
    """Remove a person from a run.

    Args:
        requests: ids of requests that are known to be theirs.
        dry: only count.

    Raises:
        InputError: a run is under way there.
        DataError: no run, or a shard that is damaged.
    """
    removed = Removed(folder)
    if names := names_of_runs(folder):
        with owned(folder, "purge"):
            for name in names:
                if (folder / name / RUN).is_file():  # the others are not begun
                    removed.join(purge_run(folder / name, subject, requests, dry=dry))
            if not dry:
                _sum_up(folder, names)
        return removed
    if not (folder / RUN).is_file():
        raise DataError(f"{folder}: is no folder of a run, nor of several; look at the path")
    with owned(folder, "purge"):
        if not dry:
            finish(folder / PURGE)
            clear_made(folder)
            shards.clear_shards(folder)
        whole, known = NOTHING, set[Path]()
        identity = _identity(folder)
        for number in shards.numbers(folder):
            shard = shards.read_shard(folder, number)
            if wrong := shards.damage(folder, shard):
                raise DataError(f"{wrong}; {_AGAIN}")
            known |= {folder / name for name in shard.files}
            now = _purge_shard(folder, shard, subject, requests, removed, dry)
            if shard.identity == identity:
                whole = whole.plus(now.counted)
        for path in _unfinished(folder, known):
            if any(occurrences(path, subject)):
                removed.add("unfinished file")
                if not dry:
                    path.unlink()
        summary = folder / SUMMARY
        if not dry and summary.is_file():
            told = read_sealed(summary, then=_AGAIN)
            if told != (summed := told | whole.as_dict()):
                write_sealed(summary, summed)
    return removed


def _identity(folder: Path) -> str:
    """That of a run: shards of another one that lie in its folder are in no sum of it."""
    return str(read_sealed(folder / RUN, then=_AGAIN).get("identity"))


def _sum_up(folder: Path, names: Sequence[str]) -> None:
    """Renew the summary of several runs, where they are finished."""
    if not (folder / SUMMARY).is_file():
        return
    told = read_sealed(folder / SUMMARY, then=_AGAIN)
    whole, now = NOTHING, dict(told)
    if not isinstance(told.get("runs"), dict):
        raise DataError(f"{folder / SUMMARY}: tells of no runs; {_AGAIN}")
    runs = {name: dict(facts) for name, facts in told["runs"].items()}
    for name in names:
        run = folder / name
        every = [shards.read_shard(run, number) for number in shards.numbers(run)]
        own = [shard.counted for shard in every if shard.identity == _identity(run)]
        mine = reduce(ShardCounts.plus, own, NOTHING)
        runs[name] |= mine.as_dict()
        whole = whole.plus(mine)
    now |= {key: value for key, value in whole.as_dict().items() if key != "label_mass"}
    now["runs"] = runs
    if now != told:
        write_sealed(folder / SUMMARY, now)


def _unfinished(folder: Path, known: set[Path]) -> list[Path]:
    """Files of shards that were never finished."""
    places = {at(folder, 0).parent for at in (shards.scores_path, shards.errors_path)}
    places |= {shards.prompts_path(folder, 0).parent, ledger_path(folder, 0).parent}
    return [p for at in places for p in at.rglob("*") if p.is_file() and p not in known]


@dataclass(slots=True)
class _Kept:
    """What stays of the scores of a shard."""

    first: str | None
    last: str | None
    mass: dict[str, float]

    def take(self, table: pa.Table) -> None:
        if "score" not in table.column_names or not len(table):
            return
        ids = table.column("request_id")
        self.first = ids[0].as_py() if self.first is None else self.first
        self.last = ids[-1].as_py()
        for name in self.mass:
            if f"{name}_label_mass" in table.column_names:
                self.mass[name] += sum(table.column(f"{name}_label_mass").to_pylist())


def _purge_shard(
    folder: Path,
    shard: Shard,
    subject: PurgedSubject,
    requests: Collection[str],
    removed: Removed,
    dry: bool,
) -> Shard:
    # Of the hashes of ids that a resumed run goes by, none leads back to an id.
    names = [name for name in shard.files if name.endswith((".parquet", ".jsonl"))]
    paths = [folder / name for name in names]
    theirs, short = _requests_of(paths, subject)
    theirs |= set(requests)
    if not any(_holds(path, subject, theirs) for path in paths):
        return shard
    kept = _Kept(None, None, dict.fromkeys(shard.counted.label_mass, 0.0))
    lost: dict[Path, Without] = {}

    def write(path: Path, place: Path) -> None:
        # What lost a candidate is another request now, whose scores nobody shall take over.
        gone = theirs | short if path == shards.prompts_path(folder, shard.number) else theirs
        lost[path] = write_without(path, place, subject, gone, instead=_nameless, watch=kept.take)

    for path in paths:
        if dry:
            write(path, Path(os.devnull))
        else:
            make(path, partial(write, path))
    removed.requests |= {
        request
        for path in paths
        for row in lost[path].theirs
        if (request := row.get("request_id")) is not None and request not in short
    }
    now = replace(
        shard,
        first=kept.first,
        last=kept.last,
        counted=_counted(shard.counted, lost, kept, removed),
    )
    if not dry:
        digests = [file_digest(made_for(path)) for path in paths]
        now = replace(now, files={**shard.files, **dict(zip(names, digests, strict=True))})
        exchange(folder / PURGE, paths, {shards.facts_path(folder, shard.number): asdict(now)})
    return now


def _requests_of(paths: list[Path], subject: PurgedSubject) -> tuple[set[str], set[str]]:
    """Ids of their requests, and of others' of which they are a candidate that is to go."""
    theirs, short = set[str](), set[str]()
    for path in paths:
        if path.suffix == ".parquet":
            for table in tables_in(path):
                theirs |= subject.requests_in(table)
                rows = table.filter(subject.items_in(table))
                short |= set(rows.column("request_id").to_pylist())
    return theirs, short - theirs


def _holds(path: Path, subject: PurgedSubject, theirs: set[str]) -> bool:
    if path.suffix == ".jsonl":
        rows = map(row_of, path.read_bytes().splitlines())
        return any(
            subject.is_theirs(row, theirs) or subject.is_item(row)
            for row in rows
            if row is not None
        )
    return any(
        any(subject.rows_of(table, theirs).to_pylist()) or any(subject.items_in(table).to_pylist())
        for table in tables_in(path)
    )


def _nameless(row: Row) -> Row | None:
    """What stays of an error row: how many candidates the request had is known to no file."""
    if row.get("candidate_id") is not None or row.get("stage") == "data":
        return None
    return {**NAMELESS, "message": "a request that was set aside as a whole, and then purged"}


def _counted(
    counted: ShardCounts, lost: dict[Path, Without], kept: _Kept, removed: Removed
) -> ShardCounts:
    """The counts of a shard without what it lost; what was read stays what it was."""
    scored = taken_out = set_aside = unread = errors = cut = 0
    reasons = Counter(counted.reasons)
    partial: set[str] = set()
    dropped: dict[str, int] = defaultdict(int)
    for path, without in lost.items():
        rows = [*without.theirs, *without.items]
        if path.suffix == ".jsonl":
            gone = [row for row in rows if _nameless(row) is None]
            errors += len(gone)
            unread += sum(row.get("rows") or 0 for row in gone)
            set_aside += len(
                {
                    (row.get("request_id"), row["candidate_id"])
                    for row in gone
                    if row.get("stage") != "data"
                }
            )
            removed.add("error row", len(rows))
            reasons.subtract(str(row.get("reason")) for row in rows)
            reasons[PURGED] += len(rows) - len(gone)
        elif any("score" in row for row in rows):
            scored += sum(row["rank"] is not None for row in rows)
            taken_out += sum(row["rank"] is None for row in rows)
            removed.add("row of scores", len(rows))
            for row in without.theirs:
                if row.get("partial"):
                    partial.add(row["request_id"])
                dropped[row["request_id"]] = row.get("events_dropped") or 0
    cut = sum(dropped.values())
    set_aside = min(set_aside, counted.set_aside)
    return replace(
        counted,
        scored=counted.scored - scored,
        removed=counted.removed - taken_out,
        set_aside=counted.set_aside - set_aside,
        purged=counted.purged + scored + taken_out + set_aside,
        unread=max(0, counted.unread - unread),
        errors=counted.errors - errors,
        partial=max(0, counted.partial - len(partial)),
        cut_events=max(0, counted.cut_events - cut),
        label_mass=kept.mass,
        reasons={reason: many for reason, many in sorted(reasons.items()) if many > 0},
    )
