"""The example tasks of docs/, on tables of the same columns: validated and ranked end to end."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import promptrank
from promptrank.project import builtin_root

EXAMPLES = builtin_root() / "docs" / "examples"


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Six queries with four judged items each, two parts of judgements, one long text."""
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, "queries", [{"query_id": f"q{i}", "query": f"toy {i}"} for i in range(6)])
    items = [
        {
            "item_id": f"i{n}",
            "title": f"Toy {n}",
            "brand": "Acme" if n % 2 else None,
            "short_description": "a long description " * (400 if n == 3 else 1),
            "text": None if n == 5 else "words of an abstract " * (400 if n == 3 else 2),
        }
        for n in range(24)
    ]
    write(folder, "items", items)
    pairs = [
        {"query_id": f"q{q}", "item_id": f"i{q * 4 + n}", "relevance": n}
        for q in range(6)
        for n in range(4)
    ]
    write(folder, "judgements", pairs[:12])
    write(folder, "holdout_judgements", pairs[12:])
    write(folder, "judged", pairs)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "per_query", "long"),
    [("product_search", 4, {"i3"}), ("scifact", 13, {"i3"}), ("search_bm25", 4, set())],
)
def test_an_example_ranks_queries_with_candidates(
    name: str, per_query: int, long: set[str], tables: Path, tmp_path: Path, tiny_llama_path: Path
) -> None:
    task = str(EXAMPLES / f"{name}.yaml")
    budget = ["budget.tokens=400", "budget.candidate=300", "split=null"]
    settings = [f"data={tables}", f"model={tiny_llama_path}", *budget]
    found = promptrank.validate(task, settings=settings)
    assert not found.problems
    ranked = promptrank.rank(task, tmp_path / "scores.parquet", settings=settings)
    rows = pq.read_table(ranked.path).to_pylist()
    assert ranked.errors == 0
    assert len(rows) == 6 * per_query
    shortened = {row["item_id"] for row in rows if row["fields_shortened"]}
    assert shortened == long, "the long text was cut, and no other"
    report = promptrank.evaluate(task, scores=ranked.path, settings=settings, draws=100)
    assert report.counts.requests == 6
