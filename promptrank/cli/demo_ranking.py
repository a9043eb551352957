"""The one ranking that the demo shows: whose it is, and what the movies are called."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Member:
    """Whose ranking is shown.

    Attributes:
        request_id: of the member's ten movies in the test part.
        about: age and occupation.
        liked, disliked: titles among the last movies before the ten, the latest first.
    """

    request_id: str
    member_id: str
    about: str
    liked: tuple[str, ...]
    disliked: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Movie:
    """One line of the ranking; ``stars`` is what the member gave, 1 to 5."""

    title: str
    year: int | None
    score: float
    stars: int


def choose_member(requests: Path, folder: Path) -> Member:
    """The member of the test part who gave the ten movies the most different stars.

    Among equals the first by request id; what a model says of them plays no part.

    Args:
        requests: request file of the task ``movies/like``.
        folder: MovieLens tables.
    """
    ((request_id, member_id, age, occupation),) = _query(
        """
        SELECT request_id, any_value(q.member_id), any_value(q.member.age),
               any_value(q.member.occupation)
        FROM read_parquet($requests, hive_partitioning = false) q
        JOIN read_parquet($ratings, hive_partitioning = false) r
          ON r.item_id = q.item_id AND r.member_id = q.member_id
        WHERE split = 'test'
        GROUP BY request_id
        ORDER BY count(DISTINCT r.rating) DESC, request_id
        LIMIT 1
        """,
        requests=requests,
        ratings=folder / "ratings.parquet",
    )
    events = _query(
        """
        SELECT e.action, i.title
        FROM (
            SELECT unnest(history) AS e FROM read_parquet($requests, hive_partitioning = false)
            WHERE request_id = $request AND history IS NOT NULL
        )
        JOIN read_parquet($items, hive_partitioning = false) i ON i.item_id = e.item_id
        ORDER BY e.time DESC, i.title
        """,
        requests=requests,
        items=folder / "items.parquet",
        request=request_id,
    )
    titles = {
        action: tuple(dict.fromkeys(title for what, title in events if what == action))
        for action in ("like", "dislike")
    }
    about = f"{age} years old, {occupation}"
    return Member(request_id, member_id, about, titles["like"], titles["dislike"])


def write_request(requests: Path, request_id: str, out: Path) -> None:
    """Write one request of a request file to a file of its own, with the items it names."""
    import shutil

    import pyarrow.parquet as pq

    from promptrank.requests.format import items_path_of

    only_this = [("request_id", "=", request_id)]
    pq.write_table(pq.read_table(requests, filters=only_this, partitioning=None), out)
    shutil.copyfile(items_path_of(requests), items_path_of(out))


def ranked_movies(scores: Path, folder: Path) -> list[Movie]:
    """The movies of a scores file with a single request, the best first."""
    rows = _query(
        """
        SELECT i.title, i.year, s.score, r.rating
        FROM read_parquet($scores, hive_partitioning = false) s
        JOIN read_parquet($items, hive_partitioning = false) i ON i.item_id = s.item_id
        JOIN read_parquet($ratings, hive_partitioning = false) r
          ON r.item_id = s.item_id AND r.member_id = s.subject_id
        ORDER BY s.rank
        """,
        scores=scores,
        items=folder / "items.parquet",
        ratings=folder / "ratings.parquet",
    )
    return [Movie(title, year, score, int(stars)) for title, year, score, stars in rows]


def ranking_table(movies: Sequence[Movie]) -> "Table":
    """Rank, title, the model's chance of a yes, and the stars that the member gave."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("rank", justify="right")
    table.add_column("movie")
    table.add_column("chance of a like", justify="right")
    table.add_column("stars the member gave")
    for place, movie in enumerate(movies, 1):
        year = f" ({movie.year})" if movie.year is not None else ""
        stars = "*" * movie.stars
        table.add_row(str(place), Text(f"{movie.title}{year}"), f"{movie.score:.0%}", stars)
    return table


def _query(text: str, **values: Path | str) -> list[Any]:
    """Rows of a query over parquet files."""
    from promptrank.basics.door import reading

    with reading(*map(Path, values.values())) as connection:
        given = {name: str(value) for name, value in values.items()}
        return connection.execute(text, given).fetchall()
