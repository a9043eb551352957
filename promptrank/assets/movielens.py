"""MovieLens-100K: from recbole's atomic files to three clean parquet tables."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

_ARTICLES = "The|A|An|La|Le|Les|L'|Il|Der|Die|Das|Det|O"
_ARTICLE = re.compile(rf"(?P<name>[^()]+), (?P<article>{_ARTICLES})(?=\)|$| \()")
_YEAR = re.compile(r" \((\d{4})\)$")


def convert(unpacked: Path, folder: Path) -> None:
    """Write ``items``, ``members`` and ``ratings`` as parquet to ``folder``; ids are strings.

    * items: ``item_id``, ``title`` as people say it ("The Godfather"), ``year`` (null for the one
      film that has no name either), ``genres`` ("Action, Sci-Fi"). 18 films stand there twice
      under different ids, as in the original; no title is merged.
    * members: ``member_id``, ``age``, ``gender``, ``occupation``. The ZIP code is left out: it
      helps no ranking and names people.
    * ratings: ``member_id``, ``item_id``, ``rating`` (1 to 5), ``timestamp`` in unix seconds, in
      the order of the source. No member rated an item twice.
    """
    import pyarrow.parquet as pq

    for name, table in (
        ("items", _items(unpacked / "ml-100k.item")),
        ("members", _members(unpacked / "ml-100k.user")),
        ("ratings", _ratings(unpacked / "ml-100k.inter")),
    ):
        pq.write_table(table, folder / f"{name}.parquet")


def clean_title(title: str) -> str:
    """The title with its article in front, in its translation too.

    >>> clean_title("Godfather, The")
    'The Godfather'
    >>> clean_title("Star Maker, The (Uomo delle stelle, L')")
    "The Star Maker (L'Uomo delle stelle)"
    """

    def in_front(match: re.Match[str]) -> str:
        gap = "" if match["article"].endswith("'") else " "
        return f"{match['article']}{gap}{match['name']}"

    return _ARTICLE.sub(in_front, title)


def title_and_year(title: str, year: str) -> tuple[str, int | None]:
    """Both cleaned; a year that the source left inside the title is taken from there."""
    inside = _YEAR.search(title)
    if inside:
        return clean_title(title[: inside.start()]), int(inside[1])
    # The source misspells the name of its one unknown film.
    title = "unknown" if title == "unkonwn" else title
    return clean_title(title), int(year) if year.isdigit() else None


def _items(path: Path) -> "pa.Table":
    import pyarrow as pa

    source = _read(path, ["item_id", "title", "year", "genres"]).to_pydict()
    pairs = [
        title_and_year(title, year)
        for title, year in zip(source["title"], source["year"], strict=True)
    ]
    return pa.table(
        {
            "item_id": pa.array(source["item_id"], pa.string()),
            "title": pa.array([title for title, _ in pairs], pa.string()),
            "year": pa.array([year for _, year in pairs], pa.int64()),
            "genres": pa.array([", ".join(g.split()) for g in source["genres"]], pa.string()),
        }
    )


def _members(path: Path) -> "pa.Table":
    import pyarrow as pa

    table = _read(path, ["member_id", "age", "gender", "occupation", "zip_code"])
    table = table.drop_columns("zip_code")
    return table.set_column(1, "age", table["age"].cast(pa.int64()))


def _ratings(path: Path) -> "pa.Table":
    import pyarrow as pa

    table = _read(path, ["member_id", "item_id", "rating", "timestamp"])
    table = table.set_column(2, "rating", table["rating"].cast(pa.int64()))
    return table.set_column(3, "timestamp", table["timestamp"].cast(pa.int64()))


def _read(path: Path, columns: list[str]) -> "pa.Table":
    """A tab-separated file whose header is replaced by ``columns``, all strings, no quoting."""
    import pyarrow as pa
    from pyarrow import csv

    return csv.read_csv(
        path,
        read_options=csv.ReadOptions(column_names=columns, skip_rows=1),
        parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
        convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    )
