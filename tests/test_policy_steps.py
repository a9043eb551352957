"""Policy steps: each by hand, and what holds whatever the ranking and the policy."""

import math
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import TaskError
from promptrank.policy.diversify import MOST_WORDS, vectors_of
from promptrank.policy.offline import place_scores
from promptrank.ranking.ranker import Ranker
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.runs.manifest import task_config
from promptrank.schema.load import parse_task
from promptrank.schema.policy_steps import STAGES
from promptrank.serve.hosted import HostedTask
from promptrank.serve.shape import Done
from promptrank.serve.shapes.documents import hits, unscored
from support.data import make_task
from support.policies import after, ids, policy, ranking_of

BRANDS = [{"brand": b, "stock": s} for b, s in zip("aabacb", (3, 0, 1, 2, 0, 5), strict=True)]


def brands() -> Ranking:
    return ranking_of(BRANDS)


def whys(ranking: Ranking) -> dict[str, list[str]]:
    every = (*ranking.scored, *ranking.removed)
    return {s.candidate_id: [c.why for c in s.changes] for s in every if s.changes}


def test_filter_keeps_what_holds_and_tells_of_the_rest() -> None:
    made = after(brands(), {"filter": {"keep": "item.stock > 0"}})
    assert ids(made) == "c0 c2 c3 c5"
    assert [s.rank for s in made.scored] == [1, 2, 3, 4]
    assert [s.candidate_id for s in made.removed] == ["c1", "c4"]
    assert [s.rank for s in made.removed] == [2, 5]
    assert made.removed[0].changes[-1].step == "filter"
    assert made.removed[0].changes[-1].why == "taken out: item.stock > 0 does not hold"
    assert not made.partial and not made.errors
    assert "c0" not in whys(made)  # nothing became of it
    assert whys(made)["c5"] == ["2 places up, as others moved"]


def test_filter_drops_what_holds_and_not_what_has_no_value() -> None:
    rows = [{"age": 18}, {}, {"age": 3}]
    assert ids(after(ranking_of(rows), {"filter": {"drop": "item.age >= 18"}})) == "c1 c2"
    assert ids(after(ranking_of(rows), {"filter": {"keep": "item.age >= 18"}})) == "c0"
    # The word "no" is no truth value: it would be true.
    words: list[dict[str, Any]] = [{"banned": "no"}, {"banned": True}, {"banned": 1}]
    assert ids(after(ranking_of(words), {"filter": {"drop": "item.banned"}})) == "c0"


def test_candidates_that_are_alike_are_asked_about_once_and_others_each() -> None:
    rows: list[dict[str, Any]] = [{"x": 1}, {"x": True}, {"x": 1.0}, {"x": [1]}, {"x": [1]}, {}]
    (step,) = policy({"filter": {"keep": "item.x is true or item.x == [1]"}})
    assert ids(step(ranking_of(rows))) == "c1 c3 c4"
    # What an expression reaches in other ways is looked at as well.
    assert ids(after(ranking_of(rows), {"filter": {"keep": "item['x'] is true"}})) == "c1"
    both = {"filter": {"keep": "item.x == 1 and item['y'] == 2"}}
    assert ids(after(ranking_of([{"x": 1, "y": 2}, {"x": 1, "y": 3}]), both)) == "c0"


def test_boost_changes_scores_and_leaves_probabilities() -> None:
    made = after(brands(), {"boost": {"where": "item.brand == 'b'", "add": 1.5}})
    # Scores 0 -1 -2 -3 -4 -5; c2 and c5 gain 1.5: -0.5 and -3.5.
    assert ids(made) == "c0 c2 c1 c3 c5 c4"
    assert [s.score for s in made.scored] == [0, -0.5, -1, -3, -3.5, -4]
    boosted = made.scored[1]
    assert (boosted.method_score, boosted.probability) == (-2.0, 0.5)
    assert (boosted.changes[0].score, boosted.changes[0].rank) == (-2.0, 3)
    assert boosted.changes[0].why == "score +1.5: item.brand == 'b'"
    by = {"where": "context.at == 2", "multiply": 4}
    assert ids(after(ranking_of(BRANDS[:3], [3.0, 2.0, 1.0]), {"boost": by})) == "c2 c0 c1"


def test_cap_in_the_first_places_puts_the_rest_below() -> None:
    made = after(brands(), {"cap": {"by": "item.brand", "most": 1, "first": 3}})
    # a a b a c b: one a, one b, one c, and then what is left in its order.
    assert ids(made) == "c0 c2 c4 c1 c3 c5"
    assert whys(made)["c1"] == ["down: more than 1 of one item.brand in the first 3"]
    assert whys(made)["c4"] == ["2 places up, as others moved"]
    # Four places and three brands: nothing else is left, so the best of the rest fills the fourth.
    four = after(brands(), {"cap": {"by": "item.brand", "most": 1, "first": 4}})
    assert ids(four) == "c0 c2 c4 c1 c3 c5"


def test_cap_of_the_whole_list_takes_out() -> None:
    made = after(brands(), {"cap": {"by": "item.brand", "most": 1}})
    assert ids(made) == "c0 c2 c4"
    assert [s.candidate_id for s in made.removed] == ["c1", "c3", "c5"]
    assert whys(made)["c5"] == ["taken out: more than 1 of one item.brand"]
    # Each value of a list counts; what has no value is not capped.
    rows: list[dict[str, Any]] = [{"g": ["x", "y"]}, {"g": ["y"]}, {}, {"g": []}, {"g": ["z"]}]
    assert ids(after(ranking_of(rows), {"cap": {"by": "item.g", "most": 1}})) == "c0 c2 c3 c4"


def test_a_cap_goes_on_holding_under_the_next_one() -> None:
    rows = [
        {"brand": "a", "shop": "s"},
        {"brand": "b", "shop": "s"},
        {"brand": "a", "shop": "t"},
        {"brand": "c", "shop": "t"},
    ]
    caps = [{"cap": {"by": f"item.{by}", "most": 1, "first": 2}} for by in ("brand", "shop")]
    # By brand: a b | a c. By shop, c1 and (for its brand) c2 cannot stand second.
    assert ids(after(ranking_of(rows), caps[0])) == "c0 c1 c2 c3"
    assert ids(after(ranking_of(rows), *caps)) == "c0 c3 c1 c2"


def test_pins_stand_where_they_are_put() -> None:
    made = after(brands(), {"pin": {"where": "item.brand == 'b'", "place": 1}})
    assert ids(made) == "c2 c5 c0 c1 c3 c4"
    assert whys(made)["c2"] == ["pinned to place 1: item.brand == 'b'"]
    one = after(brands(), {"pin": {"where": "item.brand == 'b'", "place": 2, "most": 1}})
    assert ids(one) == "c0 c2 c1 c3 c4 c5"
    # Where it stands already it is told of all the same, and stays there.
    two = after(
        brands(),
        {"pin": {"where": "context.at == 0", "place": 1}},
        {"pin": {"where": "context.at >= 4", "place": 1}},
    )
    assert ids(two) == "c0 c4 c5 c1 c2 c3"
    assert whys(two)["c0"] == ["pinned to place 1: context.at == 0"]
    assert ids(after(brands(), {"pin": {"where": "context.at == 0", "place": 99}})).endswith(" c0")


def test_diversify_by_words_by_hand() -> None:
    # Scores between 0 and 1: 1, .9, .8, 0. MMR at one half: after the first Drama the second one
    # has .45 - .5 and the comedy .4 - 0; then of the two left Drama -.05 and Crime 0 - 0.
    rows = [{"genre": g} for g in ("Drama", "Drama", "Comedy", "Crime")]
    scores = [10.0, 9.0, 8.0, 0.0]
    made = after(ranking_of(rows, scores), {"diversify": {"by": "item.genre"}})
    assert ids(made) == "c0 c2 c3 c1"
    assert [s.score for s in made.scored] == [10, 8, 0, 9]
    assert whys(made)["c2"] == ["place 2 by mmr over item.genre"]
    two = after(ranking_of(rows, scores), {"diversify": {"by": "item.genre", "first": 2}})
    assert ids(two) == "c0 c2 c1 c3"
    none = after(ranking_of(rows, scores), {"diversify": {"by": "item.genre", "diversity": 0}})
    assert ids(none) == "c0 c1 c2 c3"


@pytest.mark.parametrize("strategy", ["mmr", "msd", "dpp", "ssd"])
def test_diversify_by_embeddings_sees_near_copies(strategy: str) -> None:
    vectors = [[1.0, 0.0], [0.999, 0.01], [0.0, 1.0]]
    ranking = ranking_of([{"v": v} for v in vectors], [1.0, 0.99, 0.9])
    step = {"diversify": {"by": "item.v", "strategy": strategy, "diversity": 0.8}}
    assert ids(after(ranking, step)) == "c0 c2 c1"


def test_what_vectors_are_made_of() -> None:
    assert vectors_of([None, None], None) is None
    root = math.sqrt(0.5)
    words = vectors_of(["Crime, Drama", "Drama", None], ",")
    assert words is not None and np.allclose(words, [[root, root], [0.0, 1.0], [0.0, 0.0]])
    numbers = vectors_of([[3.0, 4.0], None, [0, 0]], None)
    assert numbers is not None and np.allclose(numbers, [[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]])
    mixed = vectors_of([[3.0, 4.0], [1.0], math.nan], None)  # three words
    assert mixed is not None and mixed.shape == (3, 3)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ([{"filter": {}}], "steps.0.filter: give exactly one of keep and drop"),
        ([{}], "steps.0: give exactly one of filter, boost"),
        ([{"cap": {"by": "item.x", "mots": 1}}], "steps.0.cap.mots: unknown key; did you mean 'mo"),
        (
            [{"pin": {"where": "item.x"}}, {"filter": {"keep": "item.x"}}],
            "steps.1.filter: stands after pin, and would undo",
        ),
        (
            [{"explore": {"first": 3, "epsilon": 0.1}}, {"pin": {"where": "item.x"}}],
            "steps.1.pin: stands after explore",
        ),
        (
            [{"explore": {"first": 3, "epsilon": 0.1}}] * 2,
            "steps.1.explore: propensities are those of one draw",
        ),
        (
            [
                {"cap": {"by": "item.x", "most": 1, "first": 3}},
                {"explore": {"first": 5, "epsilon": 0.1}},
            ],
            "steps.1.explore.first: moves what steps.0.cap put below the first 3 places",
        ),
        ([{"explore": {"first": 11, "temperature": 1}}], "propensities are exact up to 10"),
        ([{"explore": {"first": 4}}], "give exactly one of epsilon and temperature"),
    ],
)
def test_what_a_task_may_not_say(steps: list[dict[str, Any]], problem: str) -> None:
    with pytest.raises(TaskError) as refused:
        parse_task({**task_config(make_task()), "steps": steps}, "task.yaml")
    assert problem in str(refused.value)


def test_a_factor_needs_scores_that_are_never_below_0() -> None:
    answers = {"y": {"say": "Yes", "value": 1}, "n": {"say": "No", "value": 0}}
    steps = [{"boost": {"where": "item.x", "multiply": 2}}]
    make_task(steps=steps, questions={"like": {"ask": "?", "answers": answers}})
    logs = {"like": {"ask": "?", "answers": answers, "score": "log_odds"}}
    given = {**task_config(make_task()), "questions": logs, "steps": steps}
    with pytest.raises(TaskError, match=r"steps.0.boost.multiply: the score of like is a log"):
        parse_task(given, "task.yaml")


def test_expressions_are_told_with_their_place() -> None:
    with pytest.raises(TaskError) as refused:
        policy({"filter": {"keep": "item.x >"}}, {"pin": {"where": "itm.x == 1"}})
    told = str(refused.value)
    assert "task.yaml: steps.0.filter.keep: item.x >: no expression over fields" in told
    assert "steps.1.pin.where: itm.x == 1: no candidate has itm; did you mean 'item'?" in told


def test_names_in_traces_tell_steps_of_a_kind_apart() -> None:
    steps = policy({"boost": {"where": "item.x", "add": 1}}, {"boost": {"where": "1", "add": 1}})
    assert [step.name for step in steps] == ["boost", "boost 2"]


def test_a_task_without_steps_has_the_digest_it_had() -> None:
    stepped = make_task(steps=[{"pin": {"where": "item.x"}}])
    assert "steps" not in task_config(make_task())
    assert task_config(stepped)["steps"] == [{"pin": {"where": "item.x", "place": 1}}]
    assert task_config(stepped.without_steps) == task_config(make_task())


# What holds whatever the ranking and the policy.

WHERE = st.sampled_from(["item.n == 1", "item.n > 1", "item.brand == 'a'", "context.at < 3", "0"])
BY = st.sampled_from(["item.brand", "item.n", "context.at", "item.none"])
NUMBER = st.integers(1, 6)
STEP = {
    "filter": st.builds(lambda key, where: {key: where}, st.sampled_from(["keep", "drop"]), WHERE),
    "boost": st.builds(lambda w, n: {"where": w, "add": n}, WHERE, st.floats(-3, 3)),
    "diversify": st.builds(lambda by, n: {"by": by, "first": n, "diversity": 0.6}, BY, NUMBER),
    "cap": st.builds(
        lambda by, most, first: {"by": by, "most": most, "first": first},
        BY,
        st.integers(1, 2),
        st.none() | NUMBER,
    ),
    "pin": st.builds(lambda where, place: {"where": where, "place": place}, WHERE, NUMBER),
    "explore": st.builds(lambda n: {"first": n + 1, "epsilon": 0.7}, NUMBER),
}
RANKINGS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(-3, 3)), max_size=7
).map(lambda rows: ranking_of([{"brand": b, "n": n} for b, n, _ in rows], [s for *_, s in rows]))
KINDS = st.lists(st.sampled_from(list(STAGES)), max_size=5).map(
    lambda kinds: sorted(kinds, key=STAGES.__getitem__)
)


@st.composite
def policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    steps = [{kind: draw(STEP[kind])} for kind in draw(KINDS)]
    first = [step for step in steps if "explore" not in step]
    explores = [step for step in steps if "explore" in step][:1]
    caps = [s["cap"]["first"] for s in first if "cap" in s and s["cap"]["first"] is not None]
    if explores and min(caps, default=99) < explores[0]["explore"]["first"]:
        explores = []
    return [*first, *explores]


def backwards(end: Ranking, names: list[str]) -> list[list[tuple[str, float]]]:
    """Lists before each step, the last step first, from the final ranking and its traces alone."""
    at = {s.candidate_id: (s.rank, s.score) for s in end.scored}
    left = {s.candidate_id: list(s.changes) for s in (*end.scored, *end.removed)}
    lists = []
    for name in reversed(names):
        for candidate, changes in left.items():
            if changes and changes[-1].step == name:
                change = changes.pop()
                at[candidate] = (change.rank, change.score)
        lists.append([(c, at[c][1]) for c in sorted(at, key=lambda c: at[c][0])])
        assert sorted(rank for rank, _ in at.values()) == list(range(1, len(at) + 1))
    return lists


def plainly(ranking: Ranking) -> list[tuple[str, float]]:
    return [(s.candidate_id, s.score) for s in ranking.scored]


@settings(deadline=None, max_examples=30)
@given(RANKINGS, policies())
def test_nothing_is_lost_and_traces_lead_back(start: Ranking, steps: list[dict[str, Any]]) -> None:
    runs = policy(*steps)
    lists, ranking = [plainly(start)], start
    for run in runs:
        before, ranking = ranking, run(ranking)
        every = Counter(s.candidate_id for s in (*ranking.scored, *ranking.removed))
        assert every == Counter(s.candidate_id for s in start.scored)
        assert [s.rank for s in ranking.scored] == list(range(1, len(ranking.scored) + 1))
        if plainly(ranking) == plainly(before) and run.name.split()[0] not in ("pin", "explore"):
            assert ranking is before or whys(ranking) != whys(before)
        lists.append(plainly(ranking))
    assert backwards(ranking, [run.name for run in runs]) == list(reversed(lists[:-1]))
    assert all(s.changes for s in ranking.removed)


@settings(deadline=None, max_examples=30)
@given(RANKINGS, STEP["cap"], STEP["cap"])
def test_caps_hold(start: Ranking, one: dict[str, Any], other: dict[str, Any]) -> None:
    def value(scored: Scored, by: str) -> Any:
        item = start.request.candidates[int(scored.candidate_id[1:])]
        return {"item": item.item.fields, "context": item.context}[by.split(".")[0]].get(
            by.split(".")[1]
        )

    made = after(start, {"cap": one})
    first = made.scored[: one["first"]]
    counts = Counter(v for s in first if (v := value(s, one["by"])) is not None)
    if one["first"] is None:
        assert all(count <= one["most"] for count in counts.values())
    elif any(count > one["most"] for count in counts.values()):
        # Then nothing that stands below could have stood there instead.
        below = [value(s, one["by"]) for s in made.scored[one["first"] :]]
        assert all(v is not None and counts[v] >= one["most"] for v in below)
    # A second cap keeps the whole-list cap of the first.
    both = after(start, {"cap": one}, {"cap": other})
    if one["first"] is None:
        counts = Counter(v for s in both.scored if (v := value(s, one["by"])) is not None)
        assert all(count <= one["most"] for count in counts.values())


@settings(deadline=None, max_examples=30)
@given(RANKINGS, st.integers(0, 6), NUMBER, st.integers(0, 6), NUMBER, NUMBER)
def test_pins_hold_whatever_comes_after(
    start: Ranking, one: int, place: int, other: int, elsewhere: int, first: int
) -> None:
    made = after(
        start,
        {"pin": {"where": f"context.at == {one}", "place": place}},
        {"pin": {"where": f"context.at == {other}", "place": elsewhere}},
        {"explore": {"first": first + 1, "epsilon": 1}},
    )
    at = {s.candidate_id: s.rank for s in made.scored}
    if f"c{one}" in at:
        assert at[f"c{one}"] == min(place, len(at))
    if f"c{other}" in at and one != other and elsewhere != place and elsewhere <= len(at):
        assert at[f"c{other}"] == elsewhere or place > len(at)


@settings(deadline=None, max_examples=30)
@given(RANKINGS, policies())
def test_scores_of_places_order_as_the_policy_does(
    start: Ranking, steps: list[dict[str, Any]]
) -> None:
    end = start
    for run in policy(*steps):
        end = run(end)
    made = place_scores(end)
    shown = [made[s.candidate_id] for s in end.scored]
    assert shown == sorted(shown, reverse=True)
    assert len(made) == len(start.scored)
    for above, below in zip(end.scored, end.scored[1:], strict=False):
        if above.changes or below.changes:
            assert made[above.candidate_id] > made[below.candidate_id]
    assert all(made[s.candidate_id] < min(shown, default=math.inf) for s in end.removed)
    if not any(s.changes for s in (*end.scored, *end.removed)):
        assert made == {s.candidate_id: s.score for s in start.scored}


def test_what_people_send_is_bounded() -> None:
    long = vectors_of([", ".join(map(str, range(5000))), "x"], ",")
    assert long is not None and long.shape == (2, MOST_WORDS + 1)
    huge = vectors_of([[1e300, 1.0], [10**400, 1.0]], None)  # no vectors: words, three of them
    assert huge is not None and huge.shape == (2, 3) and np.isfinite(huge).all()
    endless = {"filter": {"drop": "'a' * 100000000 == item.x"}}
    assert ids(after(ranking_of([{"x": "y"}]), endless)) == "c0"


def test_threads_may_share_a_policy() -> None:
    steps = policy({"filter": {"keep": "item['stock'] > 0"}}, {"pin": {"where": "item.stock > 4"}})

    def run(_: int) -> str:
        ranking = brands()
        for step in steps:
            ranking = step(ranking)
        return ids(ranking)

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(run, range(40))) == {"c5 c0 c2 c3"}


def test_documents_that_are_taken_out_are_told() -> None:
    ranking = ranking_of([{"text": "a"}, {"text": "b"}])
    named = replace(
        ranking,
        scored=tuple(replace(s, candidate_id=s.candidate_id[1:]) for s in ranking.scored),
        request=replace(
            ranking.request,
            candidates=tuple(
                replace(c, candidate_id=c.candidate_id[1:]) for c in ranking.request.candidates
            ),
        ),
    )
    served = HostedTask("t", cast(Ranker, None))
    done = Done("id", served, [after(named, {"filter": {"drop": "item.text == 'a'"}})], 0)
    assert [hit.index for hit in hits(done)] == [1]
    assert unscored(done) == ["documents[0] is left out: taken out: item.text == 'a'"]
