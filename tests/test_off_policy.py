"""Off-policy estimates: by hand, by loops, and against a marketplace whose truth is known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptrank
from promptrank.errors import DataError, InputError
from promptrank.evaluation.bootstrap import subject_draws
from promptrank.evaluation.logged_places import LoggedPlaces
from promptrank.evaluation.off_policy import Policy, estimate, greedy, off_policy
from promptrank.evaluation.off_policy_rows import Amount
from promptrank.evaluation.off_policy_text import off_policy_lines
from promptrank.evaluation.report_facts import facts
from promptrank.evaluation.reward_model import Predicted, expected_rewards
from promptrank.ranking.values import Values
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.simulation.switches import Switches
from support.logged_market import Market
from support.measured import scores_by


def gain_of(candidate: Candidate) -> float | None:
    return float(candidate.outcomes["q"]) if "q" in candidate.outcomes else None


def shown(
    name: str, position: int | None, propensity: float | None, label: str | None, score: float = 0.0
) -> Candidate:
    return Candidate(
        name,
        Item(name, {}),
        context={"score": score},
        position=position,
        propensity=propensity,
        outcomes={} if label is None else {"q": label},
    )


def request(name: str, *candidates: Candidate, meta: dict[str, Any] | None = None) -> Request:
    return Request(name, Subject(f"m-{name}"), candidates, meta=meta or {})


def by_score(requests: list[Request]) -> dict[str, Any]:
    return scores_by(
        requests, {"r": lambda r: Values([float(c.context["score"]) for c in r.candidates])}
    )


def test_one_of_many_was_shown_by_hand() -> None:
    # Four requests of three candidates, of which one was shown, with the chance of that choice.
    requests = [
        request("a", shown("x", 1, 0.5, "1", 9.0), shown("y", None, None, None, 1.0)),
        request("b", shown("x", 1, 0.25, "0", 9.0), shown("y", None, None, None, 1.0)),
        request("c", shown("x", 1, 0.5, "1", 1.0), shown("y", None, None, None, 9.0)),
        request("d", shown("x", None, 0.4, "1", 5.0), shown("y", None, None, None, 5.0)),
    ]
    found = off_policy(requests, by_score(requests), gain_of, draws=200)
    assert not isinstance(found, str | None)
    row = found.ranker("r")
    # Weights 1/.5, 1/.25, 0 (y was first), and half a chance in the tie: .5/.4.
    assert found.logged.value == pytest.approx(3 / 4)
    assert row.ips.value == pytest.approx((2 * 1 + 4 * 0 + 0 + 1.25 * 1) / 4)
    assert row.snips is not None
    assert row.snips.value == pytest.approx(3.25 / 7.25)
    assert row.mean_weight.value == pytest.approx(7.25 / 4)
    assert row.effective == pytest.approx(7.25**2 / (4 + 16 + 1.25**2))
    assert (row.matched, row.largest_weight, row.clipped) == (3, 4.0, 0)
    assert (found.requests, found.places, found.subjects, found.left_out) == (4, 4, 4, 0)
    clipped = off_policy(requests, by_score(requests), gain_of, draws=0, clip=2.0)
    assert not isinstance(clipped, str | None)
    row = clipped.ranker("r")
    assert (row.clipped, row.largest_weight, row.ips.low) == (1, 4.0, None)
    assert row.effective == pytest.approx(5.25**2 / (4 + 4 + 1.25**2))
    assert "1 clipped at 2" in "\n".join(off_policy_lines(clipped))


def test_a_whole_list_was_shown_by_hand() -> None:
    # The ranker turns the list of two around: each stands where it was with chance .2 only.
    requests = [
        request("a", shown("x", 1, 0.8, "1", 1.0), shown("y", 2, 0.8, "0", 2.0)),
        request("b", shown("x", 2, 0.2, "1", 1.0), shown("y", 1, 0.2, "1", 2.0)),
    ]
    found = off_policy(requests, by_score(requests), gain_of, draws=0)
    assert not isinstance(found, str | None)
    row = found.ranker("r")
    assert found.logged.value == pytest.approx(3 / 2)
    assert row.ips.value == pytest.approx((0 + 0 + 5 + 5) / 2)
    assert row.snips is not None
    assert row.snips.value == pytest.approx(10 / 10 * 4 / 2)  # per place, times places a request
    assert row.effective == pytest.approx(2.0)


def random_places(generator: np.random.Generator, requests: int = 40) -> LoggedPlaces:
    """Lists of 3 to 6 candidates, the first two or three places logged; ten subjects."""
    sizes = generator.integers(3, 7, requests)
    first = np.cumsum(sizes) - sizes
    row: list[int] = []
    position: list[int] = []
    for start, size in zip(first, sizes, strict=True):
        count = int(generator.integers(2, 4))
        row += (start + generator.permutation(size)[:count]).tolist()
        position += range(1, count + 1)
    return LoggedPlaces(
        np.repeat(np.arange(requests), sizes),
        np.arange(requests) % 10,
        [f"s{i}" for i in range(10)],
        np.array(row),
        np.array(position),
        generator.uniform(0.05, 1.0, len(row)),
        generator.normal(size=len(row)),
    )


def test_the_same_as_loops() -> None:
    """All three estimates written as their sums, over every candidate of every logged place."""
    generator = np.random.default_rng(7)
    places = random_places(generator)
    scores = generator.integers(0, 3, len(places.request)).astype(np.float64)  # many ties
    predicted = Predicted(
        generator.normal(size=len(scores)), generator.normal(size=len(places.row))
    )
    row = estimate(places, {"r": greedy(places, scores, predicted)}, predicted, draws=0).ranker("r")
    ips = weights = robust = 0.0
    for j, (at, k) in enumerate(zip(places.row, places.position, strict=True)):
        mine = np.flatnonzero(places.request == places.request[at])
        chance = {}
        for c in mine:
            above = (scores[mine] > scores[c]).sum()
            equal = (scores[mine] == scores[c]).sum()
            chance[c] = 1 / equal if above < k <= above + equal else 0.0
        assert sum(chance.values()) == pytest.approx(1.0)
        w = chance[at] / places.propensity[j]
        ips += w * places.reward[j]
        weights += w
        direct = sum(chance[c] * (predicted.candidate[c] + predicted.place[j]) for c in mine)
        expected = predicted.candidate[at] + predicted.place[j]
        robust += direct + w * (places.reward[j] - expected)
    assert row.snips is not None
    assert row.dr is not None
    assert row.ips.value == pytest.approx(ips / 40)
    assert row.snips.value == pytest.approx(ips / weights * len(places.row) / 40)
    assert row.dr.value == pytest.approx(robust / 40)


def test_the_policy_of_the_log_itself_earns_what_the_log_did() -> None:
    places = random_places(np.random.default_rng(1))
    found = estimate(places, {"itself": Policy(places.propensity)}, draws=300)
    row = found.ranker("itself")
    assert row.snips is not None
    assert row.lift is not None
    for amount in (row.ips, row.snips):
        assert (amount.value, amount.low, amount.high) == pytest.approx(
            (found.logged.value, found.logged.low, found.logged.high)
        )
    assert row.effective == pytest.approx(len(places.row))
    assert (row.lift.value, row.lift.low) == pytest.approx((0.0, 0.0), abs=1e-12)


def lone_place(candidates: int, position: int = 1) -> LoggedPlaces:
    """One request with one logged place, that of the first candidate."""
    zero, one = np.zeros(1, dtype=np.int64), np.ones(1)
    request = np.zeros(candidates, dtype=np.int64)
    return LoggedPlaces(request, zero, ["s"], zero, np.array([position]), one, one)


def test_a_place_beyond_the_candidates_stays_empty() -> None:
    places = lone_place(2, position=3)
    predicted = Predicted(np.ones(2), np.ones(1))
    policy = greedy(places, np.array([2.0, 1.0]), predicted)
    assert policy.expected is not None
    assert (policy.chance.tolist(), policy.expected.tolist()) == ([0.0], [0.0])
    row = estimate(places, {"r": policy}, predicted).ranker("r")
    assert (row.snips, row.effective, row.ips.value) == (None, 0.0, 0.0)


def test_a_reward_model_never_saw_the_subject_it_speaks_of() -> None:
    places = random_places(np.random.default_rng(3))
    features = np.random.default_rng(4).normal(size=(len(places.request), 2))
    before = expected_rewards(features, places)
    mine = places.place_subject == 4
    after = expected_rewards(features, replace(places, reward=places.reward + 100 * mine))
    assert before is not None
    assert after is not None
    own = places.subject[places.request] == 4
    assert np.array_equal(before.candidate[own], after.candidate[own])
    assert np.array_equal(before.place[mine], after.place[mine])
    assert not np.allclose(before.candidate[~own], after.candidate[~own])
    alone = replace(places, subject=places.subject * 0, subject_ids=["s"])
    assert expected_rewards(features, alone) is None


def ends(amount: Amount | None) -> tuple[float, float]:
    """The interval, which is there."""
    assert amount is not None
    assert amount.low is not None
    assert amount.high is not None
    return amount.low, amount.high


def test_the_marketplace_earns_what_the_estimates_say() -> None:
    market = Market(Switches(members=300, seed=5, position_bias=0.6))
    log, places = market.log, market.places
    features = np.column_stack([log.pairs.known, log.logged])
    predicted = expected_rewards(features, places)
    policies = {n: greedy(places, s, predicted) for n, s in market.rankers.items()}
    found = estimate(places, policies, predicted, draws=300)
    low, high = ends(found.logged)
    assert low < market.earned(log.place) < high
    truth = {name: market.earned(market.order(scores)) for name, scores in market.rankers.items()}
    assert truth["worst"] + 0.15 < truth["logged"] < truth["text"] - 0.15
    for name, value in truth.items():
        row = found.ranker(name)
        for amount in (row.ips, row.snips, row.dr):
            low, high = ends(amount)
            # Nine intervals of 95% do not all hold their truth: each half as wide again.
            spare = (high - low) / 4
            assert low - spare < value < high + spare, (name, amount, value)
        (low, high), (wide_low, wide_high) = ends(row.dr), ends(row.ips)
        assert high - low < wide_high - wide_low  # the model makes it narrower
    assert ends(found.ranker("text").lift)[0] > 0
    assert not found.notes
    # Lifts are one family: beside others an interval is wider than alone, on both sides alike.
    alone = estimate(places, {"text": policies["text"]}, predicted, draws=300).ranker("text")
    (low, high), (wide_low, wide_high) = ends(alone.lift), ends(found.ranker("text").lift)
    assert low - wide_low == pytest.approx(wide_high - high)
    assert low - wide_low > 0.02 * (high - low)
    assert ends(alone.dr) == ends(found.ranker("text").dr)
    # Propensities that are not those of the log are noticed, without a label.
    wrong = replace(places, propensity=np.full(len(log.place), 0.125))
    told = estimate(wrong, {"logged": greedy(wrong, log.logged)}, draws=100).notes
    assert "weights should average 1" in told[0]


def test_a_ranker_that_scored_what_was_shown_alone_takes_no_requests_from_others() -> None:
    requests = [
        request(str(i), shown("x", 1, 0.5, "1", 2.0), shown("y", None, None, None, 1.0))
        for i in range(8)
    ]
    scores = by_score(requests)
    logged = {"logged": lambda r: Values([1.0, None])}
    both = off_policy(requests, {**scores, **scores_by(requests, logged)}, gain_of, draws=0)
    assert not isinstance(both, str | None)
    assert (both.requests, [row.name for row in both.rankers]) == (8, ["r"])
    assert "logged left out" in both.notes[-1]


def test_intervals_of_few_subjects_are_as_wide_as_everywhere() -> None:
    requests = [
        request(str(i), shown("x", 1, 0.5, str(i % 2), 2.0), shown("y", None, None, None, 1.0))
        for i in range(6)
    ]
    found = off_policy(requests, by_score(requests), gain_of, draws=1000)
    assert not isinstance(found, str | None)
    draws = np.concatenate([*subject_draws(6, 1000, 0)])
    plain = draws @ np.array([0.0, 2.0] * 3) / 6
    low, high = np.quantile(plain, [0.025, 0.975])
    amount = found.ranker("r").ips
    assert amount.low is not None and amount.high is not None
    assert amount.high - amount.low > 1.1 * (high - low)


def test_what_cannot_be_estimated() -> None:
    silent = [request("a", shown("x", 1, None, "1"))]
    assert off_policy(silent, by_score(silent), gain_of) is None
    unlabelled = [request("a", shown("x", 1, 0.5, None))]
    assert "with a label" in str(off_policy(unlabelled, by_score(unlabelled), gain_of))
    added = [request("a", shown("x", 1, 0.5, "1"), meta={"negatives": {"sampler": "uniform"}})]
    assert "sampled negatives" in str(off_policy(added, by_score(added), gain_of))
    kept = request("k", shown("x", 1, 0.5, "1"), shown("y", 2, 0.5, "0"))
    lost = [
        request("a", shown("x", None, 0.5, "1"), shown("y", None, 0.5, "0")),  # where?
        request("b", shown("x", 2, 0.5, "1"), shown("y", 2, 0.5, "0")),  # twice there
        request("c", shown("x", 0, 0.5, "1"), shown("y", 1, 0.5, "0")),  # above the top
        request("d", shown("x", 1, 0.5, "1"), meta={"partial": True}),
        request("e", shown("x", 1, 0.5, "1", float("nan")), shown("y", 2, 0.5, "1")),
    ]
    found = off_policy([kept, *lost], by_score([kept, *lost]), gain_of)
    assert not isinstance(found, str | None)
    assert (found.requests, found.places, found.left_out) == (1, 2, 5)
    row = found.ranker("r")
    assert (row.dr, row.ips.low) == (None, None)  # one subject
    assert "5 requests left out" in "\n".join(off_policy_lines(found))
    with pytest.raises(DataError, match="propensity is not above 0"):
        replace(lone_place(1), propensity=np.array([0.0]))
    with pytest.raises(DataError, match="the top is 1"):
        lone_place(1, position=0)


@pytest.mark.slow
def test_eval_says_what_each_ranker_would_earn(tmp_path: Path) -> None:
    promptrank.simulate_jobs(tmp_path / "data/jobs", Switches(members=60))
    given: dict[str, Any] = {"project": tmp_path, "engine": "fake", "draws": 100}
    report = promptrank.evaluate("jobs/apply", out=tmp_path / "r.json", **given)
    earned = report.off_policy
    assert earned is not None
    assert [row.name for row in earned.rankers] == [row.name for row in report.rankers]
    # All orders alike is what shuffled lists are: every weight is known.
    weights = {round(1 / 8 / p, 4) for p in (0.7375, 0.0375)}
    assert round(earned.ranker("random").largest_weight, 4) in weights
    assert earned.ranker("random").matched == earned.places
    kept = json.loads((tmp_path / "r.json").read_text())["off_policy"]
    assert kept["rankers"][0]["dr"]["value"] == earned.rankers[0].dr.value  # type: ignore[union-attr]
    shown = "\n".join(facts(report))
    assert "the log itself earned" in shown
    assert "  decoder would earn " in shown
    assert " by dr: " in shown
    assert f"intervals above the log are corrected for {len(earned.rankers)} rankers" in shown
    assert max(map(len, off_policy_lines(earned))) <= 120
    clipped = promptrank.evaluate("jobs/apply", clip=5, **given).off_policy
    assert clipped is not None
    assert clipped.rankers[0].clipped > 0
    with pytest.raises(InputError, match="--clip 0: give a weight above 0"):
        promptrank.evaluate("jobs/apply", clip=0, **given)


def test_a_log_of_which_every_request_lost_a_candidate_says_why() -> None:
    lost = [request(name, shown("x", 1, 0.5, "1"), meta={"partial": True}) for name in "ab"]
    found = off_policy(lost, by_score(lost), gain_of)
    assert isinstance(found, str)
    assert "of 2 requests with logged places none can be used: a candidate was lost" in found
