"""Neighbours: cosines by hand, a slow plain way of the same, and what is liked by whom."""

import math
import random

import pytest

from promptrank.baselines.baseline import Baseline
from promptrank.baselines.baseline_fit import fit_baselines
from promptrank.records import Event, Item, Request, Subject
from support.baselines import an_aim, candidate, event

AIM = an_aim()


def train(
    subject: str, split: str = "train", history: tuple[Event, ...] = (), /, **labels: int
) -> Request:
    rows = tuple(candidate(name, label) for name, label in labels.items())
    return Request(f"{subject}-{split}", Subject(subject), rows, history, split=split)


def asked(names: str, history: tuple[Event, ...] = (), source: str | None = None) -> Request:
    rows = tuple(candidate(name) for name in names)
    item = Item(source, {}) if source is not None else None
    return Request("asked", Subject("new", source=item), rows, history, split="test")


def fit(*requests: Request) -> Baseline:
    looking = asked("a", (event("a", 1),))  # else there would be nothing to be a neighbour of
    return fit_baselines([*requests, looking], AIM, ["neighbors"])["neighbors"]


def scores(baseline: Baseline, request: Request) -> list[float | None]:
    assert baseline.rank is not None, baseline.reason
    return list(baseline.rank(request).scores)


LIKES = (
    train("m1", a=1, b=1, c=0),
    train("m2", a=1, b=1),
    train("m3", a=1, c=1),
    train("m4", "valid", c=1),  # not of the training part
)


def test_by_hand() -> None:
    # a: m1 m2 m3, b: m1 m2, c: m3.
    baseline = fit(*LIKES)
    ab, ac = 2 / math.sqrt(3 * 2), 1 / math.sqrt(3)
    assert scores(baseline, asked("abcz", (event("a", 1),))) == pytest.approx([0, ab, ac, 0])
    # The mean over what was liked; b is not its own neighbour, and z, which nobody liked, counts.
    history = (event("a", 1), event("b", 1), event("c", 0), event("z", 1))
    assert scores(baseline, asked("abc", history)) == pytest.approx([ab / 3, ab / 3, ac / 3])
    assert baseline.facts == {"subjects": 3, "items": 3, "likes": 6}


def test_a_source_item_goes_before_a_history_and_nothing_liked_is_a_tie() -> None:
    baseline = fit(*LIKES)
    by_source = scores(baseline, asked("bc", (event("c", 1),), source="a"))
    assert by_source == scores(baseline, asked("bc", (event("a", 1),)))
    assert scores(baseline, asked("bc", (event("a", 0),))) == [0, 0]
    assert scores(baseline, asked("", (event("a", 1),))) == []


def test_likes_of_histories_count_once() -> None:
    one = train("m1", "train", (event("a", 1), event("b", 1), event("c", 0)), c=0)
    again = train("m1", "train", (event("a", 1),), b=1)
    baseline = fit(one, again)
    assert baseline.facts["likes"] == 2
    assert scores(baseline, asked("bc", (event("a", 1),))) == [1, 0]
    # A log of positives: an event without a label is one that was liked.
    log = fit(train("m1", "train", (event("a"), event("b"))))
    assert scores(log, asked("b", (event("a"),))) == [1]


def test_as_a_plain_way_computes_it() -> None:
    draw = random.Random(3)
    items = "abcdefgh"
    requests = [
        train(f"m{i}", **{n: draw.randrange(2) for n in draw.sample(items, 5)}) for i in range(12)
    ]
    liked = {
        name: {
            r.subject.subject_id
            for r in requests
            for c in r.candidates
            if c.item.item_id == name and c.outcomes["q"] == "1"
        }
        for name in items
    }
    baseline = fit(*requests)
    for _ in range(10):
        history = draw.sample(items, 3)
        expected = [
            sum(
                len(liked[h] & liked[c]) / math.sqrt(len(liked[h]) * len(liked[c]))
                for h in history
                if h != c and liked[h] and liked[c]
            )
            / len(history)
            for c in items
        ]
        events = tuple(event(name, 1) for name in history)
        assert scores(baseline, asked(items, events)) == pytest.approx(expected)


def test_reasons() -> None:
    alone = fit_baselines([train("m1", a=1)], AIM, ["neighbors"])["neighbors"]
    assert "source item or a history" in str(alone.reason)
    nobody = fit(train("m1", a=0))
    assert nobody.reason == "nobody liked anything in the training requests"
