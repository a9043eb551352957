"""The requests that the benchmarks share: real members, real histories, real titles.

MovieLens-100K as promptrank's own requests, prompts and ids: about 267 prefix tokens and 27 a
candidate with its question, in SmolLM2's tokens.
"""

from pathlib import Path

import pyarrow.parquet as pq

from promptrank.prompt import Encoder, load_template, open_tokenizer
from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.schema.task import Task

HISTORY = 13  # with the short titles of this template, 270 tokens
FOLDERS = [Path(__file__).parent / "templates", Path(__file__).parent.parent / "templates"]
TASK = {
    "domain": "movies",
    "template": "list.j2",
    "tables": {
        "members": {"path": "members.parquet", "key": "member_id"},
        "items": {"path": "items.parquet", "key": "item_id"},
    },
    "ratings": {
        "path": "ratings.parquet",
        "member": "members",
        "item": "items",
        "time": "timestamp",
        "label": "if(rating >= 4, 'like', 'dislike')",
    },
    "history": {"last": 10},
    "questions": {
        "like": {
            "ask": "Will the member like this movie?",
            "answers": {
                "like": {"say": ["Yes"], "value": 1},
                "dislike": {"say": ["No"], "value": 0},
            },
        }
    },
}


def encoder_of(
    model: Path,
    template: str = "list.j2",
    folders: list[Path] = FOLDERS,
    cache_tokens: int = 4_000_000,
) -> Encoder:
    """A new encoder with a new tokenizer (which remembers words of its own)."""
    found = load_template(template, folders)
    task = Task.model_validate(TASK)
    return Encoder(task, found, open_tokenizer(model), max_tokens=2048, cache_tokens=cache_tokens)


def requests_of(folder: Path, count: int, candidates: int = 10) -> list[Request]:
    """Requests of as many ratings of a member in a row; those before them are the history."""
    rows = pq.read_table(folder / "items.parquet").to_pylist()
    items = {
        row["item_id"]: Item(row["item_id"], row, ("items", place))
        for place, row in enumerate(rows)
    }
    members = {r["member_id"]: r for r in pq.read_table(folder / "members.parquet").to_pylist()}
    rated: dict[str, list[Event]] = {}
    ratings = pq.read_table(folder / "ratings.parquet").sort_by("timestamp").to_pylist()
    for row in ratings:
        label = "like" if row["rating"] >= 4 else "dislike"
        event = Event(
            items[row["item_id"]], label, float(row["timestamp"]), outcomes={"like": label}
        )
        rated.setdefault(row["member_id"], []).append(event)
    found: list[Request] = []
    for member_id, events in rated.items():
        for start in range(20, len(events) - candidates + 1, candidates):
            place = len(found) * candidates
            shown = tuple(
                Candidate(e.item.item_id, e.item, {"km": (place + i) / 10})
                for i, e in enumerate(events[start : start + candidates])
            )
            subject = Subject(member_id, members[member_id])
            history = tuple(events[start - HISTORY : start])
            time_of = (events[start].time or 0.0) + 1
            found.append(Request(f"r{len(found)}", subject, shown, history, time_of))
            if len(found) == count:
                return found
    return found
