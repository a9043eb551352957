"""The recipe for search: pseudo-queries of a catalogue, and a decoder that learns to match."""

import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pseudo_queries import Catalogue, lists, pseudo_query, words, write

import promptrank
from promptrank.training.settings import Settings

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NOUNS = [
    "kettle",
    "lamp",
    "chair",
    "table",
    "spoon",
    "bottle",
    "carpet",
    "mirror",
    "pillow",
    "ladder",
    "bucket",
    "hammer",
    "candle",
    "basket",
    "curtain",
    "blanket",
    "teapot",
    "drawer",
    "shelf",
    "clock",
    "vase",
    "towel",
    "brush",
    "broom",
    "plate",
    "bowl",
    "jug",
    "tray",
    "stool",
    "desk",
]
WORDS = [
    "red",
    "blue",
    "green",
    "yellow",
    "black",
    "white",
    "small",
    "large",
    "tall",
    "narrow",
    "wooden",
    "steel",
    "glass",
    "cotton",
    "ceramic",
    "plastic",
    "copper",
    "modern",
    "classic",
    "light",
]


def product(draw: random.Random, noun: str) -> str:
    """Four words, the noun in any place."""
    title = [*draw.sample(WORDS, 3), noun]
    draw.shuffle(title)
    return " ".join(title)


def catalogue(count: int = 300) -> Catalogue:
    draw = random.Random(0)
    items: list[dict[str, str | None]] = [
        {
            "item_id": f"i{n}",
            "title": product(draw, draw.choice(NOUNS)),
            "brand": draw.choice(["Acme", "Bolt", None]),
        }
        for n in range(count)
    ]
    return Catalogue(items, "item_id", ["title", "brand"])


def test_words_keep_model_numbers_whole() -> None:
    assert words('HP SHB-1100, 15.6" "red"') == ["hp", "shb-1100", "15.6", "red"]


def test_relevant_products_hold_all_words_and_others_do_not() -> None:
    shop = catalogue()
    held = {
        item: {word for field in fields for word in field}
        for item, fields in zip(shop.ids, shop.fields, strict=True)
    }
    made = lists(shop, 60, good=3, bad=5, draw=random.Random(1))
    assert len(made) == 60
    hard = 0
    for query, judged in made:
        asked = set(query.split())
        assert 1 <= len(asked) <= 3
        assert len({item for item, _ in judged}) == len(judged)
        grades = [grade for _, grade in judged]
        assert 1 <= grades.count(3) <= 3
        assert grades.count(0) == 5
        for item, grade in judged:
            assert (asked <= held[item]) == (grade == 3)
            hard += grade == 0 and bool(asked & held[item])
    assert hard > 20  # products that share a word and are still not it
    again = lists(catalogue(), 60, good=3, bad=5, draw=random.Random(1))
    assert again == made


def test_rare_common_and_numeric_words_are_not_asked_for() -> None:
    items: list[dict[str, str | None]] = [
        {"id": str(n), "title": "thing 55 " + ("pair" if n < 4 else "") + ("odd" if n == 0 else "")}
        for n in range(40)
    ]
    shop = Catalogue(items, "id", ["title"])
    assert pseudo_query(shop, 0, random.Random(0)) is None  # "pairodd" is held by a single product
    assert pseudo_query(shop, 1, random.Random(0)) == ("pair",)
    assert pseudo_query(shop, 9, random.Random(0)) is None


@pytest.mark.slow
def test_a_decoder_learns_to_match_in_minutes(tmp_path: Path) -> None:
    """One noun as the query, products of four words; nouns of the test were never trained."""
    draw = random.Random(2)
    items, queries, judged = [], [], []
    for number in range(60):
        noun = NOUNS[number % len(NOUNS)]
        queries.append({"query_id": f"q{number}", "query": noun, "part": number % len(NOUNS)})
        others = [name for name in NOUNS if name != noun]
        for place, name in enumerate([noun] * 3 + draw.sample(others, 4)):
            items.append({"item_id": f"{number}.{place}", "title": product(draw, name)})
            judged.append(
                {
                    "query_id": f"q{number}",
                    "item_id": f"{number}.{place}",
                    "relevance": 3 if name == noun else 0,
                    "part": "test" if number % len(NOUNS) < 8 else "train",
                }
            )
    for item in items:
        item["brand"] = ""
    for name in ("tasks", "templates", "search"):
        (tmp_path / name).mkdir()
    shutil.copy(EXAMPLES / "search_judged.yaml", tmp_path / "tasks")
    shutil.copy(EXAMPLES / "search.j2", tmp_path / "templates")
    for name, rows in (("queries", queries), ("items", items), ("judged", judged)):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "search" / f"{name}.parquet")
    settings = ["split={by: file, column: part}"]
    training = Settings(
        losses={"listwise": 1.0, "answers": 0.3}, prompt_weight=0.0, rank=16, lr=1e-3,
        batch=4, micro=4, valid=0, steps=25, every=10_000,
    )  # fmt: skip
    promptrank.train(
        ["search_judged"], "matching", project=tmp_path, settings=settings, training=training
    )
    report = promptrank.evaluate(
        "search_judged", adapter="matching", vs=["base"], project=tmp_path, settings=settings
    )
    untuned, tuned = (report.ranker(name).cells["auc"].value for name in ("base", "decoder"))
    assert untuned is not None and tuned is not None
    assert untuned < 0.8
    assert tuned > 0.95


def test_a_catalogue_of_a_few_products_gives_what_it_can() -> None:
    items: list[dict[str, str | None]] = [
        {"id": str(n), "title": f"{'red' if n < 3 else 'blue'} w{n}"} for n in range(16)
    ]
    made = lists(Catalogue(items, "id", ["title"]), 4, good=3, bad=9, draw=random.Random(0))
    assert {query for query, _ in made} == {"red"}
    assert all(len(judged) <= 12 for _, judged in made)


def test_the_tables_are_those_that_the_example_reads(tmp_path: Path) -> None:
    made = lists(catalogue(), 5, good=2, bad=3, draw=random.Random(3))
    write(made, tmp_path)
    queries = pq.read_table(tmp_path / "queries.parquet").to_pylist()
    judged = pq.read_table(tmp_path / "judgements.parquet").to_pylist()
    assert [query["query"] for query in queries] == [query for query, _ in made]
    assert {row["relevance"] for row in judged} == {0, 3}
    assert {row["query_id"] for row in judged} == {query["query_id"] for query in queries}
