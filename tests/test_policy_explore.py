"""Exploration: its propensities by enumeration, by simulation, and by what estimates recover."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from promptrank.basics.arrays import Floats
from promptrank.errors import DataError
from promptrank.evaluation.off_policy import off_policy
from promptrank.policy.drawn_orders import (
    FURTHEST,
    drawn,
    drawn_places,
    log_weights,
    shuffled_places,
    uniform,
)
from promptrank.ranking.ranking import Ranking
from promptrank.ranking.values import RankValues, Values
from promptrank.records import Request, Subject
from promptrank.requests.dicts import UNNAMED
from support.measured import scores_by
from support.policies import after, ids, policy, ranking_of


def enumerated(weights: Sequence[float], epsilon: float | None) -> Floats:
    """(candidates, places): every order with its probability, added up."""
    count = len(weights)
    places = np.zeros((count, count))
    for order in permutations(range(count)):
        if epsilon is not None:
            chance = epsilon / math.factorial(count)
            chance += (1 - epsilon) * (order == tuple(range(count)))
        else:
            chance, left = 1.0, list(weights)
            for c in order:
                chance *= weights[c] / sum(left)
                left.remove(weights[c])
        for place, c in enumerate(order):
            places[c, place] += chance
    return places


@pytest.mark.parametrize("epsilon", [0.3, 1.0])
def test_a_shuffle_is_what_all_its_orders_come_to(epsilon: float) -> None:
    assert shuffled_places(4, epsilon) == pytest.approx(enumerated([1] * 4, epsilon))


@pytest.mark.parametrize("scores", [[0.0], [2.0, 1.0], [0.9, 0.5, 0.5, 0.1, -3.0]])
def test_a_draw_is_what_all_its_orders_come_to(scores: list[float]) -> None:
    logs = log_weights(scores, 0.7)
    places = drawn_places(logs)
    assert places == pytest.approx(enumerated(np.exp(logs).tolist(), None), rel=1e-12)
    assert places.sum(axis=0) == pytest.approx(1) and places.sum(axis=1) == pytest.approx(1)


def test_propensities_are_exact_where_weights_lie_far_apart() -> None:
    # The two least likely orders of three, by hand; differences of sums would lose these digits.
    logs = log_weights([100.0, 0.0, -1e9], 1.0)
    assert logs.tolist() == [0.0, -FURTHEST, -FURTHEST]
    small = math.exp(-FURTHEST)
    places = drawn_places(logs)
    first = small / (1 + 2 * small)
    assert places[1, 0] == pytest.approx(first, rel=1e-12)
    assert places[0, 2] == pytest.approx(2 * first * small / (1 + small), rel=1e-12)
    assert (drawn_places(log_weights([float(i * 9) for i in range(10)], 1.0)) > 0).all()


def explored(count: int, step: dict[str, object], scores: Sequence[float]) -> list[Ranking]:
    """The same list under many request ids."""
    start = ranking_of([{"pinned": i == 1} for i in range(len(scores))], scores)
    pins = [{"pin": {"where": "item.pinned", "place": 2}}] if step.pop("pinned", False) else []
    *before, explore = policy(*pins, {"explore": step})
    for run in before:
        start = run(start)
    return [explore(replace(start, request_id=f"r{n}")) for n in range(count)]


@pytest.mark.long
@pytest.mark.parametrize(
    "step",
    [
        {"first": 3, "epsilon": 0.6},
        {"first": 4, "temperature": 1.5},
        {"first": 4, "temperature": 1.5, "pinned": True},
    ],
)
def test_frequencies_are_propensities(step: dict[str, object]) -> None:
    draws = 1000
    rankings = explored(draws, dict(step), [2.0, 1.5, 1.0, 0.5, 0.0])
    seen = Counter((s.candidate_id, s.rank, s.propensity) for r in rankings for s in r.scored)
    told: dict[tuple[str, int], float] = {}
    for (candidate, place, chance), count in seen.items():
        assert chance is not None and told.setdefault((candidate, place), chance) == chance
        deviation = math.sqrt(chance * (1 - chance) / draws)
        assert abs(count / draws - chance) <= 4 * deviation + 1e-12, (candidate, place)
    for place in range(1, 6):  # a place that was never drawn has a probability that is small
        assert sum(p for (_, at), p in told.items() if at == place) == pytest.approx(1, abs=0.02)
    assert told["c4", 5] == 1.0
    if "pinned" in step:
        assert told["c1", 2] == 1.0


def test_a_draw_hangs_on_the_request_and_the_salt_alone() -> None:
    first, again = (explored(40, {"first": 4, "epsilon": 1.0}, [4, 3, 2, 1]) for _ in range(2))
    assert [ids(r) for r in first] == [ids(r) for r in again]
    salted = explored(40, {"first": 4, "epsilon": 1.0, "salt": "x"}, [4, 3, 2, 1])
    assert [ids(r) for r in first] != [ids(r) for r in salted]
    assert ids(first[0]) == "c3 c0 c1 c2"  # on every machine, in every version
    assert uniform("a", "b") == 0.20832554824472732
    # No two parts of a seed run into each other.
    assert uniform("a", "bc") != uniform("ab", "c")


def test_what_a_draw_tells() -> None:
    many = explored(9, {"first": 3, "epsilon": 1.0}, [4, 3, 2, 1])
    made, moved = next((r, s) for r in many for s in r.scored if s.changes)
    assert moved.changes[0].step == "explore"
    assert moved.changes[0].why == f"drawn to place {moved.rank} with probability 0.3333"
    assert [s.propensity for s in made.scored] == pytest.approx([1 / 3] * 3 + [1])
    # What a filter took out was never shown.
    steps: list[dict[str, Any]] = [
        {"filter": {"drop": "context.at == 0"}},
        {"explore": {"first": 9, "epsilon": 0.5}},
    ]
    less = after(ranking_of([{}] * 3), *steps)
    assert less.removed[0].propensity is None
    assert sorted(s.propensity or 0 for s in less.scored) in ([0.25, 0.25], [0.75, 0.75])
    assert after(ranking_of([]), *steps).scored == ()
    with pytest.raises(DataError, match="request_id: missing, and the task explores"):
        after(ranking_of([{}] * 3, name=UNNAMED), *steps)


@pytest.mark.long
@pytest.mark.parametrize(
    "step", [{"first": 4, "epsilon": 0.5}, {"first": 4, "temperature": 2.0}], ids=str
)
def test_estimates_recover_a_planted_truth(step: dict[str, object]) -> None:
    """What each candidate earns at each place is planted; the log is drawn, and asked for others.

    Nothing but the draw is left to chance, so an estimate is off by propensities or by nothing.
    """
    worth = {f"c{i}": w for i, w in enumerate((0.2, 0.9, 0.4, 0.7))}
    look = (1.0, 0.6, 0.3, 0.1)
    requests, orders = list[Request](), {"best": worth, "worst": {c: -w for c, w in worth.items()}}
    for ranking in explored(500, dict(step), [3.0, 2.0, 1.0, 0.0]):
        at = {s.candidate_id: s for s in ranking.scored}
        candidates = tuple(
            replace(
                c,
                position=at[c.candidate_id].rank,
                propensity=at[c.candidate_id].propensity,
                outcomes={"q": str(worth[c.candidate_id] * look[at[c.candidate_id].rank - 1])},
            )
            for c in ranking.request.candidates
        )
        name = ranking.request_id
        requests.append(Request(name, Subject(name), candidates))

    def ordered(by: dict[str, float]) -> RankValues:
        return lambda request: Values([by[c.candidate_id] for c in request.candidates])

    scores = scores_by(requests, {name: ordered(by) for name, by in orders.items()})
    report = off_policy(requests, scores, lambda c: float(c.outcomes["q"]), draws=100)
    assert report is not None and not isinstance(report, str)
    for row in report.rankers:
        order = sorted(worth, key=lambda c: -orders[row.name][c])
        truth = sum(worth[c] * seen for c, seen in zip(order, look, strict=True))
        for made in (row.ips, row.snips):
            assert made is not None and made.low is not None and made.high is not None
            assert made.value == pytest.approx(truth, abs=made.high - made.low)
        low, high = row.mean_weight.low, row.mean_weight.high
        assert low is not None and high is not None
        assert row.mean_weight.value == pytest.approx(1, abs=high - low)
    assert not [note for note in report.notes if "should average 1" in note]


def test_drawing_one_after_another_is_an_exponential_race() -> None:
    logs = log_weights([1.0, 0.0], 1.0)
    tops = sum(drawn(["a", "b"], logs, ("", f"r{n}"))[0] == "a" for n in range(1000)) / 1000
    assert tops == pytest.approx(math.e / (1 + math.e), abs=4 * math.sqrt(0.2 / 1000))
