"""A run that is finished is passed over without reading its requests again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from promptrank.basics.json_files import checked
from promptrank.basics.seals import read_sealed
from promptrank.errors import DataError
from promptrank.runs import shards
from promptrank.runs.run_identity import SUMMARY
from promptrank.runs.shards import ShardCounts

_THEN = "the command that made it goes on with it"


def finished(folder: Path, identity: str) -> tuple[int, ShardCounts] | None:
    """How many shards a finished run has, and what came of all; None where anything is amiss.

    The files of every shard are held against their digests; the request file is known by its own,
    which is part of the identity.
    """
    try:
        said = read_sealed(folder / SUMMARY, then=_THEN)
        count, counted = _counts(folder / SUMMARY, said)
        if said.get("identity") != identity or shards.numbers(folder) != list(range(count)):
            return None
        for number in range(count):
            shard = shards.read_shard(folder, number)
            if shard.identity != identity or shards.damage(folder, shard) is not None:
                return None
    except DataError:
        return None
    return count, counted


def _counts(path: Path, said: Mapping[str, Any]) -> tuple[int, ShardCounts]:
    given = {name: value for name, value in said.items() if name not in ("identity", "shards")}
    return int(said["shards"]), checked(
        ShardCounts, given, path, what="what came of a run", then=_THEN
    )
