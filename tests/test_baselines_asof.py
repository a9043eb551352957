"""Every baseline of the list is held to what it says of itself: as-of, or learned from ``train``.

Random logs are changed at and after a request's time, or outside of the training part, and the
request is scored again. Whoever adds a baseline is in these tests at once.
"""

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from promptrank.baselines.baseline import Sources
from promptrank.baselines.baseline_fit import BaselineFit
from promptrank.baselines.listing import BASELINES
from promptrank.baselines.recent_popularity import DAY
from promptrank.evaluation.seen import SeenInTraining
from promptrank.evaluation.slices import BY_SEEN, fit_slicings
from promptrank.ranking.values import RankValues, Values
from promptrank.records import Candidate, Item, Request, Subject
from support.baselines import an_aim, candidate, event

AIM = an_aim(["text"])
WORDS = ("star", "wars", "sea", "book", "history", "red", "running", "shoes", "comedy", "trail")
ITEMS = "abcdefghij"
SEEDS = range(3)
LEARNED = [name for name, listed in BASELINES.items() if not listed.as_of]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.models import make_sentences

    return make_sentences(tmp_path_factory.mktemp("sentences"))


def a_candidate(draw: random.Random, name: str, day: float) -> Candidate:
    return candidate(
        name,
        draw.randrange(2),
        fields={"text": " ".join(draw.choices(WORDS, k=3)), "size": draw.random()},
        baseline={
            "item_count": float(int(day) + draw.randrange(5)),
            "item_mean": draw.random(),
            "member_mean": draw.random(),
            "mean": 0.5,
        },
        logged_score=draw.random(),
    )


def a_request(draw: random.Random, name: str, day: float, split: str) -> Request:
    history = tuple(
        event(draw.choice(ITEMS), draw.randrange(2), day * DAY - 9 + i, text=draw.choice(WORDS))
        for i in range(4)
    )
    rows = tuple(a_candidate(draw, item, day) for item in draw.sample(ITEMS, 5))
    subject = Subject(f"m{draw.randrange(8)}", {"age": draw.randrange(20, 60)})
    return Request(name, subject, rows, history, day * DAY, split)


def a_log(seed: int) -> list[Request]:
    """Two hundred days; the parts lie among each other in time, as under a split by last."""
    draw = random.Random(seed)
    days = [draw.uniform(0, 200) for _ in range(60)]
    splits = draw.choices(("train", "valid", "test"), weights=(3, 1, 1), k=60)
    return [
        a_request(draw, f"r{i}", d, s) for i, (d, s) in enumerate(zip(days, splits, strict=True))
    ]


def another(draw: random.Random, request: Request) -> Request:
    """Something else that might have stood in its place."""
    other = a_request(draw, request.request_id, (request.time or 0) / DAY, request.split or "")
    return replace(other, time=request.time)


def relabelled(request: Request) -> Request:
    """The request with everything turned round that only its own future knows."""
    turned = {"0": "1", "1": "0"}
    rows = [replace(c, outcomes={"q": turned[c.outcomes["q"]]}) for c in request.candidates]
    return replace(request, candidates=tuple(rows))


def ranker(name: str, requests: Sequence[Request], model: Path) -> RankValues:
    fit = BaselineFit(AIM, [name])
    for request in requests:
        fit.add(request)
    sources = Sources(
        lambda: (r for r in requests if r.split == "train"), model=lambda name, baseline: model
    )
    baseline = fit.fit(sources)[name]
    assert baseline.rank is not None, f"{name}: {baseline.reason}"
    return baseline.rank


def numbers(values: Values) -> list[float]:
    return [math.nan if value is None else value for value in values.scores]


def scores(name: str, requests: Sequence[Request], asked: Request, model: Path) -> list[float]:
    return numbers(ranker(name, requests, model)(asked))


def a_test_request(requests: Iterable[Request]) -> Request:
    """One of the middle, so that there is much on both sides of it."""
    return min(
        (r for r in requests if r.split == "test"), key=lambda r: abs((r.time or 0) - 120 * DAY)
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [name for name, listed in BASELINES.items() if listed.as_of])
def test_nothing_at_or_after_a_request_s_time_changes_a_score(
    name: str, seed: int, model: Path
) -> None:
    requests, draw = a_log(seed), random.Random(seed + 100)
    asked = a_test_request(requests)
    time = asked.time or 0.0
    before = [r for r in requests if (r.time or 0) < time]
    after = [r for r in requests if (r.time or 0) >= time and r is not asked]
    kept = [another(draw, r) for r in after if draw.random() < 0.7]
    at_once = replace(a_request(draw, "at once", 0, "train"), time=time)
    fresh = [a_request(draw, f"new{i}", draw.uniform(time / DAY, 210), "train") for i in range(5)]
    changed = [*before, at_once, relabelled(asked), *kept, *fresh]
    draw.shuffle(changed)
    assert len(after) > 5
    same = scores(name, requests, asked, model)
    assert scores(name, changed, relabelled(asked), model) == pytest.approx(same, nan_ok=True)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", LEARNED)
def test_what_is_learned_comes_from_train_alone(name: str, seed: int, model: Path) -> None:
    requests, draw = a_log(seed), random.Random(seed + 100)
    asked = a_test_request(requests)
    others = [
        r if r.split == "train" or r is asked else another(draw, r)
        for r in requests
        if r.split == "train" or r is asked or draw.random() < 0.7
    ]
    changed = [relabelled(r) if r is asked else r for r in others]
    same = scores(name, requests, asked, model)
    assert scores(name, changed, relabelled(asked), model) == pytest.approx(same, nan_ok=True)
    # And it does learn: with another training part it says something else.
    taught = [another(draw, r) if r.split == "train" else r for r in requests]
    assert scores(name, taught, asked, model) != pytest.approx(same, nan_ok=True)


@pytest.mark.parametrize("name", BASELINES)
def test_a_score_is_the_candidate_s_own(name: str, model: Path) -> None:
    requests = a_log(0)
    asked = a_test_request(requests)
    rank = ranker(name, requests, model)
    whole = numbers(rank(asked))
    turned = replace(asked, candidates=asked.candidates[::-1])
    assert numbers(rank(turned))[::-1] == pytest.approx(whole, nan_ok=True)
    for one, score in zip(asked.candidates, whole, strict=True):
        alone = replace(asked, candidates=(one,))
        assert numbers(rank(alone)) == pytest.approx([score], nan_ok=True)
    # Of an item that comes with nothing, nobody need know anything; but nobody falls over it.
    bare = replace(asked, candidates=(Candidate("new", Item("new", {})),))
    assert len(numbers(rank(bare))) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_at_or_after_a_request_s_time_changes_its_slices(seed: int) -> None:
    """Under a split by time; what `tables` make of a request is in `test_data_asof`."""
    requests, draw = a_log(seed), random.Random(seed + 100)
    middle = sorted(r.time or 0 for r in requests)[40]
    parted = [replace(r, split="train" if (r.time or 0) < middle else "test") for r in requests]
    asked = a_test_request(parted)
    time = asked.time or 0.0
    after = [r for r in parted if (r.time or 0) >= time and r is not asked]
    kept = [another(draw, r) for r in after if draw.random() < 0.7]
    changed = [*(r for r in parted if (r.time or 0) < time), relabelled(asked), *kept]
    draw.shuffle(changed)
    codes = [slice_codes(log, parted, asked.request_id) for log in (parted, changed)]
    assert len(after) > 5
    assert codes[0] == codes[1]
    # And they do read what lay before.
    less = [r for r in parted if r.split == "train"][:2]
    assert slice_codes(less, parted, asked.request_id) != codes[0]


def slice_codes(log: Sequence[Request], measured: Sequence[Request], name: str) -> list[list[int]]:
    seen = SeenInTraining()
    for request in log:
        seen.add(request)
    (asked,) = (r for r in measured if r.request_id == name)
    slicings = fit_slicings([*BY_SEEN, "history", "item_events", "item.size > 0.5"], measured, seen)
    return [[s.code(asked, c) for c in asked.candidates] for s in slicings]


def test_recent_counts_do_read_what_lay_before(model: Path) -> None:
    """Else the first test would hold for a baseline that reads nothing."""
    requests = a_log(0)
    asked = a_test_request(requests)
    before = [r for r in requests if r is asked]
    name = "recent_popularity"
    assert scores(name, before, asked, model) != scores(name, requests, asked, model)
