"""Request files for movies/like in which every member and every film is a new one.

So no cache of items or prompts knows anything, and whatever grows with the number of requests
shows.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.requests.write import TableWriter

WORDS = [
    *("river", "night", "stone", "garden", "winter", "empire", "silent", "road", "mirror"),
    *("king", "falling", "letter", "ocean", "paper", "house", "of", "the", "light", "broken"),
    *("summer", "stranger", "city", "iron", "dance", "forgotten", "wolf"),
]
GENRES = ("Action", "Comedy", "Drama", "Crime", "Children", "Romance", "Sci-Fi", "Thriller")
CANDIDATES = 10
EVENTS = 10
_TOGETHER = 200  # requests

_ITEM = pa.struct([("title", pa.string()), ("year", pa.int64()), ("genres", pa.string())])
_STATS = pa.struct([("liked", pa.float64()), ("taste", pa.float64())])
_EVENT = pa.struct(
    [
        ("item_id", pa.string()),
        ("item", _ITEM),
        ("action", pa.string()),
        ("time", pa.float64()),
        ("stats", _STATS),
        ("outcomes", pa.struct([("like", pa.string())])),
    ]
)
SCHEMA = pa.schema(
    [
        ("request_id", pa.string()),
        ("item_id", pa.string()),
        ("member_id", pa.string()),
        ("member", pa.struct([("likes", pa.float64())])),
        ("history", pa.list_(_EVENT)),
        ("time", pa.float64()),
        ("item", _ITEM),
        ("stats", _STATS),
    ]
)


def write_requests(
    path: Path, count: int, *, candidates: int = CANDIDATES, events: int = EVENTS
) -> int:
    """Write so many requests; returns how many candidates they have."""
    with TableWriter(path, SCHEMA) as writer:
        waiting: list[dict[str, Any]] = []
        for number in range(count):
            waiting += _rows(number, candidates, events)
            if (number + 1) % _TOGETHER == 0:
                writer.write_rows(waiting)
                waiting = []
        if waiting:
            writer.write_rows(waiting)
    return count * candidates


def _rows(number: int, candidates: int, events: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(number)
    films = [_film(draw, f"{number}-{place}") for place in range(candidates + events)]
    head = {
        "member_id": f"m{number}",
        "member": {"likes": draw.random()},
        "time": 1e9 + number,
        "history": [
            {**film, "action": "like", "time": 1e8 + place, "outcomes": {"like": _label(draw)}}
            for place, film in enumerate(films[candidates:])
        ],
    }
    for place, film in enumerate(films[:candidates]):
        yield {"request_id": f"r{number}", **film, **(head if place == 0 else {})}


def _film(draw: random.Random, name: str) -> dict[str, Any]:
    title = " ".join(draw.choices(WORDS, k=draw.randint(1, 4))).title()
    item = {
        "title": f"{title} {name}",
        "year": draw.randint(1930, 2025),
        "genres": ", ".join(draw.sample(GENRES, draw.randint(1, 3))),
    }
    stats = {"liked": draw.random(), "taste": draw.random() / 4}
    return {"item_id": f"i{name}", "item": item, "stats": stats}


def _label(draw: random.Random) -> str:
    return draw.choice(("like", "dislike"))
