"""Teacher stores of earlier versions, which are read where they are there and never written.

    teacher/<scope>/part-<digest>.parquet   prompt, and per question logprobs, label_mass, argmax

A part bears the digest of its own bytes in its name; those of still older versions bear a random
one. Entries are of branches with all their questions. What is used of them goes to the score cache.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from promptrank.basics.telling import Say
from promptrank.caching.kept_answers import believable
from promptrank.engine.contract import Branch, SlotScore
from promptrank.errors import DataError

_SCHEMA = pa.schema(
    [
        ("prompt", pa.binary(16)),
        ("logprobs", pa.list_(pa.list_(pa.float64()))),
        ("label_mass", pa.list_(pa.float64())),
        ("argmax", pa.list_(pa.int32())),
    ]
)
_NAME = 32  # hex digits of a digest in a part's name; random names had 12


class TeacherParts:
    """The answers of one model: all keys in memory, about 150 bytes each; values as Arrow."""

    def __init__(self, folder: Path, say: Say) -> None:
        """Read what is there.

        Args:
            folder: of one model in a store; it need not be there.
            say: is told of parts that were damaged, which are not answered from.
        """
        self._tables: list[pa.Table] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        for path in sorted(folder.glob("part-*.parquet")):
            try:
                table = _read(path)
            except DataError as error:
                say(str(error))
                continue
            for row, key in enumerate(table.column("prompt").to_pylist()):
                self._places[key] = len(self._tables), row
            self._tables.append(table)

    def get(self, key: bytes, branch: Branch) -> tuple[SlotScore, ...] | None:
        """What is known of a branch; None too where that is nothing an engine answers with."""
        if key not in self._places:
            return None
        table, row = self._places[key]
        columns = [self._tables[table].column(i)[row].as_py() for i in (1, 2, 3)]
        if any(column is None or len(column) != len(branch.slots) for column in columns):
            return None
        scores = []
        for slot, logprobs, mass, best in zip(branch.slots, *columns, strict=True):
            if logprobs is None or None in logprobs or mass is None:
                return None
            score = SlotScore(tuple(logprobs), mass, best)
            if not believable(score, len(slot.paths)):
                return None
            scores.append(score)
        return tuple(scores)


def _read(path: Path) -> pa.Table:
    try:
        data = path.read_bytes()
        name = path.stem.removeprefix("part-")
        if len(name) == _NAME and name != hashlib.sha256(data).hexdigest()[:_NAME]:
            raise ValueError("it was damaged or changed since it was written")
        table = pq.read_table(pa.BufferReader(data), schema=_SCHEMA)
        table.validate(full=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(
            f"{path}: not a part of a teacher store ({first}); remove it, and what it held is "
            "asked again"
        ) from None
    return table.combine_chunks()
