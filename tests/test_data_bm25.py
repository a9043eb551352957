"""``bm25`` as a statistic: bm25s itself as the judge, and what the number may depend on."""

from pathlib import Path
from typing import Any

import bm25s
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.api.render import render
from promptrank.api.validate import validate
from promptrank.basics.bm25_formula import WordMatch, statistics_of
from promptrank.errors import DataError
from promptrank.records import Request
from promptrank.schema.task import Task
from support.data import build, built, make_task, read, write_rows

ITEMS: list[dict[str, Any]] = [
    {"item_id": "a", "title": "Red shoes", "text": "for running, red", "price": 3},
    {"item_id": "b", "title": "Blue lamp", "text": None, "price": 1},
    {"item_id": "c", "title": "Red boots for winter", "text": "boots", "price": 2},
    {"item_id": "d", "title": "Desk lamp", "text": "a lamp for a desk", "price": 4},
]
QUERIES = [{"query_id": "q1", "text": "red lamp desk"}, {"query_id": "q2", "text": "the a of"}]
PAIRS = [("q1", "d"), ("q1", "a"), ("q1", "b"), ("q2", "c")]


def task_of(**more: Any) -> Task:
    parts: dict[str, Any] = {
        "tables": {
            "items": {"path": "items.parquet", "key": "item_id"},
            "queries": {"path": "queries.parquet", "key": "query_id"},
        },
        "ratings": None,
        "history": None,
        "judgements": {
            "path": "judged.parquet", "query": "queries", "item": "items", "label": "'like'",
        },
        "statistics": {"match": {"bm25": ["title", "text"]}},
    }  # fmt: skip
    return make_task(**(parts | more))


def tables(root: Path, pairs: list[tuple[str, str]] = PAIRS) -> None:
    write_rows(root / "items.parquet", ITEMS)
    write_rows(root / "queries.parquet", QUERIES)
    names = ("query_id", "item_id")
    write_rows(root / "judged.parquet", [dict(zip(names, p, strict=True)) for p in pairs])


def numbers(requests: dict[str, Request]) -> dict[tuple[str, str], Any]:
    return {
        (r.request_id, c.item.item_id): c.stats["match"]
        for r in requests.values()
        for c in r.candidates
    }


def by_bm25s() -> dict[tuple[str, str], float]:
    texts = [" ".join(t for t in (i["title"], i["text"]) if isinstance(t, str)) for i in ITEMS]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(texts, show_progress=False), show_progress=False)
    scores: dict[tuple[str, str], float] = {}
    for query in QUERIES:
        (words,) = bm25s.tokenize([query["text"]], return_ids=False, show_progress=False)
        values = index.get_scores(words) if words else [0.0] * len(ITEMS)
        scores |= {(query["query_id"], i["item_id"]): v for i, v in zip(ITEMS, values, strict=True)}
    return scores


@pytest.mark.long
def test_as_bm25s_over_the_item_table(tmp_path: Path) -> None:
    tables(tmp_path)
    made, expected = numbers(built(task_of(), tmp_path)), by_bm25s()
    assert made == {pair: pytest.approx(expected[pair], abs=1e-5) for pair in PAIRS}
    assert made["q1", "d"] > made["q1", "a"] > 0 == made["q2", "c"]


@pytest.mark.long
def test_it_depends_on_no_other_candidate_and_not_on_the_form_of_the_file(tmp_path: Path) -> None:
    tables(tmp_path)
    every = numbers(built(task_of(), tmp_path))
    for pair in PAIRS:
        write_rows(tmp_path / "judged.parquet", [dict(query_id=pair[0], item_id=pair[1])])
        assert numbers(built(task_of(), tmp_path)) == {pair: every[pair]}
    tables(tmp_path)
    path = build(task_of(), tmp_path, tmp_path / "out.jsonl").path
    requests, errors = read(path, task=task_of(), root=tmp_path)
    assert not errors
    assert numbers({r.request_id: r for r in requests}) == every


@pytest.mark.long
@given(st.lists(st.text("ab c", max_size=12), min_size=1), st.integers(0, 3), st.randoms())
def test_neighbours_change_no_score(texts: list[str], query: int, draw: Any) -> None:
    statistics = statistics_of(["aa bb", "cc aa aa", "bb"])
    wanted = [["aa", "aa bb", "cc aa aa", "zz"][query]]
    alone = [WordMatch(statistics).scores(wanted, [text])[0] for text in texts]
    order = list(range(len(texts)))
    draw.shuffle(order)
    together = WordMatch(statistics).scores(wanted, [texts[i] for i in order])
    assert together == [alone[i] for i in order]


def test_beside_statistics_of_the_log_and_for_a_source(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", ITEMS)
    rows = [
        {"source": "a", "item_id": "c", "time": 1},
        {"source": "a", "item_id": "b", "time": 1},
        {"source": "d", "item_id": "c", "time": 2},
    ]
    write_rows(tmp_path / "judged.parquet", rows)
    task = make_task(
        ratings=None,
        history=None,
        judgements={
            "path": "judged.parquet",
            "source": {"table": "items", "column": "source"},
            "item": "items",
            "label": "'like'",
            "time": "time",
        },
        statistics={"seen": {"count": True}, "match": {"bm25": ["title"]}, "last": {"count": True}},
    )
    requests = built(task, tmp_path)
    (c,) = (c for c in requests["d"].candidates)
    assert list(c.stats) == ["seen", "match", "last"]
    assert (c.stats["seen"], c.stats["match"]) == (1, 0.0)  # "Desk lamp" and "Red boots for winter"
    match = {c.item.item_id: c.stats["match"] for c in requests["a"].candidates}
    assert match["c"] > match["b"] == 0  # both are red


@pytest.mark.long
def test_a_template_prints_it_and_a_fusion_may_name_it(toys: Path, tiny_llama_path: Path) -> None:
    tables(toys / "shop")
    (toys / "templates" / "match.j2").write_text(
        "{% block candidate %}{{ item.title }} ({{ stats.match | round(2) }}){% endblock %}"
        "{% block question %}Good?{% endblock %}"
    )
    (toys / "tasks" / "match.yaml").write_text(
        "domain: shop\ntemplate: match.j2\ndata: shop\n"
        "tables:\n"
        "  items: {path: items.parquet, key: item_id}\n"
        "  queries: {path: queries.parquet, key: query_id}\n"
        "judgements: {path: judged.parquet, query: queries, item: items, label: \"'like'\"}\n"
        "statistics: {match: {bm25: [title, text]}}\n"
        "questions: {good: {answers: {like: {say: 'Yes', value: 1}, no: {say: 'No', value: 0}}}}\n"
        "fusion: {fields: [stats.match]}\n"
    )
    model = str(tiny_llama_path)
    assert not validate("match", project=toys, model=model).problems
    shown = render("match", project=toys, model=model, request="q1", candidate="d").as_text()
    assert f"Desk lamp ({by_bm25s()['q1', 'd']:.2f})" in shown


@pytest.mark.long
def test_what_cannot_be_matched(tmp_path: Path) -> None:
    tables(tmp_path)
    with pytest.raises(
        DataError, match=r"statistics.match.bm25: no column 'titel' in tables.items"
    ):
        build(task_of(statistics={"match": {"bm25": ["titel"]}}), tmp_path)
    with pytest.raises(DataError, match=r"statistics.match.bm25: price: no item has a word"):
        build(task_of(statistics={"match": {"bm25": ["price"]}}), tmp_path)
    write_rows(tmp_path / "queries.parquet", [{"query_id": "q1", "query": "lamp"}])
    with pytest.raises(DataError, match=r"bm25: no column 'text' in tables.queries"):
        build(task_of(), tmp_path)
    with pytest.raises(ValueError, match=r"match.bm25: needs a query or a source"):
        make_task(statistics={"match": {"bm25": ["title"]}})
    with pytest.raises(ValueError, match="bm25 stands alone; leave out percentile"):
        task_of(statistics={"match": {"bm25": ["title"], "percentile": True}})
    timed = {"path": "items.parquet", "key": "item_id", "valid_from": "since"}
    task = task_of()
    with pytest.raises(ValueError, match=r"match.bm25: tables.items has valid_from"):
        task_of(
            tables={"queries": task.tables["queries"].model_dump(exclude_none=True), "items": timed}
        )
