"""MovieLens-100K: the conversion by hand on a few lines, then the real files."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from promptrank.assets.movielens import clean_title, convert, title_and_year

ITEMS = """\
item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq
1\tToy Story\t1995\tAnimation Children's Comedy
267\tunkonwn\tunkonwn\tunknown
1412\tLand Before Time III: The Time of the Great Giving (1995)\tV\tAnimation Children's
543\tMisérables, Les\t1995\tDrama "Musical
"""
MEMBERS = """\
user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token
1\t24\tM\ttechnician\t85711
"""
RATINGS = """\
user_id:token\titem_id:token\trating:float\ttimestamp:float
1\t267\t3\t881250949
1\t1\t5\t881250949
"""


def rows(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def test_three_tables(tmp_path: Path) -> None:
    for name, text in (("item", ITEMS), ("user", MEMBERS), ("inter", RATINGS)):
        (tmp_path / f"ml-100k.{name}").write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    out.mkdir()
    convert(tmp_path, out)
    assert rows(out / "items.parquet") == [
        {
            "item_id": "1",
            "title": "Toy Story",
            "year": 1995,
            "genres": "Animation, Children's, Comedy",
        },
        {"item_id": "267", "title": "unknown", "year": None, "genres": "unknown"},
        {
            "item_id": "1412",
            "title": "Land Before Time III: The Time of the Great Giving",
            "year": 1995,
            "genres": "Animation, Children's",
        },
        # A lone quotation mark is text, not the beginning of a quoted field.
        {"item_id": "543", "title": "Les Misérables", "year": 1995, "genres": 'Drama, "Musical'},
    ]
    assert rows(out / "members.parquet") == [
        {"member_id": "1", "age": 24, "gender": "M", "occupation": "technician"}
    ]
    assert rows(out / "ratings.parquet") == [
        {"member_id": "1", "item_id": "267", "rating": 3, "timestamp": 881250949},
        {"member_id": "1", "item_id": "1", "rating": 5, "timestamp": 881250949},
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Godfather, The", "The Godfather"),
        ("Convent, The (Convento, O)", "The Convent (O Convento)"),
        ("Star Maker, The (Uomo delle stelle, L')", "The Star Maker (L'Uomo delle stelle)"),
        ("Die xue shuang xiong (Killer, The)", "Die xue shuang xiong (The Killer)"),
        ("Sex, Lies, and Videotape", "Sex, Lies, and Videotape"),
        ("Paris, Texas", "Paris, Texas"),
        ("Truth or Consequences, N.M.", "Truth or Consequences, N.M."),
        ("To Have, or Not", "To Have, or Not"),
        ("Nosferatu (Nosferatu, eine Symphonie)", "Nosferatu (Nosferatu, eine Symphonie)"),
    ],
)
def test_articles_go_in_front(before: str, after: str) -> None:
    assert clean_title(before) == after


def test_a_year_inside_the_title() -> None:
    assert title_and_year("Land, The (1995)", "V") == ("The Land", 1995)
    assert title_and_year("1984", "1984") == ("1984", 1984)


def test_the_real_tables(ml100k_path: Path) -> None:
    items = rows(ml100k_path / "items.parquet")
    members = rows(ml100k_path / "members.parquet")
    ratings = rows(ml100k_path / "ratings.parquet")
    assert [len(items), len(members), len(ratings)] == [1682, 943, 100_000]
    assert len({row["item_id"] for row in items}) == 1682
    assert [row["item_id"] for row in items if row["year"] is None] == ["267"]
    assert {row["item_id"] for row in ratings} == {row["item_id"] for row in items}
    assert {row["member_id"] for row in ratings} == {row["member_id"] for row in members}
    assert len({(row["member_id"], row["item_id"]) for row in ratings}) == 100_000
    # README of the original: ratings 1 to 5, from September 1997 to April 1998, 20 a member.
    assert {row["rating"] for row in ratings} == {1, 2, 3, 4, 5}
    times = [row["timestamp"] for row in ratings]
    assert (min(times), max(times)) == (874724710, 893286638)
    titles = {row["item_id"]: row["title"] for row in items}
    assert titles["543"] == "Les Misérables"
    assert not [title for title in titles.values() if title.endswith(", The")]
    assert not [title for title in titles.values() if title != title.strip() or "\ufffd" in title]
