"""A shard of a run: the scores of so many requests, written whole or not at all.

Files of one number: ``scores/000042.parquet`` (or one in the folder of each date, see
`promptrank.runs.partitions`), ``errors/000042.jsonl``, ``prompts/000042.parquet`` (a digest of each
request's prompts, for `promptrank.runs.since`), ``ids/000042.npy`` (see
`promptrank.requests.marks`), and ``shards/000042.json``, sealed and written last, which says what
the others are. What it does not say, or says of other files than are there, is not done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from promptrank.basics.digests import file_digest
from promptrank.basics.files import beside
from promptrank.basics.leftovers import clear_parts
from promptrank.basics.seals import read_kept, write_sealed
from promptrank.errors import DataError, ErrorRow
from promptrank.requests.marks import NO_IDS, FileMark, IdHashes
from promptrank.requests.write import TableWriter
from promptrank.runs.partitions import DATE, by_date
from promptrank.runs.room import told_if_full

PROMPTS = pa.schema(
    [("request_id", pa.string()), ("prompt", pa.string()), ("content", pa.string())]
)
_SHARDS = "shards"
_FACTS, _PROMPT = 20_000, 200  # bytes of a shard's fixed parts, and of a request's digests
_AGAIN = "remove it, and the same command scores its requests again"


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """What became of requests.

    Attributes:
        requests, candidates: that were read.
        scored: candidates with a score.
        removed: candidates that a step took out; their rows have no rank.
        set_aside: candidates without a row, each of which an error row accounts for.
        unread: rows of the request file that became no candidate.
        errors: error rows.
        partial: rankings that lost a candidate.
        cut_events: history events that did not fit their prompts.
        reused: requests whose scores were taken over from another run.
        label_mass: question -> sum over all rows.
        reasons: reason -> error rows.
        tokens, unique_tokens, shared_tokens: of the prompts that were asked, those of ``reused``
            left out (`promptrank.runs.throughput.TokenCounts`).
        faults: what went wrong and was mended, such as ``out_of_memory`` -> how often.
        purged: candidates that `promptrank purge` took out since.
    """

    requests: int
    candidates: int
    scored: int
    removed: int
    set_aside: int
    unread: int
    errors: int
    partial: int
    cut_events: int
    reused: int
    label_mass: Mapping[str, float]
    reasons: Mapping[str, int]
    tokens: int
    unique_tokens: int
    shared_tokens: int
    faults: Mapping[str, int]
    purged: int = 0

    @property
    def rows(self) -> int:
        """Of the request file, that were looked at: each is a candidate, or is unread."""
        return self.candidates + self.unread

    @property
    def rows_kept(self) -> int:
        """Rows of scores that were written, those that were purged since among them."""
        return self.scored + self.removed + self.purged

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as a summary has them."""
        return {"rows": self.rows, **asdict(self)}

    def plus(self, other: "ShardCounts") -> "ShardCounts":
        """Both together."""
        ours, theirs = asdict(self), asdict(other)
        return ShardCounts(**{name: _sum(ours[name], theirs[name]) for name in ours})


def _sum(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
    return one + other


NOTHING = ShardCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {}, {}, 0, 0, 0, {})


@dataclass(frozen=True, slots=True)
class Shard:
    """What ``shards/000042.json`` says.

    Attributes:
        identity: digest of all that can change a score, but for the requests.
        content: digest of its requests, and of the rows that could not be read beside them.
        first, last: ids of its first and last request; None where it has none.
        end: where in the request file it ends; None where its requests came from elsewhere.
        files: path within the run -> SHA-256.
    """

    number: int
    identity: str
    content: str
    first: str | None
    last: str | None
    end: FileMark | None
    counted: ShardCounts
    files: Mapping[str, str]


def facts_path(folder: Path, number: int) -> Path:
    """The file that says a shard is done."""
    return folder / _SHARDS / f"{number:06}.json"


def scores_path(folder: Path, number: int) -> Path:
    """The scores of a shard."""
    return folder / "scores" / f"{number:06}.parquet"


def errors_path(folder: Path, number: int) -> Path:
    """The error rows of a shard."""
    return folder / "errors" / f"{number:06}.jsonl"


def prompts_path(folder: Path, number: int) -> Path:
    """The digests of a shard's prompts."""
    return folder / "prompts" / f"{number:06}.parquet"


def ids_path(folder: Path, number: int) -> Path:
    """Hashes of the ids that were come to on the way to a shard's end."""
    return folder / "ids" / f"{number:06}.npy"


def scores_paths(folder: Path, shard: Shard) -> list[Path]:
    """The files with the scores of a shard: one, or one for each date."""
    names = sorted(name for name in shard.files if name.startswith("scores/"))
    return [folder / name for name in names]


def read_ids(folder: Path, number: int) -> IdHashes:
    """What `ids_path` holds; nothing where there is no such file."""
    path = ids_path(folder, number)
    if not path.is_file():
        return NO_IDS
    ids: IdHashes = np.load(path, allow_pickle=False)
    return ids


def clear_shards(folder: Path) -> None:
    """Clear what a killed process left half written; the caller holds the run's lock."""
    for at in (facts_path, scores_path, errors_path, prompts_path, ids_path):
        clear_parts(at(folder, 0).parent)
    for place in (folder / "scores").glob(f"{DATE}=*"):
        clear_parts(place)


def numbers(folder: Path) -> list[int]:
    """Of the shards that say they are done, in order."""
    names = (path.stem for path in (folder / _SHARDS).glob("*.json"))
    return sorted(int(name) for name in names if name.isdigit())


def read_shard(folder: Path, number: int) -> Shard:
    """What a shard says of itself.

    Raises:
        DataError: it is not there or damaged.
    """
    path = facts_path(folder, number)
    if not path.is_file():
        raise DataError(f"{path} is missing; the command that made the run scores it again")
    return read_kept(path, Shard, what="a shard's facts", then=_AGAIN)


def done(folder: Path, number: int, identity: str) -> Shard | None:
    """The shard, if it is of this run and all its files are as they were written."""
    try:
        shard = read_shard(folder, number)
    except DataError:
        return None
    if (shard.number, shard.identity) != (number, identity):
        return None
    return shard if damage(folder, shard) is None else None


def damage(folder: Path, shard: Shard) -> str | None:
    """What is wrong with the first of a shard's files that is not as it was written."""
    for name, digest in shard.files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if file_digest(path) != digest:
            return f"{path} is not what was written: it was damaged or changed since"
    return None


def write_shard(
    folder: Path,
    shard: Shard,
    scores: pa.Table,
    errors: Sequence[ErrorRow],
    prompts: Sequence[tuple[str, str, str]],
    metadata: Mapping[str, str],
    *,
    ids: IdHashes = NO_IDS,
    dated: bool = False,
) -> Shard:
    """Write the files of a shard, the one that says it is done last.

    Args:
        prompts: (request_id, digest of its prompts, digest of the request).
        metadata: of the scores file.
        ids: hashes of the ids on the way to its end.
        dated: whether the scores of each date are a file of their own.

    Returns:
        The shard, with the digests of its files.

    Raises:
        DataError: the disk is full.
    """
    number = shard.number
    rows = [row.as_dict() for row in errors]
    wanted = scores.nbytes + ids.nbytes + sum(len(str(row)) for row in rows)
    with told_if_full(folder, number, wanted + _FACTS + _PROMPT * len(prompts)):
        paths = _write_scores(folder, number, scores, metadata, dated)
        paths += [errors_path(folder, number), prompts_path(folder, number)]
        with TableWriter(paths[-2]) as writer:
            writer.write_rows(rows)
        with TableWriter(paths[-1], PROMPTS) as writer:
            writer.write_rows([dict(zip(PROMPTS.names, row, strict=True)) for row in prompts])
        if len(ids):
            paths.append(ids_path(folder, number))
            with beside(paths[-1]) as part, part.open("wb") as file:
                np.save(file, ids, allow_pickle=False)
        files = {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}
        shard = replace(shard, files=files)
        write_sealed(facts_path(folder, number), asdict(shard))
    return shard


def _write_scores(
    folder: Path, number: int, scores: pa.Table, metadata: Mapping[str, str], dated: bool
) -> list[Path]:
    """Write the scores of a shard; their files, of which there is one for each date if dated."""
    tables = {scores_path(folder, number): scores}
    if dated:
        tables = {
            folder / "scores" / date / f"{number:06}.parquet": table
            for date, table in by_date(scores).items()
        }
        for path in (folder / "scores").glob(f"{DATE}=*/{number:06}.parquet"):
            if path not in tables:  # of an earlier attempt, which was damaged
                path.unlink()
    for path, table in tables.items():
        with TableWriter(path, scores.schema, metadata=metadata) as writer:
            writer.write_table(table)
    return [*tables]
