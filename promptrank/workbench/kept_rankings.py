"""Rankings that are kept by what made them, so that nothing is ranked twice."""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from promptrank.basics.digests import json_digest
from promptrank.basics.json_files import checked, json_object
from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranking import Ranking
from promptrank.scores.origin import Origin, origin_of
from promptrank.scores.scores import Scores
from promptrank.workbench.database import Database

_BLOCK = 500  # ids to a query: SQLite takes no more than some thousands
_THEN = "move the file away to start anew"


class KeptRankings:
    """The rankings of a database, by key and request."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, key: str, origin: Origin, schema: pa.Schema) -> None:
        """Say what stands under a key, before any ranking does."""
        columns = zlib.compress(schema.serialize().to_pybytes(), 1)
        with self._database.writing() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO origins VALUES (?, ?, ?)",
                (key, json.dumps(origin.as_dict()), columns),
            )

    def put(self, key: str, rankings: Sequence[Ranking], schema: pa.Schema) -> None:
        """Keep rankings, all of them or none."""
        rows = [
            (
                key,
                ranking.request_id,
                zlib.compress(columns_of([ranking], schema).serialize().to_pybytes(), 1),
                json.dumps([asdict(row) for row in ranking.errors]),
            )
            for ranking in rankings
        ]
        with self._database.writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO rankings VALUES (?, ?, ?, ?)", rows)

    def known(self, key: str) -> set[str]:
        """Ids of the requests that are ranked under a key."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT request_id FROM rankings WHERE key = ?", (key,))
            return {name for (name,) in rows}

    def scores(self, key: str, request_ids: Iterable[str]) -> Scores:
        """Scores of those of the requests that are ranked, in the order given.

        Raises:
            DataError: nothing stands under the key, or the file is damaged.
        """
        with self._database.reading() as connection:
            given = connection.execute(
                "SELECT origin, columns FROM origins WHERE key = ?", (key,)
            ).fetchone()
        where = f"{self._database.path}: rankings {key[:12]}"
        if given is None:
            raise DataError(f"{where} are not kept any more; run the sample again")
        origin = origin_of(json_object(given[0], where, then=_THEN), where)
        try:
            # What is damaged does not fit zlib's checksum, and never comes to Arrow.
            schema = pa.ipc.read_schema(pa.py_buffer(zlib.decompress(given[1])))
            batches = [
                pa.ipc.read_record_batch(pa.py_buffer(zlib.decompress(scored)), schema)
                for scored, _ in self._rows(key, request_ids)
            ]
        except (pa.ArrowException, zlib.error, ValueError, OSError) as error:
            raise DataError(f"{where}: damaged ({error}); {_THEN}") from None
        return Scores(pa.Table.from_batches(batches, schema), origin)

    def errors(self, key: str, request_ids: Iterable[str]) -> list[ErrorRow]:
        """Rows that ranking these requests set aside.

        Raises:
            DataError: the file is damaged.
        """
        where = f"{self._database.path}: errors of {key[:12]}"
        rows = []
        for _, errors in self._rows(key, request_ids):
            listed = json_object(f'{{"rows": {errors}}}', where, then=_THEN)["rows"]
            rows += [
                checked(ErrorRow, row, where, what="an error row", then=_THEN) for row in listed
            ]
        return rows

    def _rows(self, key: str, request_ids: Iterable[str]) -> list[tuple[bytes, str]]:
        ids, rows = list(request_ids), dict[str, tuple[bytes, str]]()
        for start in range(0, len(ids), _BLOCK):
            block = ids[start : start + _BLOCK]
            marks = ", ".join("?" * len(block))
            with self._database.reading() as connection:
                for name, scored, errors in connection.execute(
                    "SELECT request_id, scored, errors FROM rankings WHERE key = ? AND "
                    f"request_id IN ({marks})",
                    (key, *block),
                ):
                    rows[name] = scored, errors
        return [rows[name] for name in ids if name in rows]


def key_of(origin: Origin, requests: str, items: Any) -> str:
    """What tells rankings apart: everything that can change a score.

    Args:
        requests: digest of the request file.
        items: of `promptrank.requests.source.RequestFile.items_stamp`.
    """
    facts = origin.as_dict()
    # Notes say how a model was opened, in words that may change from start to start.
    engine = {name: value for name, value in facts.get("engine", {}).items() if name != "notes"}
    facts |= {"engine": engine, "requests": requests, "items": items}
    for place in ("adapter", "fusion"):  # their digests count
        facts.pop(place, None)
    return json_digest(facts)
