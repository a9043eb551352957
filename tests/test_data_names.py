"""Tables may call their columns as they like: every name that the builder uses is tried.

The names are taken from the SQL of builds as it is run, so that a new one is tried without a word
here. A table with columns of all these names must come out as one with names of its own does.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from promptrank.errors import DataError
from promptrank.requests.items import ItemTable
from promptrank.schema.task import Task
from promptrank.scores.columns import schema_of
from promptrank.tables.build import Built
from promptrank.tables.names import OURS
from support.data import Row, build, built, make_task, write_rows

STATISTICS: dict[str, dict[str, Any]] = {
    "liked": {"mean": "{rating}", "prior": 1},
    "often": {"count": True, "percentile": True, "within": "9s"},
    "keen": {"of": "member", "mean": "{rating}"},
}
ACTED = {"mean": "CAST(label = 'yes' AS INTEGER)"}
ANSWERS = {"answers": {"yes": {"say": "Yes", "value": 1}, "no": {"say": "No", "value": 0}}}
NUMBERS = ["place", "odds", "weight", "served", "km"]
NEEDED = {
    "rows": ["request", "candidate", "member", "item", "time", "rating", *NUMBERS],
    "items": ["key", "since", "title"],
    "members": ["key", "since", "name"],
    "acts": ["request", "candidate", "what", "at"],
    "events": ["member", "item", "at", "what", "note"],
}
FORMS = ("ratings", "lists", "lists with events")
Call = Callable[[str, str], str]
"""Table, and what a column is for -> its name."""


def _plain(table: str, column: str) -> str:
    return f"plain_{table}_{column}"


def _rows() -> dict[str, list[Row]]:
    """What stands in the tables, by what a column is for."""
    rows: list[Row] = []
    for n in range(36):
        given = (f"r{n // 2}", f"c{n}", "mno"[n // 2 % 3], "abcdef"[n * 5 % 6], n // 2, n % 5 + 1)
        numbers = (n % 2 + 1, 0.25 + n % 3 / 4, 1.0 + n, 0.5 * n, n * 1.5)
        rows.append(dict(zip(NEEDED["rows"], (*given, *numbers), strict=True)))
    return {
        "rows": rows,
        "items": [{"key": i, "since": -9, "title": f"Item {i}"} for i in "abcdef"],
        "members": [{"key": m, "since": -9, "name": f"Member {m}"} for m in "mno"],
        "acts": [
            {
                "request": r["request"],
                "candidate": r["candidate"],
                "what": "yes",
                "at": r["time"] + 1,
            }
            for r in rows[::3]
        ],
        "events": [
            {"member": m, "item": i, "at": t, "what": "yes", "note": f"note {t}"}
            for t, (m, i) in enumerate(zip("mnomnomno", "abcdefabc", strict=True))
        ],
    }


def _write(root: Path, call: Call, more: list[str]) -> None:
    for table, rows in _rows().items():
        named = [{call(table, n): v for n, v in row.items()} for row in rows]
        taken = {call(table, n).casefold() for n in NEEDED[table]}
        extra = {n: f"{n}!" for n in more if n.casefold() not in taken and _may(table, n)}
        write_rows(root / f"{table}.parquet", [{**extra, **row} for row in named])


def _may(table: str, name: str) -> bool:
    """Member statistics and columns of members stand side by side in templates."""
    return table != "members" or name.casefold() not in STATISTICS


def _task(form: str, call: Call, more: list[str], **parts: Any) -> Task:
    return make_task(**_parts(form, call, more) | parts)


def _parts(form: str, call: Call, more: list[str]) -> dict[str, Any]:
    def quoted(name: str) -> str:
        return '"' + call("rows", name) + '"'

    def free(table: str) -> list[str]:
        taken = {call(table, n).casefold() for n in NEEDED[table]}
        return [n for n in more if n.casefold() not in taken]

    n = {name: call("rows", name) for name in NEEDED["rows"]}
    tables = {
        t: {"path": f"{t}.parquet", "key": call(t, "key"), "valid_from": call(t, "since")}
        for t in ("items", "members")
    }
    statistics: dict[str, Any] = {
        k: {p: quoted("rating") if v == "{rating}" else v for p, v in s.items()}
        for k, s in STATISTICS.items()
    }
    member = {"table": "members", "column": n["member"]}
    item = {"table": "items", "column": n["item"]}
    context = [n["km"], *free("rows")]
    common: dict[str, Any] = {"tables": tables, "questions": {"like": ANSWERS}}
    if form == "ratings":
        source: dict[str, Any] = {
            "path": "rows.parquet",
            "member": member,
            "item": item,
            "time": n["time"],
            "label": f"if({quoted('rating')} > 3, 'yes', 'no')",
            "group": {"last": 4},
            "context": context,
            "weight": n["weight"],
            "negatives": {"count": 2, "label": "no", "sampler": "popular"},
        }
        return dict(
            **common,
            ratings=source,
            statistics=statistics,
            history={"last": 4, "as": "turns"},
            split={"by": "time", "at": 14, "valid_at": 10},
        )
    numbers = {"position": "place", "propensity": "odds", "weight": "weight"}
    source = {
        "path": "rows.parquet",
        "id": n["request"],
        "time": n["time"],
        "subject": {"member": member},
        "candidate": {
            "item": item,
            "id": n["candidate"],
            "logged_score": n["served"],
            "context": context,
            **{k: n[v] for k, v in numbers.items()},
        },
    }
    events = {
        "path": "events.parquet",
        "member": {"table": "members", "column": call("events", "member")},
        "item": {"table": "items", "column": call("events", "item")},
        "time": call("events", "at"),
        "action": '"' + call("events", "what") + '"',
        "context": [call("events", "note"), *free("events")],
    }
    acts = {
        "path": "acts.parquet",
        "key": [call("acts", "request"), call("acts", "candidate")],
        "label": call("acts", "what"),
        "time": call("acts", "at"),
        "within": "2s",
        "none": "no",
    }
    history = {"last": 4, **({"events": events} if form.endswith("events") else {})}
    return dict(
        **common,
        ratings=None,
        requests=source,
        outcomes=acts,
        history=history,
        statistics=statistics | {"acted": ACTED},
        split={"by": "file", "column": n["request"], "test": "r9"},
    )


class _Listening:
    """A connection that notes the words of every statement, and at its end all columns."""

    def __init__(self, con: Any, words: set[str]) -> None:
        self._con, self._words = con, words

    def __getattr__(self, name: str) -> Any:
        return getattr(self._con, name)

    def _note(self, sql: str) -> str:
        bare = re.sub(r"'(?:[^']|'')*'", " ", sql)
        self._words.update("AS " + n for n in re.findall(r'\bAS "?(\w+)', bare))
        self._words.update(a or b for a, b in re.findall(r'"([^"]+)"|\b([A-Za-z_]\w*)', bare))
        return sql

    def execute(self, sql: str, *values: Any) -> Any:
        return self._con.execute(self._note(sql), *values)

    def sql(self, sql: str) -> Any:
        return self._con.sql(self._note(sql))

    def __enter__(self) -> "_Listening":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cursor(self) -> "_Listening":
        return _Listening(self._con.cursor(), self._words)

    def close(self) -> None:
        columns = self._con.execute(
            "SELECT DISTINCT column_name FROM duckdb_columns() WHERE schema_name = 'pr'"
        )
        self._words.update("AS " + name for (name,) in columns.fetchall())
        self._con.close()


@cache
def _words() -> frozenset[str]:
    """Every word of the builder's SQL, and once more after ``AS`` what it calls something."""
    words: set[str] = set()
    connect = duckdb.connect
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(duckdb, "connect", lambda *a, **k: _Listening(connect(*a, **k), words))
        _write(Path(folder), _plain, [])
        for form in FORMS:
            build(_task(form, _plain, []), Path(folder))
    return frozenset(words)


def _names(given: bool = False) -> list[str]:
    """Words that a table could use for a column; those the builder gives to something, or all."""
    words = {w.removeprefix("AS ") for w in _words() if w.startswith("AS ") or not given}
    ours = {
        w.casefold(): w for w in sorted(words) if not w.startswith((OURS, "plain_", "promptrank"))
    }
    return sorted(ours.values())


def _of_events(form: str) -> tuple[str, str]:
    """A needed column of what histories show: their own table, or the rows."""
    return ("events", "note") if form.endswith("events") else ("rows", "km")


def _compared(form: str, made: Built, call: Call) -> Iterator[Any]:
    """All that a request file says, but for the columns that a table has of its own."""
    items = ItemTable(made.items_path)
    for row in pq.read_table(made.path).to_pylist():
        of_item = items.row(row.pop("item_row")).fields
        own = [(row.pop("context") or {}).get(call("rows", "km"))]
        own += [of_item[call("items", "title")]]
        member = row.pop("member") or {}
        own += [member.get(call("members", "name")), member.get("keen")]
        for event in row["history"] or ():
            event.pop("item_row")
            context = event.pop("context")
            own += [context[call(*_of_events(form))]]
        yield row, own


def _as_they_were(form: str, made: Built, more: list[str], call: Call) -> None:
    """Every column that is called like one of ours holds what the table said."""

    def check(table: str, fields: Mapping[str, Any]) -> None:
        taken = {call(table, n).casefold() for n in NEEDED[table]}
        for name in more:
            if name.casefold() not in taken and _may(table, name):
                assert fields[name] == f"{name}!"

    items = ItemTable(made.items_path)
    rows = 0
    for row in pq.read_table(made.path).to_pylist():
        check("items", items.row(row["item_row"]).fields)
        if row["member"] is not None:
            check("members", row["member"])
        if row["context"] is not None:
            check("rows", row["context"])
            rows += 1
        for event in row["history"] or ():
            check(_of_events(form)[0], event["context"])
    assert rows


@cache
def _plain_build(form: str) -> tuple[Built, list[Any]]:
    """What comes of tables whose columns are called like nothing in the builder."""
    with TemporaryDirectory() as folder:
        _write(Path(folder), _plain, [])
        made = build(_task(form, _plain, []), Path(folder))
        return made, list(_compared(form, made, _plain))


def _like_plain(form: str, call: Call, more: list[str], root: Path) -> None:
    _write(root, call, more)
    made = build(_task(form, call, more), root)
    plain, rows = _plain_build(form)
    assert list(_compared(form, made, call)) == rows
    assert (made.errors, made.requests, made.seen) == (plain.errors, plain.requests, plain.seen)
    _as_they_were(form, made, more, call)


@pytest.mark.long
def test_names_are_found() -> None:
    found = {n.casefold() for n in _names()}
    assert {"shown", "known", "label", "ctx", "item_row", "moment", "a_like", "st_liked"} <= found
    assert {
        "row_no",
        "request_no",
        "nth",
        "t",
        "step",
        "x_keen",
        "select",
        "versions_items",
    } <= found


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_other_columns_come_out_as_they_are(
    form: str, case: Callable[[str], str], tmp_path: Path
) -> None:
    more = sorted({case(n) for n in [*_names(), "__id", "__since", "file"]})
    _like_plain(form, _plain, more, tmp_path)


def _rotated(names: list[str], turn: int) -> Call:
    """Needed columns of every table bear names of ours, others in each turn."""
    places = {t: {n: i for i, n in enumerate(c)} for t, c in NEEDED.items()}

    def call(table: str, column: str) -> str:
        return names[(turn * 11 + places[table][column]) % len(names)]

    return call


@pytest.mark.slow
def test_needed_columns_may_have_any_name(tmp_path: Path) -> None:
    names = [n for n in _names(given=True) if _may("members", n)]
    for turn in range(0, len(names) // 11 + 1):
        form = FORMS[turn % len(FORMS)]
        _like_plain(form, _rotated(names, turn), [], tmp_path / str(turn))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_needed_columns_may_have_any_name_beside_all_others(form: str, tmp_path: Path) -> None:
    names = [n for n in _names() if _may("members", n)]
    for turn in range(FORMS.index(form), len(names) // 4 + 1, 8):
        call = _rotated(names, turn)
        # Beside outcomes, `label` in a statistic is what happened, as the reference says.
        if form == "ratings" or call("rows", "rating") != "label":
            _like_plain(form, call, names, tmp_path / str(turn))


TABLES = ["src", "pr", "main", "rows", "requests", "errors", "temp", "system", "fresh", "build"]
TABLES += ["items", "shown", "given", "pool"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_tables_may_have_any_name(name: str, tmp_path: Path) -> None:
    _write(tmp_path, _plain, [])
    given = _parts("ratings", _plain, [])
    tables = {
        name: {"path": "items.parquet", "key": "plain_items_key"},
        "found": {"sql": f'SELECT *, 7 AS seven FROM "{name}"', "key": "plain_items_key"},
        "members": given["tables"]["members"],
    }
    ratings = {**given["ratings"], "item": {"table": "found", "column": "plain_rows_item"}}
    # The folder of the tables is seen from another place: no variable of ours stands for a table.
    task = _task("ratings", _plain, [], tables=tables, ratings=ratings, split=None)
    request = next(iter(built(task, tmp_path).values()))
    assert request.candidates[0].item.fields["seven"] == 7


def test_a_query_finds_no_variable_of_ours(tmp_path: Path) -> None:
    _write(tmp_path, _plain, [])
    tables = _parts("ratings", _plain, [])["tables"]
    tables["items"] = {"sql": "SELECT * FROM waiting", "key": "plain_items_key"}
    with pytest.raises(DataError, match="table waiting does not exist"):
        build(_task("ratings", _plain, [], tables=tables), tmp_path)


@pytest.mark.slow
def test_questions_and_statistics_may_have_any_name(tmp_path: Path) -> None:
    _write(tmp_path, _plain, [])
    plain = built(_task("lists", _plain, []), tmp_path)
    names = _questions()
    task = _task(
        "lists",
        _plain,
        [],
        questions={n: ANSWERS for n in names},
        score=names[0],
        statistics={n: ACTED for n in names},
    )
    for name, request in built(task, tmp_path).items():
        for candidate, same in zip(request.candidates, plain[name].candidates, strict=True):
            assert dict(candidate.outcomes) == {
                n: same.outcomes["like"] for n in names if same.outcomes
            }
            assert candidate.stats == {n: same.stats["acted"] for n in names}
            assert candidate.baseline == same.baseline


@pytest.mark.parametrize("name", [OURS + "shown", OURS.upper() + "x"])
def test_names_that_are_kept_are_refused(name: str, tmp_path: Path) -> None:
    _write(tmp_path, _plain, [name])
    with pytest.raises(DataError, match=r"a column is called .* kept for promptrank: rename"):
        build(_task("ratings", _plain, []), tmp_path)


def test_a_member_statistic_is_not_called_like_a_column(tmp_path: Path) -> None:
    _write(tmp_path, lambda t, c: "Keen" if (t, c) == ("members", "name") else _plain(t, c), [])
    with pytest.raises(DataError, match=r"statistics\.keen: tables\.members has a column 'Keen'"):
        build(_task("ratings", _plain, []), tmp_path)


@pytest.mark.long
def test_a_column_made_here_replaces_its_namesake_in_any_case(tmp_path: Path) -> None:
    _write(tmp_path, _plain, [])
    tables = _parts("ratings", _plain, [])["tables"]
    tables["items"]["columns"] = {"Plain_Items_Title": "upper(plain_items_title)"}
    request = next(iter(built(_task("ratings", _plain, [], tables=tables), tmp_path).values()))
    fields = request.candidates[0].item.fields
    assert set(fields) == {"plain_items_key", "plain_items_since", "Plain_Items_Title"}
    assert str(fields["Plain_Items_Title"]).startswith("ITEM ")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["method"], "the ranking itself has the column method_score in scores files"),
        (["a", "a_logprob"], "question a has the column a_logprob_score in scores files"),
    ],
)
def test_questions_have_columns_of_their_own(names: list[str], message: str) -> None:
    answers = {**ANSWERS["answers"], "score": {"say": "Maybe", "value": 0.5}}
    with pytest.raises(ValidationError, match=message):
        make_task(questions={n: {"answers": answers} for n in names}, score=names[0])


@pytest.mark.long
def test_scores_have_no_column_twice() -> None:
    task = make_task(questions={n: ANSWERS for n in _questions()}, score="t")
    columns = schema_of(task).names
    assert len(columns) == len(set(columns))


def _questions() -> list[str]:
    words = {n.casefold() for n in _names(given=True)}
    return sorted(n for n in words if re.fullmatch("[a-z][a-z0-9_]*", n))
