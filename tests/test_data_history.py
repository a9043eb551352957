"""History builders, each by hand."""

from promptrank.schema.parts import History
from promptrank.tables.history import (
    Past,
    build,
    chronological,
    deduplicate,
    only,
    round_robin,
    similar,
    thin,
)
from promptrank.tables.near import _vectorizer, nearness_to


def _pasts(actions: str, items: str | None = None) -> list[Past]:
    """One event per letter, oldest first."""
    return [Past(i, a, (items or actions)[i] if items else i) for i, a in enumerate(actions)]


def _at(events: list[Past]) -> list[int]:
    return [e.at for e in events]


def test_chronological_keeps_the_latest() -> None:
    assert _at(chronological(_pasts("lldd"), 2)) == [2, 3]
    assert _at(chronological(_pasts("ll"), 5)) == [0, 1]
    assert chronological(_pasts("ll"), 0) == []


def test_thinning_keeps_the_latest_of_each_action() -> None:
    assert _at(thin(_pasts("vvavv"), {"v": 2})) == [2, 3, 4]
    assert _at(thin(_pasts("vva"), {"v": 0})) == [2]


def test_only_named_actions() -> None:
    assert _at(only(_pasts("vaav"), ["a"])) == [1, 2]
    assert len(only(_pasts("vaav"), [])) == 4


def test_round_robin_balances_as_far_as_events_last() -> None:
    # Six likes, then two dislikes: in turn from the latest, the dislike going first.
    events = _pasts("llllll" + "dd")
    assert _at(round_robin(events, 4)) == [4, 5, 6, 7]
    # Dislikes run out after two: likes fill up.
    assert _at(round_robin(events, 6)) == [2, 3, 4, 5, 6, 7]
    # Odd: the action of the very latest event gets the extra place.
    assert [e.action for e in round_robin(events, 3)] == ["l", "d", "d"]
    counts = [e.action for e in round_robin(_pasts("abcabcabcaaaa"), 8)]
    assert sorted(counts.count(x) for x in "abc") == [2, 3, 3]


def test_deduplication_prefers_the_first_listed_then_the_latest() -> None:
    # Item x: view, apply, view. Item y: view, view. Item z: like, which is not listed.
    events = _pasts("vavvvl", "xxxyyz")
    assert _at(deduplicate(events, ["a", "v"])) == [1, 4, 5]
    assert _at(deduplicate(events, ["v"])) == [2, 4, 5]


def test_similar_stands_nearest_last() -> None:
    texts = ["red shoes", "blue lamp", "blue desk lamp"]
    near = nearness_to("a blue lamp", texts, _vectorizer())
    assert near[0] == 0
    assert near[1] > near[2] > 0
    events = _pasts("abc")
    assert _at(similar(events, 2, lambda pasts: [near[p.at] for p in pasts])) == [2, 1]
    # Equally near: the later one counts as nearer.
    assert _at(similar(events, 2, lambda pasts: [0.5] * len(pasts))) == [1, 2]
    assert similar([], 2, lambda pasts: []) == []


def test_rare_words_weigh_more() -> None:
    texts = ["common rare", "common other", "common thing"]
    near = nearness_to("common rare", texts, _vectorizer())
    assert near[0] > 0.99
    assert nearness_to("rare", texts, _vectorizer())[1] == 0
    assert near[1] < 0.5


def test_a_task_s_history_in_one_go() -> None:
    history = History.model_validate(
        {"last": 3, "actions": ["v", "a"], "at_most": {"v": 1}, "deduplicate": ["a"]}
    )
    # l is not asked for; item 1 stays as a; of the two v left only the latest.
    events = _pasts("lvavv", "01123")
    assert _at(build(events, history, None)) == [2, 4]
