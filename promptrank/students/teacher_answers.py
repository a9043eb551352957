"""The answers of one model in the teacher store: parts of parquet, read whole and checked."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from promptrank.basics.files import beside, write_json
from promptrank.basics.leftovers import clear_parts
from promptrank.basics.owner import owned
from promptrank.engine.contract import SlotScore
from promptrank.errors import DataError

_SCHEMA = pa.schema(
    [
        ("prompt", pa.binary(16)),
        ("logprobs", pa.list_(pa.list_(pa.float64()))),
        ("label_mass", pa.list_(pa.float64())),
        ("argmax", pa.list_(pa.int32())),
    ]
)
_PART = 50_000  # answered prompts of one file
_PATIENCE = 60.0  # seconds to wait while others write their parts
_NAME = 32  # hex digits of a digest in a part's name; random names had 12
_ROUNDING = 1e-3  # by so much a log-prob may stand above 0
_SECONDS = 30.0  # at most this much work is lost to a kill


class StoredAnswers:
    """The answers of one model: all keys in memory, about 150 bytes each; values as Arrow."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        """Read what is there.

        Args:
            about: what answered, for ``model.json``.

        Raises:
            DataError: a part that was damaged.
        """
        self.folder, self._about = folder, about
        self._tables: list[pa.Table] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        self._fresh: dict[bytes, tuple[SlotScore, ...]] = {}
        self._since = time.monotonic()
        for path in sorted(folder.glob("part-*.parquet")):
            self._read(path)

    def get(self, key: bytes) -> tuple[SlotScore, ...] | None:
        """What is known of a prompt, by question."""
        if key in self._fresh:
            return self._fresh[key]
        if key not in self._places:
            return None
        table, row = self._places[key]
        logprobs, mass, argmax = (self._tables[table].column(i)[row].as_py() for i in (1, 2, 3))
        return tuple(
            SlotScore(tuple(lp), m, best)
            for lp, m, best in zip(logprobs, mass, argmax, strict=True)
        )

    def add(self, key: bytes, score: tuple[SlotScore, ...]) -> None:
        """Keep an answer; now and then what is fresh is written."""
        self._fresh[key] = score
        if len(self._fresh) >= _PART or time.monotonic() - self._since > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the fresh answers as one more part."""
        self._since = time.monotonic()
        if not self._fresh:
            return
        rows = list(self._fresh.items())
        table = pa.table(
            {
                "prompt": [key for key, _ in rows],
                "logprobs": [[list(s.logprobs) for s in score] for _, score in rows],
                "label_mass": [[s.label_mass for s in score] for _, score in rows],
                "argmax": [[s.argmax for s in score] for _, score in rows],
            },
            schema=_SCHEMA,
        )
        made = pa.BufferOutputStream()
        pq.write_table(table, made, compression="zstd")
        data = made.getvalue().to_pybytes()
        # Parts never change and never share a name: several processes fill one store, in turn.
        with owned(self.folder, "teacher store", wait=_PATIENCE):
            clear_parts(self.folder)
            about = self.folder / "model.json"
            if not about.is_file():
                write_json(about, self._about)
            path = self.folder / f"part-{hashlib.sha256(data).hexdigest()[:_NAME]}.parquet"
            with beside(path) as part:
                part.write_bytes(data)
        self._take(table)
        self._fresh = {}

    def _read(self, path: Path) -> None:
        try:
            data = path.read_bytes()
            name = path.stem.removeprefix("part-")
            if len(name) == _NAME and name != hashlib.sha256(data).hexdigest()[:_NAME]:
                raise ValueError("it was damaged or changed since it was written")
            table = pq.read_table(pa.BufferReader(data), schema=_SCHEMA)
            table.validate(full=True)
            _check_numbers(table)
        except (OSError, ValueError, pa.ArrowException) as error:
            first = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(
                f"{path}: not a part of a teacher store ({first}); remove it, and what it held is "
                "asked again"
            ) from None
        self._take(table)

    def _take(self, table: pa.Table) -> None:
        number = len(self._tables)
        self._tables.append(table.combine_chunks())
        for row, key in enumerate(table.column("prompt").to_pylist()):
            self._places[key] = number, row


def _check_numbers(table: pa.Table) -> None:
    """ValueError for numbers that no engine answers with."""
    for name in table.column_names:
        if table.column(name).null_count:
            raise ValueError(f"{name} is missing in a row")
    slots = [pc.list_value_length(table.column(name)) for name in table.column_names[1:]]
    if not all(pc.all(pc.equal(slots[0], other)).as_py() in (True, None) for other in slots[1:]):
        raise ValueError("a row has columns of several lengths")
    answers = _flat(table.column("logprobs"))
    if answers.null_count:
        raise ValueError("a slot has no log-probs")
    logs = _flat(answers)
    mass = _flat(table.column("label_mass"))
    for what, values, most in (("log-prob", logs, _ROUNDING), ("label mass", mass, 1 + _ROUNDING)):
        if values.null_count:
            raise ValueError(f"a {what} is missing")
        # NaN is not within any bound.
        if pc.all(pc.less_equal(values, most)).as_py() not in (True, None):
            raise ValueError(f"a {what} is no number or too large")
    if len(mass) and (pc.min(mass).as_py() < 0):
        raise ValueError("a label mass is below 0")
    best = _flat(table.column("argmax")).drop_null()
    if len(best) and pc.min(best).as_py() < 0:
        raise ValueError("an argmax is below 0")


def _flat(column: Any) -> Any:
    return pc.list_flatten(column)
