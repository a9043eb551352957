"""SQL of task files: one SELECT, one expression, these files and no other, within bounds."""

import ast
import inspect
import random
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

from promptrank.basics.door import lock, reading, workspace
from promptrank.basics.sql import SECONDS, run, seconds, stream
from promptrank.errors import DataError, InputError
from promptrank.schema import data_tables, parts, task
from promptrank.tables.statements import expression, query
from promptrank.tables.supplied import columns_of
from support.data import build, built, make_task, write_rows

RATINGS: dict[str, Any] = {
    "path": "ratings.parquet",
    "member": "member_id",
    "item": "items",
    "time": "time",
    "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
}
EVENTS = {"path": "ratings.parquet", "member": "member_id", "item": "items", "time": "time"}
ITEMS = {"path": "items.parquet", "key": "item_id"}


def _write(root: Path) -> None:
    write_rows(root / "items.parquet", [{"item_id": "a", "title": "A"}])
    row = {"member_id": "m", "item_id": "a", "time": 1, "rating": 5}
    write_rows(root / "ratings.parquet", [row])


PLACES = {
    "Source.sql": lambda x: make_task(tables={"items": {"key": "item_id", "sql": x}}),
    "Source.columns": lambda x: make_task(tables={"items": {**ITEMS, "columns": {"y": x}}}),
    "Ratings.label": lambda x: make_task(ratings={**RATINGS, "label": x}),
    "Judgements.label": lambda x: make_task(
        ratings=None,
        history=None,
        judgements={"path": "ratings.parquet", "query": "member_id", "item": "items", "label": x},
    ),
    "CandidateColumns.label": lambda x: make_task(
        ratings=None,
        requests={
            "path": "ratings.parquet",
            "id": "member_id",
            "time": "time",
            "subject": {"member": "member_id"},
            "candidate": {"item": "items", "label": x},
        },
    ),
    "Events.action": lambda x: make_task(history={"events": {**EVENTS, "action": x}}),
    "Statistic.mean": lambda x: make_task(statistics={"s": {"mean": x}}),
    "Statistic.by": lambda x: make_task(
        statistics={"s": {"of": "member", "mean": "rating", "by": x}}
    ),
    "Statistic.count": lambda x: make_task(statistics={"s": {"count": x}}),
}
"""Every place of SQL in a task file, by the schema's own names."""


def _sql_fields(module: ModuleType) -> Iterator[str]:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ClassDef):
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and "Sql" in ast.unparse(field.annotation):
                    yield f"{node.name}.{ast.unparse(field.target)}"


def test_no_place_of_sql_is_forgotten() -> None:
    found = {name for module in (data_tables, parts, task) for name in _sql_fields(module)}
    assert found == set(PLACES)


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "text",
    [
        "rating); COPY (SELECT 1) TO '{out}'; SELECT (1",
        "SELECT 1) a; COPY (SELECT 1) TO '{out}'; SELECT * FROM (SELECT 1",
        "1; COPY (SELECT 1) TO '{out}'",
        "1) AS x, (SELECT content FROM read_text('{secret}')",
        "(SELECT content FROM read_text('{secret}'))",
        "SELECT content AS item_id FROM read_text('{secret}')",
        "COPY (SELECT 1) TO '{out}'",
        "getenv('HOME')",
        "SELECT current_setting('temp_directory') AS item_id",
    ],
)
def test_nothing_but_a_query_or_an_expression_runs(tmp_path: Path, place: str, text: str) -> None:
    data = tmp_path / "data"
    _write(data)
    out, secret = tmp_path / "out.csv", tmp_path / "secret.csv"
    secret.write_text("x\nabc\n")
    made = PLACES[place](text.format(out=out, secret=secret))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as error:
        build(made, data)
    try:
        told = "\n".join(columns_of(made, data).problems)
    except DataError as refused:
        told = str(refused)
    # `validate` says the same as the run does.
    assert told.split("\n")[0] == str(error.value).split("\n")[0]
    assert "abc" not in told
    assert [p for p in sorted(tmp_path.rglob("*")) if p not in before] == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rating", ""),
        ("rating -- the stars", ""),
        ("rating /* ) */", ""),
        ("')--;' || title", ""),
        ("$$;)$$", ""),
        ("lag(x) OVER (PARTITION BY m ORDER BY t)", ""),
        ("[i + 1 for i in l if i > 0]", ""),
        ("1; SELECT 2", "found 2 statements (SELECT, SELECT)"),
        ("1) AS y, (2", "Parser Error"),
        ("a) IN (1", "Parser Error"),
        ("1 AS y", "expected one expression"),
        ("1, 2", "expected one expression"),
        ("rating WHERE true", "expected one expression"),
        ("DISTINCT rating", "expected one expression"),
        ("*", "it has no *"),
        ("unnest([1, 2])", "it has no *"),
        ("x IN (SELECT 1)", "selects nothing"),
        ("EXISTS (FROM t)", "selects nothing"),
        ("?", "takes no parameters"),
        ("sleep_ms(1)", "sleep_ms() is not for task files"),
        ("main.current_setting('x')", "current_setting() is not for task files"),
        ("pg_sleep(1)", "pg_sleep() is not for task files"),
        ("'open", "Parser Error"),
        ("1 /* open", "Parser Error"),
        ("-- nothing", "Parser Error"),
        ("(" * 5000, "200 brackets"),
        ("x" * 200_000, "100,000 characters"),
        ("+".join(["1"] * 900), "nested too deeply"),
    ],
)
def test_an_expression(text: str, told: str) -> None:
    if told:
        with pytest.raises(DataError) as error:
            expression(text, "label")
        assert str(error.value).startswith("label: ")
        assert told in str(error.value)
    else:
        assert expression(text, "label") == f"(\n{text}\n)"


@pytest.mark.parametrize(
    ("text", "files", "told"),
    [
        ("SELECT * FROM items; -- done", [], ""),
        ("SELECT ';' AS x, e'\\';' AS y FROM Items;;", [], ""),
        ("WITH a AS (FROM items) SELECT * FROM a UNION ALL FROM a", [], ""),
        ("SELECT * FROM (PIVOT items ON a IN (1, 2) USING sum(b)), range(3)", [], ""),
        ("SELECT 'é', a.x FROM 'a.csv' JOIN \"b.csv\" USING (x)", ["a.csv", "b.csv"], ""),
        ("FROM read_csv(['b.csv', 'a.csv'], delim = ';')", ["a.csv", "b.csv"], ""),
        ("FROM read_csv_auto('[ab].csv') JOIN '*.csv' USING (x)", ["a.csv", "b.csv"], ""),
        ("SELECT 1; SELECT 2", [], "expected one SELECT, found 2 statements"),
        ("", [], "found none"),
        ("ATTACH 'x.db'", [], "found ATTACH"),
        ("INSTALL httpfs", [], "found LOAD"),
        ("SET memory_limit = '1TB'", [], "found SET"),
        ("EXPLAIN SELECT 1", [], "found EXPLAIN"),
        ("DESCRIBE items", [], "found SHOW"),
        ("WITH a AS (DELETE FROM items RETURNING *) FROM a", [], "found DELETE"),
        ("FROM nothing", [], "table nothing does not exist; there are: items"),
        ("FROM duckdb_settings", [], "table duckdb_settings does not exist"),
        ("WITH duckdb_secrets AS (FROM items) FROM duckdb_secrets", [], "does not exist"),
        ("FROM duckdb_secrets()", [], "no source of rows"),
        ("FROM pr.rows", [], "without a schema"),
        ("FROM query('SELECT 1')", [], "no source of rows"),
        ("FROM glob('*')", [], "no source of rows"),
        ("FROM read_csv('/etc/passwd')", [], "cannot tell what kind of file"),
        ("FROM read_csv('../c.csv')", [], "lies outside the data folder"),
        ("FROM '{root}/../c.csv'", [], "lies outside the data folder"),
        ("FROM 'https://x.org/a.csv'", [], "declare it under tables:"),
        ("FROM read_csv('a' || '.csv')", [], "as plain text"),
        ("FROM 'c.csv'", [], "no file"),
    ],
)
def test_a_query(tmp_path: Path, text: str, files: list[str], told: str) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for path in (root / "a.csv", root / "b.csv", tmp_path / "c.csv"):
        path.write_text("x;y\n1;2\n")
    text = text.replace("{root}", str(root))
    if told:
        with pytest.raises(DataError) as error:
            query(text, "tables.t.sql", ["items"], root)
        assert str(error.value).startswith("tables.t.sql: ")
        assert told in str(error.value)
        return
    checked = query(text, "tables.t.sql", ["items"], root)
    assert sorted(checked.files) == [str(root / name) for name in files]
    with duckdb.connect() as con:
        con.execute("CREATE TABLE items AS SELECT 1 AS a, 2 AS b")
        lock(con, checked.files)
        con.execute(f"DESCRIBE SELECT * FROM {checked.text}")


@pytest.mark.long
def test_queries_that_end_in_comments_and_read_files_run(tmp_path: Path) -> None:
    _write(tmp_path)
    (tmp_path / "more.csv").write_text("item_id;title\na;B\n")
    made = make_task(
        tables={
            "raw": {
                "sql": "FROM read_csv('more.csv', delim=';') -- semicolons\n;",
                "key": "item_id",
            },
            "items": {
                "sql": "SELECT * FROM raw -- all",
                "key": "item_id",
                "columns": {"loud": "title || '!' -- loud"},
            },
        },
        ratings={**RATINGS, "label": "if(rating > 4, 'like', 'dislike') -- stars"},
        statistics={"seen": {"count": "rating > 3 -- good"}, "stars": {"mean": "rating -- all"}},
    )
    candidate = next(iter(built(made, tmp_path).values())).candidates[0]
    assert candidate.item.fields == {"item_id": "a", "title": "B", "loud": "B!"}


@pytest.mark.parametrize("name", ["st*r [x]", "wh?t", 'q\'uote, "double"', "{a} ü;--", "100%\n$x"])
def test_folders_of_any_name_are_read(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    _write(root)
    (root / "more.csv").write_text("item_id,title\na,B\n")
    for sql in ("FROM 'more.csv'", "FROM read_csv('*.csv')"):
        supplied = columns_of(make_task(tables={"items": {"key": "item_id", "sql": sql}}), root)
        assert list(supplied.fields["item"]) == ["item_id", "title"]


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    for name in ("open.csv", "shut.csv"):
        (tmp_path / name).write_text("x\n1\n")
    (tmp_path / "db").mkdir()
    with workspace(tmp_path / "db", search=tmp_path) as connection:
        lock(connection, [str(tmp_path / "open.csv")])
        yield connection


@pytest.mark.long
@pytest.mark.parametrize(
    "statement",
    [
        "FROM '{root}/shut.csv'",
        "FROM 'shut.csv'",
        "FROM glob('{root}/*')",
        "FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '{root}/new.csv'",
        "COPY (SELECT 1) TO '{root}/open.csv'",
        "ATTACH '{root}/other.db'",
        "EXPORT DATABASE '{root}/all'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '1TB'",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "SET GLOBAL allowed_directories = ['/']",
        "FROM local_variable",
    ],
)
@pytest.mark.parametrize("cursor", [False, True])
def test_a_locked_connection(
    tmp_path: Path, con: duckdb.DuckDBPyConnection, statement: str, cursor: bool
) -> None:
    local_variable = {"x": [1]}
    before = sorted(tmp_path.iterdir())
    at = con.cursor() if cursor else con
    assert at.execute(f"SELECT x FROM '{tmp_path}/open.csv'").fetchall() == [(1,)]
    with pytest.raises(duckdb.Error):
        at.execute(statement.format(root=tmp_path))
    assert (sorted(tmp_path.iterdir()), local_variable) == (before, {"x": [1]})


def test_every_connection_of_the_code_comes_through_the_door() -> None:
    root = Path(inspect.getfile(DataError)).parent
    opened = [p.name for p in root.rglob("*.py") if "duckdb.connect(" in p.read_text("utf-8")]
    assert opened == ["door.py"]


def test_what_reads_one_file_reads_no_other(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", [{"x": 1}])
    write_rows(tmp_path / "b.parquet", [{"x": 1}])
    with reading(tmp_path / "a.parquet") as connection:
        sql = "FROM read_parquet('{}')"
        connection.execute(sql.format(tmp_path / "a.parquet"))
        with pytest.raises(duckdb.Error, match="disabled by configuration"):
            connection.execute(sql.format(tmp_path / "b.parquet"))


ENDLESS = "SELECT * FROM generate_series(1::BIGINT, 1000000000000000::BIGINT) t(x)"


@pytest.mark.slow
def test_what_runs_away_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, con: duckdb.DuckDBPyConnection
) -> None:
    monkeypatch.setenv(SECONDS, "0.2")
    _write(tmp_path)
    endless = {"items": {"key": "item_id", "sql": f"SELECT x AS item_id FROM ({ENDLESS})"}}
    with pytest.raises(DataError, match=r"tables.items.sql: stopped: .*0.2 s.*set PROMPTRANK_SQL"):
        columns_of(make_task(tables=endless), tmp_path)
    # On a cursor too, before its first row, but not while its rows wait to be taken.
    with pytest.raises(DataError, match=r"here: stopped: it took more than 0.2 s"):
        list(stream(con, f"{ENDLESS} WHERE x < 0", "here", 1000))
    rows = stream(con, ENDLESS, "here", 1000)
    assert rows.read_next_batch().num_rows
    with pytest.raises(DataError, match="here: stopped"):
        list(stream(con, f"{ENDLESS} WHERE x < 0", "here", 1000))
    assert all(rows.read_next_batch().num_rows for _ in range(2000))


def test_the_bound_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SECONDS, raising=False)
    assert seconds() == 600
    for given, value in (("5", 5.0), ("0", float("inf")), ("", 600.0)):
        monkeypatch.setenv(SECONDS, given)
        assert seconds() == value
    for given in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv(SECONDS, given)
        with pytest.raises(InputError, match="not a number of seconds"):
            seconds()


@pytest.mark.long
def test_a_disk_that_fills_stops_the_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Little:
        free = 30_000_000

    monkeypatch.setattr("shutil.disk_usage", lambda folder: Little)
    sql = "CREATE TABLE x AS SELECT random() AS r, random() AS s, random() AS t FROM range({})"
    with (
        pytest.raises(DataError, match=r"here: stopped: .*more than 0.0 GB, four fifths"),
        workspace(tmp_path, search=tmp_path, memory="100MB") as con,
    ):
        run(con, sql.format(1000), "here")
        run(con, sql.replace(" x ", " y ").format(1_000_000_000_000), "here")


@pytest.mark.slow
def test_an_error_while_rows_come_names_its_place(con: duckdb.DuckDBPyConnection) -> None:
    rows = stream(
        con, "SELECT IF(x = 900000, error('odd'), x) AS y FROM range(1000000) t(x)", "a", 9
    )
    with pytest.raises(DataError, match="a: Invalid Input Error: odd"):
        for batch in rows:
            assert batch.num_rows <= 9


_PIECES = """( ) [ ] ; , -- /* */ ' " $$ 1 x rating 'a' SELECT FROM items WHERE COPY TO 'x.csv' AS y
 IN * CASE WHEN THEN END || UNION ALL getenv read_text('items.parquet') AND""".split()  # noqa: SIM905


@pytest.mark.slow
def test_random_texts_are_refused_or_stay_one_expression() -> None:
    """Whatever passes is one column of one statement, wherever it is spliced."""
    dice, passed = random.Random(7), 0
    with duckdb.connect() as plain:
        plain.execute("CREATE TABLE items AS SELECT 1 AS x, 2 AS rating")
        for _ in range(150):
            size = dice.randint(1, 7)
            text = dice.choice(" \n").join(dice.choice(_PIECES) for _ in range(size))
            try:
                value = expression(text, "label")
            except DataError as error:
                assert str(error).startswith("label: ")
                continue
            passed += 1
            whole = f"SELECT 1 AS a, {value} AS b, 3 AS c FROM items"
            assert len(plain.extract_statements(whole)) == 1
            try:
                names = [row[0] for row in plain.execute(f"DESCRIBE {whole}").fetchall()]
            except (duckdb.BinderException, duckdb.CatalogException):
                continue  # a column or operator that is not there, or two kinds compared
            assert names == ["a", "b", "c"]
    assert passed > 5


def test_every_test_that_the_security_page_names_exists() -> None:
    here = Path(__file__).parent
    page = (here.parent / "docs" / "security.md").read_text(encoding="utf-8")
    named, path = [], ""
    for file, name in re.findall(r"`((?:tests/\w+\.py)?)::(\w+)`", page):
        path = file or path
        named.append((path, name))
    assert len(named) > 20
    for path, name in named:
        assert f"def {name}(" in (here.parent / path).read_text(encoding="utf-8"), (path, name)
    for module in re.findall(r"`(promptrank/[\w/]+\.py)`", page):
        assert (here.parent / module).is_file(), module
