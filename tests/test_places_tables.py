"""Tables that lie elsewhere: the same rows give the same requests, wherever they lie."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptrank.api.build import build
from promptrank.basics.addresses import address, secret_in
from promptrank.basics.paths import expanded
from promptrank.errors import DataError, InputError, TaskError
from promptrank.places import object_store as store
from promptrank.prompt.printing import text_of
from promptrank.tables.own_items import task_items
from promptrank.workspace.tasks import open_task
from support.data import make_task
from support.places import PASSWORD, postgres, run_sql
from support.stores import SCHEMES, SECRET, Bucket, bucket_of

TASK = "toys/like"
TABLES = {"tables.people": "people", "tables.toys": "toys", "ratings": "ratings"}


@pytest.fixture(scope="module")
def buckets() -> Iterator[dict[str, Bucket]]:
    with ExitStack() as stack:
        yield {scheme: stack.enter_context(bucket_of(scheme)) for scheme in SCHEMES}


@pytest.fixture(params=SCHEMES)
def bucket(request: pytest.FixtureRequest, buckets: dict[str, Bucket]) -> Bucket:
    return buckets[request.param]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres() as name:
        yield name


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTRANK_OFFLINE", raising=False)


def _built(root: Path, names: dict[str, str]) -> bytes:
    settings = [f"{where}.path={name!r}" for where, name in names.items()]
    build(TASK, root / "out" / "requests.parquet", project=root, settings=settings)
    return (root / "out" / "requests.parquet").read_bytes()


def _items(root: Path, path: str) -> dict[str, dict[str, Any]]:
    """Fields of items as a template has them, by id."""
    task = make_task(tables={"items": {"path": path, "key": "item_id"}})
    with task_items(task, root) as items:
        rows = [dict(items.row(i).fields) for i in range(len(items))]
    return {str(row["item_id"]): row for row in rows}


def _parquet(root: Path) -> dict[str, Path]:
    """The toys' tables as parquet, with some values of each kind."""
    import pyarrow.csv as csv

    made = {}
    for name in TABLES.values():
        table = csv.read_csv(root / f"{name}.csv")
        count = len(table)
        odd = [None if i % 5 == 0 else i / 7 for i in range(count)]
        table = table.append_column("worth", pa.array(odd, pa.float64()))
        words = [None if i % 4 == 0 else f"Ä'\"; -- {i}\n\\" for i in range(count)]
        table = table.append_column("words", pa.array(words, pa.string()))
        made[name] = root / f"{name}.parquet"
        pq.write_table(table, made[name])
    return made


@pytest.mark.slow
@pytest.mark.usefixtures("online")
def test_the_same_tables_give_the_same_requests_wherever_they_lie(
    toys: Path, buckets: dict[str, Bucket], database: str
) -> None:
    from adbc_driver_postgresql import dbapi
    from deltalake import write_deltalake

    files, s3 = _parquet(toys), buckets["s3"].root
    local = {where: f"{name}.parquet" for where, name in TABLES.items()}
    truth = _built(toys, local)
    with dbapi.connect(database) as loaded, sqlite3.connect(toys / "shop.db") as small:
        for name, file in files.items():
            table = pq.read_table(file)
            for bucket in buckets.values():
                bucket.put(f"tables/{name}/part-0.parquet", file.read_bytes())
            with loaded.cursor() as cursor:
                cursor.adbc_ingest(name, table, mode="create")
            names = ", ".join(table.column_names)
            small.execute(f"CREATE TABLE {name} ({names})")
            rows = [tuple(row.values()) for row in table.to_pylist()]
            marks = ", ".join("?" * table.num_columns)
            small.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)
            write_deltalake(str(toys / "lake" / name), table)
            options = {"allow_http": "true"}
            write_deltalake(f"{s3}/lake/{name}", table, storage_options=options)
        loaded.commit()
    forms = {
        "s3": f"{s3}/tables/{{}}/*.parquet",
        "google": f"{buckets['gs'].root}/tables/{{}}/*.parquet",
        "postgres": f"{database}#public.{{}}",
        "sqlite": "sqlite:shop.db#{}",
        "sqlite by its whole path": f"sqlite://{toys}/shop.db#{{}}",
        "delta": "lake/{}",
        "delta on s3": f"{s3}/lake/{{}}",
    }
    for form, pattern in forms.items():
        named = {where: pattern.format(name) for where, name in TABLES.items()}
        assert _built(toys, named) == truth, form


@pytest.mark.slow
def test_types_of_postgres_become_those_of_every_other_table(tmp_path: Path, database: str) -> None:
    run_sql(
        database,
        "CREATE TYPE mood AS ENUM ('calm', 'wild')",
        "CREATE TABLE kinds (item_id uuid, whole numeric, price numeric(10, 2), long numeric, "
        "part numeric, nan float8, short real, code char(6), yes boolean, at timestamptz, "
        "day date, never timestamp, info jsonb, tags text[], mood mood, data bytea, net inet)",
        "INSERT INTO kinds VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1996, 9.90, "
        "12345678901234567890123.5, 'NaN', 'NaN', 12.8, 'ab', true, '2024-05-01 10:00+02', "
        "'2024-05-01', 'infinity', '{\"color\": \"red\"}', '{x, NULL}', 'wild', 'Zo\\303\\253', "
        "'10.0.0.1')",
        "INSERT INTO kinds (item_id, whole, price, long, part, day, never) VALUES "
        "('b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', NULL, 5, 2, 0.5, '-infinity', '2024-05-01')",
    )
    items = _items(tmp_path, f"{database}#kinds")
    first, other = items.values()
    printed = {name: text_of(first[name]) for name in ("whole", "price", "short")}
    assert first["item_id"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert printed["whole"] == "1996" and printed["price"] == "9.9" and printed["short"] == "12.8"
    assert first["long"] == Decimal("12345678901234567890123.5")
    assert first["part"] is None and other["part"] == 0.5 and first["nan"] is None
    assert first["code"] == "ab" and first["yes"] is True and first["mood"] == "wild"
    assert str(first["at"]).startswith("2024-05-01 08:00:00")
    # The driver would give infinity as a day of the year -290000 and the like.
    assert first["never"] is None and other["day"] is None
    assert str(first["day"]) == "2024-05-01" and str(other["never"]) == "2024-05-01 00:00:00"
    assert first["info"] == '{"color": "red"}' and list(first["tags"]) == ["x", None]
    assert first["data"] == "Zoë" and first["net"] == "10.0.0.1/32"


@pytest.mark.slow
def test_what_is_wrong_with_postgres_is_told_without_its_password(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(name: str) -> str:
        with pytest.raises(DataError) as error:
            _items(tmp_path, name)
        assert SECRET not in str(error.value)
        return str(error.value)

    run_sql(
        database,
        "CREATE TABLE grids (item_id int, grid int[])",
        "INSERT INTO grids VALUES (1, '{{1,2},{3,4}}')",
        "CREATE FUNCTION spy() RETURNS int LANGUAGE sql AS 'DELETE FROM grids; SELECT 1'",
        "CREATE VIEW spied AS SELECT item_id, spy() AS spied FROM grids",
        "CREATE VIEW slow AS SELECT item_id, pg_sleep(60)::text AS x FROM grids",
    )
    assert "arrays of arrays" in told(f"{database}#grids")
    assert '"nothing" does not exist' in told(f"{database}#nothing")
    assert "name a table behind it" in told(database)
    # A table's name is a name, whatever it looks like.
    assert "does not exist" in told(f'{database}#grids"; DROP TABLE grids; --')
    assert "read-only transaction" in told(f"{database}#spied")
    monkeypatch.setenv("PROMPTRANK_SQL_SECONDS", "0.3")
    assert "statement timeout" in told(f"{database}#slow")
    assert run_sql(database, "SELECT count(*) FROM grids") == [(1,)]
    assert "Connection refused" in told("postgresql://postgres@127.0.0.1:9/postgres#x")
    monkeypatch.setenv("PGPASSWORD", PASSWORD[::-1])
    assert PASSWORD[::-1] not in told(f"{database}#grids")


@pytest.mark.long
def test_a_table_of_sqlite_has_the_types_of_all_its_values(tmp_path: Path) -> None:
    rows: list[tuple[Any, ...]] = [(f"i{n}", n, n, n, n, None, b"\xc3\xab") for n in range(3000)]
    rows.append(("last", 7, 0.1, "Fargo", 2**62, "late", None))
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute('CREATE TABLE "my items" (item_id, a, b, c, d, e, f)')
        shop.executemany('INSERT INTO "my items" VALUES (?, ?, ?, ?, ?, ?, ?)', rows)
    items = _items(tmp_path, "sqlite:shop.db#my items")
    assert items["last"] == {
        **{"item_id": "last", "a": 7, "b": 0.1, "c": "Fargo", "d": 2**62, "e": "late"},
        "f": None,
    }
    assert [text_of(items["i5"][name]) for name in "abcd"] == ["5", "5.0", "5", "5"]
    assert items["i5"]["e"] is None and items["i5"]["f"] == "ë" and items["i5"]["c"] == "5"
    for name, words in {
        "sqlite:shop.db#toys": "no such table",
        "sqlite:shop.db": "name a table behind it",
        "sqlite:none.db#toys": "no file",
        "sqlite:shop.db#main.toys": "has no schema",
    }.items():
        with pytest.raises(DataError, match=words):
            _items(tmp_path, name)


@pytest.mark.long
def test_a_delta_table_is_read_as_of_a_version(tmp_path: Path) -> None:
    from deltalake import DeltaTable, write_deltalake

    folder = tmp_path / "lake" / "items"
    one = pa.table({"item_id": ["a", "b"], "n": [1, 2], "day": ["x", "y"]})
    write_deltalake(str(folder), one, partition_by=["day"])
    write_deltalake(
        str(folder), pa.table({"item_id": ["c"], "n": [3], "day": ["x"]}), mode="append"
    )
    DeltaTable(str(folder)).delete("item_id = 'a'")

    def rows(name: str) -> dict[str, tuple[Any, ...]]:
        return {k: (v["n"], v["day"]) for k, v in _items(tmp_path, name).items()}

    assert rows("lake/items") == {"b": (2, "y"), "c": (3, "x")}
    assert rows("lake/items@0") == {"a": (1, "x"), "b": (2, "y")}
    assert rows(f"{folder}@1") == {"a": (1, "x"), "b": (2, "y"), "c": (3, "x")}
    with pytest.raises(DataError, match=r"items@7: .* has no such version; its last one is 2"):
        rows("lake/items@7")
    file = next(folder.glob("day=y/*.parquet"))
    whole = file.read_bytes()
    for left in (b"", whole[:20]):
        file.write_bytes(left)
        with pytest.raises(DataError, match=rf"is gone or damaged: {file.name}; restore it, or"):
            rows("lake/items")
    file.write_bytes(whole)
    log = folder / "_delta_log" / "00000000000000000002.json"
    log.write_text("{torn")
    with pytest.raises(DataError, match=r"the log of the Delta table \(_delta_log\) is damaged"):
        rows("lake/items")


@pytest.mark.slow
@pytest.mark.usefixtures("online")
def test_what_is_wrong_with_objects_is_told(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(name: str) -> str:
        with pytest.raises(DataError) as error:
            _items(tmp_path, name)
        assert SECRET not in str(error.value)
        return str(error.value)

    assert "there is no such object" in told(f"{bucket.root}/none.parquet")
    assert "there is no such object" in told(f"{bucket.root}-of-another/none.parquet")
    assert "no object is named so" in told(f"{bucket.root}/none/*.parquet")
    bucket.put("odd/Zoë %41 &+.csv", b"item_id,n\na,1\n")
    assert _items(tmp_path, f"{bucket.root}/odd/Zoë %41 &+.csv")["a"]["n"] == 1
    monkeypatch.setenv("PROMPTRANK_OFFLINE", "1")
    assert "PROMPTRANK_OFFLINE is set" in told(f"{bucket.root}/none.parquet")


@pytest.mark.slow
def test_an_object_that_changes_while_it_is_fetched_is_told(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{bucket.root}/changing"
    (tmp_path / "a").write_bytes(b"a" * 100)
    store.put(tmp_path / "a", name)
    store.fetch(name, tmp_path / "same")
    assert (tmp_path / "same").read_bytes() == b"a" * 100
    copy = shutil.copyfileobj

    def slowly(*given: Any) -> None:
        copy(*given)
        bucket.put("changing", b"b" * 100)

    monkeypatch.setattr(shutil, "copyfileobj", slowly)
    with pytest.raises(DataError, match="changed while it was fetched"):
        store.fetch(name, tmp_path / "torn")
    assert not list(tmp_path.glob("*torn*"))
    assert store.put_new(tmp_path / "a", f"{bucket.root}/once")
    assert not store.put_new(tmp_path / "same", f"{bucket.root}/once")
    monkeypatch.setattr(store, "_client", lambda: None)
    assert not store.put_new(tmp_path / "same", f"{bucket.root}/once")


SECRETS = (
    "postgresql://me:{}@host/db#t",
    "postgresql://me:a/{}@host/db#t",
    "postgresql://me:a?{}@host/db#t",
    "postgresql://host/db?password={}#t",
    "postgresql://host/db?sslpassword={}#t",
    "s3://key:{}@bucket/x.parquet",
    "s3://bucket/x.parquet?secret_key={}",
    "https://host/x.parquet?X-Amz-Signature={}",
    "https://store.example/x.parquet?sv=2024&sig={}",
    "https://me:{}@host/x.parquet",
    "POSTGRESQL://me:{}@host/db#t",
    "postgresql+psycopg2://me:a/{}@host/db#t",
    "S3://key:{}@bucket/x.parquet",
    "oracle://me:{}@host/db",
)


@pytest.mark.parametrize("form", SECRETS)
def test_an_address_with_a_secret_is_refused_and_never_told(form: str, toys: Path) -> None:
    name = form.format("h7dd3n")
    assert secret_in(name) is not None
    with pytest.raises(TaskError, match=r"tables.toys.path: an? [\w+]+:// address") as error:
        open_task(TASK, project=toys, settings=[f"tables.toys.path={name!r}"])
    assert "h7dd3n" not in str(error.value)


def test_what_an_address_is() -> None:
    fine = ("s3://b/k@v:1", "hf://datasets/a/b@v2?split=test", "sqlite:/a:b@c.db#t", "a:b@c.csv")
    assert [secret_in(name) for name in fine] == [None] * 4
    assert secret_in("postgresql://me@[::1]:5432/db?sslmode=require#s.t") is None
    assert address(Path("s3://bucket/key")) == "s3://bucket/key"
    assert address("postgres://me@host/db#t") == "postgresql://me@host/db#t"
    assert address(Path("sqlite:///a/b.db#t")) == "sqlite:///a/b.db#t"
    assert address("sqlite:b.db#t") == "sqlite:b.db#t"
    assert address("S3://Bucket/key") == "s3://Bucket/key"
    assert address(Path("oracle://host/db")) == "oracle://host/db"
    assert [address(path) for path in ("s3", "s3:b", "data/s3://x", "c:/x", "/a/b")] == [None] * 5
    for name in ("s3://bucket/key", "Oracle://me:h7dd3n@host/db", Path("ftp://me:h7dd3n@host/x")):
        with pytest.raises(InputError, match="an address stands where a local path is") as error:
            expanded(name)
        assert "h7dd3n" not in str(error.value)
