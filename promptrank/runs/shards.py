"""A shard of a run: the scores of so many requests, written whole or not at all.

Four files of one number: ``scores/000042.parquet``, ``errors/000042.jsonl``,
``prompts/000042.parquet`` (a digest of each request's prompts, for `promptrank.runs.since`), and
``shards/000042.json``, sealed and written last, which says what the others are. What it does not
say, or says of other files than are there, is not done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pyarrow as pa

from promptrank.basics.digests import file_digest
from promptrank.basics.leftovers import clear_parts
from promptrank.basics.seals import read_kept, write_sealed
from promptrank.errors import DataError, ErrorRow
from promptrank.requests.write import TableWriter

PROMPTS = pa.schema(
    [("request_id", pa.string()), ("prompt", pa.string()), ("content", pa.string())]
)
_SHARDS = "shards"
_AGAIN = "remove it, and the same command scores its requests again"


@dataclass(frozen=True, slots=True)
class ShardCounts:
    """What became of requests.

    Attributes:
        requests, candidates: that were read.
        scored: candidates with a score.
        removed: candidates that a step took out; their rows have no rank.
        set_aside: candidates without a row, each of which an error row accounts for.
        unread: rows of the request file that could not be read.
        errors: error rows.
        partial: rankings that lost a candidate.
        cut_events: history events that did not fit their prompts.
        reused: requests whose scores were taken over from another run.
        label_mass: question -> sum over all rows.
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
    purged: int = 0

    def plus(self, other: "ShardCounts") -> "ShardCounts":
        """Both together."""
        ours, theirs = asdict(self), asdict(other)
        mass, more = ours.pop("label_mass"), theirs.pop("label_mass")
        both = {name: mass.get(name, 0.0) + more.get(name, 0.0) for name in {**mass, **more}}
        return ShardCounts(**{name: ours[name] + theirs[name] for name in ours}, label_mass=both)


NOTHING = ShardCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {})


@dataclass(frozen=True, slots=True)
class Shard:
    """What ``shards/000042.json`` says.

    Attributes:
        identity: digest of all that can change a score, but for the requests.
        content: digest of its requests, and of the rows that could not be read beside them.
        first, last: ids of its first and last request; None where it has none.
        files: path within the run -> SHA-256.
    """

    number: int
    identity: str
    content: str
    first: str | None
    last: str | None
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


def clear_shards(folder: Path) -> None:
    """Clear what a killed process left half written; the caller holds the run's lock."""
    for at in (facts_path, scores_path, errors_path, prompts_path):
        clear_parts(at(folder, 0).parent)


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
    return read_kept(path, Shard, what="a shard's facts", then=_AGAIN)


def done(folder: Path, number: int, identity: str, content: str) -> Shard | None:
    """The shard, if it is of these requests and all its files are as they were written."""
    try:
        shard = read_shard(folder, number)
    except DataError:
        return None
    if (shard.number, shard.identity, shard.content) != (number, identity, content):
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
) -> Shard:
    """Write the files of a shard, the one that says it is done last.

    Args:
        prompts: (request_id, digest of its prompts, digest of the request).
        metadata: of the scores file.

    Returns:
        The shard, with the digests of its files.
    """
    number = shard.number
    paths = [at(folder, number) for at in (scores_path, errors_path, prompts_path)]
    with TableWriter(paths[0], scores.schema, metadata=metadata) as writer:
        writer.write_table(scores)
    with TableWriter(paths[1]) as writer:
        writer.write_rows([asdict(row) for row in errors])
    with TableWriter(paths[2], PROMPTS) as writer:
        writer.write_rows([dict(zip(PROMPTS.names, row, strict=True)) for row in prompts])
    files = {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}
    shard = replace(shard, files=files)
    write_sealed(facts_path(folder, number), asdict(shard))
    return shard
