"""Building requests from ratings: hand-worked cases."""

from pathlib import Path

from support.data import Row, built, make_task, write_rows

ITEMS = [{"item_id": i, "title": f"Title {i}", "year": 1990 + k} for k, i in enumerate("abcdef")]


def _ratings(*rows: tuple[str, str, int, int]) -> list[Row]:
    names = ("member_id", "item_id", "time", "rating")
    return [dict(zip(names, row, strict=True)) for row in rows]


def test_blocks_are_counted_back_from_the_last_row(tmp_path: Path) -> None:
    write_rows(tmp_path / "items.parquet", ITEMS)
    rows = _ratings(
        ("m", "a", 10, 5),
        ("m", "b", 20, 1),
        ("m", "c", 30, 4),
        ("m", "d", 40, 2),
        ("m", "e", 50, 5),
    )
    write_rows(tmp_path / "ratings.parquet", rows)
    requests = built(make_task(), tmp_path)
    assert list(requests) == ["m@10", "m@20", "m@40"]
    assert [c.item.item_id for c in requests["m@20"].candidates] == ["b", "c"]
    last = requests["m@40"]
    assert last.time == 40.0
    assert [(e.item.item_id, e.action, e.time) for e in last.history] == [
        ("a", "like", 10.0),
        ("b", "dislike", 20.0),
        ("c", "like", 30.0),
    ]
    assert [c.outcomes["like"] for c in last.candidates] == ["dislike", "like"]
    assert last.candidates[0].item.fields["title"] == "Title d"
    # Before 40: a, b, c with values 1, 0, 1.
    assert last.candidates[0].baseline == {
        "item_count": 0,
        "item_mean": None,
        "member_mean": 2 / 3,
        "mean": 2 / 3,
    }
