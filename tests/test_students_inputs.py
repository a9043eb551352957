"""What students read of requests: columns and words."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from promptrank.records import Candidate, Event, Item, Request, Subject
from promptrank.students.column_plan import make_plan
from promptrank.students.features import Features
from promptrank.students.lessons import Learning
from promptrank.students.sequence import sasrec as sequence
from promptrank.students.sequence.inputs import BUCKETS, Inputs
from support.students import lessons, planted_task


def request(name: int, *items: Item, split: str = "train", **given: Any) -> Request:
    return Request(
        f"r{name}",
        Subject(member_id=str(name), member={"member_id": name, "age": 20 + name}),
        tuple(Candidate(str(i), item) for i, item in enumerate(items)),
        split=split,
        **given,
    )


def test_an_id_that_is_a_number_is_no_column() -> None:
    items = [Item(str(i), {"item_id": i, "price": i * i}, key=i) for i in range(6)]
    plan = make_plan(request(n, *items[n : n + 3]) for n in range(3))
    assert list(plan.numbers) == ["item.price", "member.age"]
    assert plan.skipped["item.item_id"] == plan.skipped["member.member_id"] == "it is the id"


def test_ids_of_one_name_are_not_compared() -> None:
    source = [Item(str(i), {"item_id": i, "price": i * i}) for i in range(6)]
    plan = make_plan(
        replace(request(n, *source[:3]), subject=Subject(source=source[n])) for n in range(6)
    )
    assert plan.alike == (("source.price", "item.price", "apart"),)


def inputs(requests: Iterable[Request], last: int = 5) -> Inputs:
    features = Features(make_plan(requests), planted_task())
    columns = len(features.names)
    return Inputs(features, np.zeros(columns), np.ones(columns), {}, last)


def bucket(word: str) -> int:
    return 1 + crc32(word.encode()) % (BUCKETS - 1)


def test_a_category_that_is_missing_or_new_is_no_word() -> None:
    def one(color: str | None, town: str | None) -> Request:
        made = request(0, Item("a", {"color": color}))
        return replace(made, subject=Subject(member_id="m", member={"town": town}))

    made = inputs([one("red", "Ulm"), one("blue", "Bonn")])
    assert bucket("color=red") in made.item(Item("a", {"color": "red"}))[0]
    assert made.item(Item("a", {"color": None})) == ([], 0)
    assert made.item(Item("a", {"color": "mauve"})) == ([bucket("mauve")], 0)
    assert bucket("member.town=Ulm") in made.subject(one("red", "Ulm"))
    assert made.subject(one("red", None)) == []
    assert made.subject(one("red", "Rom")) == [bucket("rom")]


def test_categories_come_first_and_other_words_by_their_hash() -> None:
    many = " ".join(f"w{i}" for i in range(100))
    made = inputs([request(0, Item("a", {"color": c, "text": many})) for c in ("red", "blue")])
    found, _ = made.item(Item("a", {"color": "red", "text": many}))
    assert found[0] == bucket("color=red")
    words = sorted([*many.split(), "red"], key=lambda w: crc32(w.encode()))
    assert found[1:] == [bucket(w) for w in words][:31]
    subject = Subject(
        member_id="m", member={"text": many}, query_id="q", query={"text": "zebra w1 Zebra"}
    )
    found = made.subject(replace(request(0), subject=subject))
    assert len(found) == 32 == len(set(found))
    assert set(found[:2]) == {bucket("zebra"), bucket("w1")}


def test_what_training_never_touched_is_zero() -> None:
    random = np.random.default_rng(0)

    def made(n: int, split: str, events: int) -> Request:
        items = [Item(f"{split}{n}-{i}", {"text": f"{split}{(n + i) % 9}"}) for i in range(10)]
        past = tuple(Event(items[i], time=float(i)) for i in range(events))
        return request(n, *items, split=split, history=past, time=100.0)

    train = [made(n, "train", n % 4) for n in range(12)]
    bare = [made(n, "bare", 4) for n in range(2)]
    bare = [replace(r, request_id=f"b{i}", split="train") for i, r in enumerate(bare)]
    valid = [replace(made(n, "valid", 5), request_id=f"v{n}") for n in range(3)]
    known = lessons([*train, *valid], random.random(150) < 0.4)
    given = [*known, *lessons(bare, None)]
    settings = Learning("labels", options={"epochs": 2, "last": 6})
    student = sequence.fit(planted_task(), lambda: given, settings, lambda _: None)
    table = student.network.weights["words.weight"]
    used = {bucket(f"train{i}") for i in range(9)}
    used |= {bucket(f"text=train{i}") for i in range(9)}
    assert used <= set(np.flatnonzero(table.any(1)).tolist())
    for word in ("valid1", "bare1", "unheard"):
        assert not table[bucket(word)].any()
    assert student.network.weights["place.weight"].any(1).tolist() == [True] * 3 + [False] * 3


def test_an_item_seen_once_is_noted_as_such() -> None:
    items = [Item(f"i{i}", {"text": f"w{i % 7}"}) for i in range(60)]
    requests = [request(n, *items[5 * n : 5 * n + 10]) for n in range(11)]
    given = lessons(requests, np.arange(110) % 3 == 0)
    settings = Learning("labels", options={"epochs": 1})
    student = sequence.fit(planted_task(), lambda: given, settings, lambda _: None)
    student.answers(requests[0])
    note = "an item seen less than twice in training, its words stand for it (5 times)"
    assert student.notes() == (note,)


@pytest.mark.parametrize("last", [0, 2])
def test_an_item_of_forgotten_events_has_no_row(last: int) -> None:
    old = Item("old", {"text": "old"})
    new = [Item(f"n{i}", {"text": "new"}) for i in range(3)]
    past = tuple(Event(i, time=float(t)) for t, i in enumerate([old, old, *new[:2]]))
    found = request(0, new[2], new[2], history=past, time=9.0)
    assert list(sequence._ids([found], last)) == ["n2"]
