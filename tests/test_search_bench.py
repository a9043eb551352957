"""``bench/search.py`` on judgements of positives alone: which lists are ranked, and what counts."""

import importlib.util
import sys
from math import log2
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BENCH = Path(__file__).parent.parent / "bench"
WORDS = [
    "red",
    "blue",
    "green",
    "lamp",
    "desk",
    "shoe",
    "boot",
    "chair",
    "vase",
    "bowl",
    "tray",
    "cup",
]


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCH)])
    return module("_search_tables")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Papers of two words; query n names both of paper n. Nobody judged a bad pair."""
    folder = tmp_path / "data"
    folder.mkdir()
    items = [
        {
            "item_id": f"i{n}",
            "title": WORDS[n // 12],
            "text": f"{WORDS[n % 12]} of {WORDS[n // 12]}",
        }
        for n in range(144)
    ]
    queries = [
        {"query_id": f"q{n}", "query": f"{WORDS[n // 12]} and {WORDS[n % 12]}"} for n in range(40)
    ]
    pairs = [{"query_id": f"q{n}", "item_id": f"i{n}", "relevance": 1} for n in range(40)]
    pairs.append({"query_id": "q39", "item_id": "i0", "relevance": 1})  # shares no word
    for name, rows in (
        ("items", items),
        ("queries", queries),
        ("judgements", pairs[:30]),
        ("holdout_judgements", pairs[30:]),
    ):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


def judged(work: Path) -> dict[str, dict[str, tuple[int, str]]]:
    lists: dict[str, dict[str, tuple[int, str]]] = {}
    for row in pq.read_table(work / "search" / "judged.parquet").to_pylist():
        pair = row["relevance"], row["fold0"]
        lists.setdefault(row["query_id"], {})[row["item_id"]] = pair
    return lists


def test_lists_are_what_bm25_found(bench: ModuleType, data: Path, tmp_path: Path) -> None:
    collection = bench.collection_of(data, 128)
    assert collection.shown == ("title", "text")
    tables = bench.Tables(data, tmp_path / "work", collection)
    assert tables.positives_only
    tables.prepare(lists=5, folds=1, limit=None, candidates=6)
    lists = judged(tmp_path / "work")
    assert len(lists) == 40
    for n in range(40):
        given = lists[f"q{n}"]
        assert {part for _, part in given.values()} == {"test" if n >= 30 else "train"}
        assert given[f"i{n}"][0] == 3
        assert {grade for item, (grade, _) in given.items() if item != f"i{n}"} == {0}
        assert len(given) == 6  # of the training ones: one that is judged, and five others
    assert "i0" not in lists["q39"]
    pairs = [(q, i, 0.0) for q, given in lists.items() for i in given if int(q[1:]) >= 30]
    assert "found 10 of 11 judged pairs (0.909) of 10 queries; 0 queries" in tables.recall(pairs)
    tables.prepare(lists=5, folds=1, limit=3, candidates=6)
    parts = [next(iter(given.values()))[1] for given in judged(tmp_path / "work").values()]
    assert (parts.count("test"), parts.count("train")) == (3, 30)


def test_ndcg_counts_what_was_not_found(bench: ModuleType, data: Path, tmp_path: Path) -> None:
    """q38 has its paper second; q39 has one of its two first, and the other is in no list."""
    tables = bench.Tables(data, tmp_path / "work", bench.collection_of(data, 128))
    rows = [("q38", "i1", 2.0), ("q38", "i38", 1.0), ("q39", "i39", 5.0), ("q39", "i2", 4.0)]
    second, half = 1 / log2(3), 1 / (1 + 1 / log2(3))
    assert tables.whole_ndcg(rows) == pytest.approx((second + half) / 2)


def test_a_table_of_neither_kind_is_told(bench: ModuleType, tmp_path: Path) -> None:
    pq.write_table(pa.table({"item_id": ["a"], "name": ["b"]}), tmp_path / "items.parquet")
    with pytest.raises(SystemExit, match="neither brand nor text, but item_id, name"):
        bench.collection_of(tmp_path, 128)


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--number"]])
def test_it_runs_from_end_to_end_on_a_tiny_model(
    more: list[str],
    bench: ModuleType,
    data: Path,
    tmp_path: Path,
    tiny_llama_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = module("search")
    monkeypatch.setattr(search, "MEANINGS", [])  # whose model would be fetched
    words = [
        "search.py", "--data", data, "--work", tmp_path / "work", "--model", tiny_llama_path,
        "--lists", "40", "--labels", "40", "--epochs", "1", "--candidates", "6", *more,
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", list(map(str, words)))
    search.main()
    said = capsys.readouterr().out
    assert "NDCG@10 against all judged pairs: bm25 " in said
    assert said.splitlines()[-1].startswith("tuned=")
    search.main()  # all is there: nothing is done again
    assert "fold0:" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--limit", "2"])
    with pytest.raises(SystemExit, match="made with other options"):
        search.main()
