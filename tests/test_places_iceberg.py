"""Iceberg tables: read from a metadata file, as of a snapshot, and told where one is not."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from promptrank.errors import DataError
from promptrank.places.table_files import is_elsewhere
from promptrank.tables.own_items import task_items
from support.data import make_task
from support.stores import bucket_of

needs_pyiceberg = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pyiceberg", "sqlalchemy")),
    reason="pyiceberg[sql-sqlite] is not installed",
)
"""Its catalog in a file of SQLite writes the tables of the tests; to read them needs none."""


def _rows(root: Path, path: str) -> dict[str, int]:
    task = make_task(tables={"items": {"path": path, "key": "item_id"}})
    with task_items(task, root) as items:
        rows = [dict(items.row(i).fields) for i in range(len(items))]
    return {str(row["item_id"]): row["n"] for row in rows}


def _made(warehouse: str, catalog: Path, **options: str) -> tuple[Any, list[int]]:
    """A table of three commits, and its snapshots: two appended rows, one more, one deleted."""
    from pyiceberg.catalog.sql import SqlCatalog

    shop = SqlCatalog("shop", uri=f"sqlite:///{catalog}", warehouse=warehouse, **options)
    try:
        shop.create_namespace("shop")
        rows = pa.table({"item_id": ["a", "b"], "n": [1, 2]})
        table = shop.create_table("shop.items", rows.schema, location=f"{warehouse}/items")
        table.append(rows)
        table.append(pa.table({"item_id": ["c"], "n": [3]}))
        table.delete("item_id = 'a'")
        return table, [each.snapshot_id for each in table.snapshots()]
    finally:
        shop.engine.dispose()


@pytest.mark.long
@needs_pyiceberg
def test_an_iceberg_table_is_read_as_of_a_snapshot(tmp_path: Path) -> None:
    table, snapshots = _made(f"file://{tmp_path}/lake", tmp_path / "catalog.db")
    assert _rows(tmp_path, "lake/items") == {"b": 2, "c": 3}
    assert _rows(tmp_path, f"lake/items@{snapshots[0]}") == {"a": 1, "b": 2}
    newest = table.metadata_location.removeprefix("file://")
    assert _rows(tmp_path, newest) == {"b": 2, "c": 3}
    second = next(Path(newest).parent.glob("00002-*.metadata.json"))
    assert _rows(tmp_path, str(second)) == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(DataError, match=rf"no such snapshot; the current one is {snapshots[-1]}"):
        _rows(tmp_path, "lake/items@7")


@pytest.mark.long
@needs_pyiceberg
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda file: file.unlink(), "a file of the Iceberg table is gone: .*restore the file"),
        (
            lambda file: file.write_bytes(b"PAR1"),
            "a file of the Iceberg table is damaged, or of a kind that is not read",
        ),
    ],
)
@pytest.mark.parametrize("which", ["data/*.parquet", "metadata/snap-*.avro"])
def test_what_is_wrong_with_an_iceberg_table_is_told(
    tmp_path: Path, harm: Callable[[Path], object], words: str, which: str
) -> None:
    _made(f"file://{tmp_path}/lake", tmp_path / "catalog.db")
    for file in (tmp_path / "lake/items").glob(which):
        harm(file)
    with pytest.raises(DataError, match=f"lake/items: {words}") as error:
        _rows(tmp_path, "lake/items")
    assert "\n" not in str(error.value)


@pytest.mark.long
@needs_pyiceberg
def test_a_metadata_file_that_is_none_is_told_in_our_words(tmp_path: Path) -> None:
    folder = tmp_path / "ice" / "metadata"
    folder.mkdir(parents=True)
    (folder / "v1.metadata.json").write_text("{}")
    with pytest.raises(DataError, match=r"\(its metadata file is not as the format says\)") as e:
        _rows(tmp_path, "ice")
    assert "pydantic" not in str(e.value) and "\n" not in str(e.value)


@needs_pyiceberg
@pytest.mark.slow
def test_an_iceberg_table_is_read_from_a_store(tmp_path: Path) -> None:
    with bucket_of("s3") as bucket:
        options = {"s3.endpoint": bucket.client.meta.endpoint_url}
        table, snapshots = _made(f"{bucket.root}/lake", tmp_path / "catalog.db", **options)
        assert _rows(tmp_path, f"{bucket.root}/lake/items") == {"b": 2, "c": 3}
        assert _rows(tmp_path, f"{bucket.root}/lake/items@{snapshots[0]}") == {"a": 1, "b": 2}
        assert _rows(tmp_path, table.metadata_location) == {"b": 2, "c": 3}


def test_which_metadata_file_is_read_is_never_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "ice" / "metadata"
    folder.mkdir(parents=True)
    assert not is_elsewhere("ice", tmp_path)
    for name in ("00009-a", "00010-a", "00010-b"):
        (folder / f"{name}.metadata.json").write_text("{}")
    assert is_elsewhere("ice", tmp_path) and is_elsewhere("ice@12", tmp_path)
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "pyiceberg.table", None)
        with pytest.raises(DataError, match=r"pip install 'promptrank\[iceberg\]'"):
            _rows(tmp_path, "ice")
    if importlib.util.find_spec("pyiceberg") is not None:
        with pytest.raises(DataError, match="two metadata files have the highest number"):
            _rows(tmp_path, "ice")
