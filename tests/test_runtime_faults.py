"""Engines that raise, and answer what no model does: the works that it happens with fail alone."""

import errno
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.engine.contract import (
    Branch,
    EngineInfo,
    Failure,
    Slot,
    SlotScore,
    Steps,
    Tree,
    TreeScore,
    Window,
)
from promptrank.errors import ModelError
from promptrank.runtime.opened import Opened

SLOTS = (Slot((7,), ((1,), (2, 3))), Slot((8,), ((1,), (2, 3))))


def tree(number: int, branches: int = 2) -> Tree:
    return Tree(f"r{number}", (number,), tuple(Branch((n,), SLOTS) for n in range(branches)))


def right(one: Tree) -> tuple[tuple[SlotScore, ...], ...]:
    said = SlotScore((-0.5 - one.prefix[0] / 100, -2.0), 0.8, 0)
    return tuple(tuple(said for _ in branch.slots) for branch in one.branches)


class Injected:
    """Answers trees so many at a step, but for those that it has other orders for.

    Attributes:
        begun: the ids of each group.
    """

    def __init__(
        self,
        orders: dict[int, Any] | None = None,
        *,
        at_once: int = 1,
        window: int = 8,
    ) -> None:
        self.info = EngineInfo("injected", "m", "0", "float64", 100)
        self.window, self.groups = Window(window, 1000), 1
        self.orders, self.at_once = orders or {}, at_once
        self.begun: list[list[str]] = []

    def size(self, work: Tree) -> int:
        return 1

    def begin(self, works: Sequence[Tree]) -> Steps:
        self.begun.append([work.tree_id for work in works])
        left = iter(enumerate(works))
        while ready := list(islice(left, self.at_once)):
            yield [(place, self.answer(work)) for place, work in ready]

    def answer(self, work: Tree) -> TreeScore:
        order = self.orders.get(work.prefix[0])
        if isinstance(order, list):  # so often, one after another
            order = order.pop(0) if order else None
        if isinstance(order, BaseException):
            raise order
        return order(work) if callable(order) else right(work)

    def close(self) -> None: ...


def answers(engine: Any, count: int) -> list[TreeScore]:
    return list(Opened[Tree](engine).stream(tree(number) for number in range(count)))


def reason(score: TreeScore) -> str | None:
    return score.reason if isinstance(score, Failure) else None


@pytest.mark.long
@given(
    bad=st.dictionaries(
        st.integers(0, 19),
        st.sampled_from([ValueError("no"), MemoryError("of it"), KeyError("x"), StopIteration()]),
        max_size=7,
    ),
    at_once=st.integers(1, 9),
    window=st.integers(1, 9),
)
def test_what_raises_fails_alone(bad: dict[int, Exception], at_once: int, window: int) -> None:
    engine = Injected(bad, at_once=at_once, window=window)
    got = answers(engine, 20)
    for number, score in enumerate(got):
        if number not in bad:
            assert score == right(tree(number))
            continue
        full = isinstance(bad[number], MemoryError)
        assert reason(score) == ("out_of_memory" if full else "engine_error")
        assert engine.begun.count([f"r{number}"]) >= 2


def test_halves_by_hand() -> None:
    engine = Injected({2: ValueError("first line\nsecond")}, at_once=4)
    opened = Opened[Tree](engine)
    futures = opened.submit([tree(number) for number in range(5)])
    got = [opened.result(future) for future in futures]
    assert engine.begun == [
        ["r0", "r1", "r2", "r3", "r4"],
        ["r0", "r1", "r2"],
        ["r0", "r1"],
        ["r2"],
        ["r2"],
        ["r3", "r4"],
    ]
    assert [reason(score) for score in got] == [None, None, "engine_error", None, None]
    assert isinstance(got[2], Failure)
    assert got[2].message == (
        "request r2: engine injected raised ValueError: first line, 2 times when it was asked this "
        "alone; try another engine (--engine), or a smaller request"
    )
    assert (opened.faults.raised, opened.faults.answered, opened.faults.in_a_row) == (4, 4, 0)


def test_what_raises_once_is_answered_after_all() -> None:
    engine = Injected({3: [ValueError("once")], 4: [ValueError("1"), ValueError("2")]})
    assert [reason(score) for score in answers(engine, 8)] == [None] * 8


def test_what_was_answered_before_is_not_asked_again() -> None:
    engine = Injected({3: ValueError("no")}, at_once=1)
    answers(engine, 8)
    assert sum(group.count("r0") for group in engine.begun) == 1
    assert engine.begun[1] == ["r3", "r4", "r5"]


def test_an_engine_that_fails_at_everything_ends_it_with_its_own_error() -> None:
    broken = ValueError("broken")
    engine = Injected(dict.fromkeys(range(1000), broken))
    with pytest.raises(ValueError, match="broken") as raised:
        answers(engine, 100)
    assert raised.value is broken
    assert len({name for group in engine.begun for name in group}) <= 8
    # Or at everything from some request on.
    engine = Injected(dict.fromkeys(range(10, 1000), broken))
    with pytest.raises(ValueError, match="broken"):
        answers(engine, 200)
    # And a few in a row are still works that fail.
    few = [*range(7), *range(20, 70)]
    got = answers(Injected(dict.fromkeys(few, broken)), 90)
    assert [number for number, score in enumerate(got) if reason(score)] == few


@pytest.mark.parametrize(
    "error", [ModelError("closed"), CancelledError(), OSError(errno.ENOSPC, "full")]
)
def test_what_is_not_of_a_request_is_not_tried_again(error: Exception) -> None:
    engine = Injected({1: error})
    with pytest.raises(type(error)):
        answers(engine, 4)
    assert len(engine.begun) == 1


def test_ctrl_c_is_for_whom_it_came_to() -> None:
    engine = Injected({1: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        answers(engine, 4)
    assert len(engine.begun) == 1


def changed(**parts: Any) -> Callable[[Tree], TreeScore]:
    """The second question of the first candidate in another way."""

    def order(one: Tree) -> TreeScore:
        first, *more = right(one)
        return ((first[0], replace(first[1], **parts)), *more)

    return order


@pytest.mark.parametrize(
    ("order", "what"),
    [
        (changed(logprobs=(float("nan"), -1.0)), "a log-prob of nan"),
        (changed(logprobs=(-1.0, 0.5)), "a log-prob of 0.5"),
        (changed(logprobs=(float("inf"), -1.0)), "a log-prob of inf"),
        (changed(logprobs=(-1.0,)), "1 in place of 2 log-probs"),
        (changed(logprobs=()), "0 in place of 2 log-probs"),
        (changed(label_mass=float("nan")), "a label mass of nan"),
        (changed(label_mass=1.5), "a label mass of 1.5"),
        (changed(argmax=2), "an answer of number 2"),
        (lambda one: ((right(one)[0][0],), *right(one)[1:]), "1 in place of 2 questions"),
    ],
)
def test_an_odd_answer_is_a_failure_of_its_candidate(order: Any, what: str) -> None:
    got = answers(Injected({1: order}), 3)
    assert got[0] == right(tree(0)) and got[2] == right(tree(2))
    first, second = got[1]  # type: ignore[misc]
    assert isinstance(first, Failure) and first.reason == "odd_answer"
    assert f"request r1: engine injected returned {what}" in first.message
    assert second == right(tree(1))[1]


@pytest.mark.parametrize(
    ("order", "what"),
    [
        (lambda one: right(one)[:1], "1 in place of 2 candidates"),
        (lambda one: (*right(one), *right(one)), "4 in place of 2 candidates"),
        (lambda one: None, "NoneType in place of 2 candidates"),
    ],
)
def test_another_number_of_candidates_is_a_failure_of_the_request(order: Any, what: str) -> None:
    got = answers(Injected({1: order}), 3)
    assert [reason(score) for score in got] == [None, "odd_answer", None]
    assert what in got[1].message  # type: ignore[union-attr]


def test_what_is_possible_stays() -> None:
    """Impossible answers have log-probs of minus infinity; rounding may go a little above 0."""
    possible = changed(logprobs=(float("-inf"), 1e-7), label_mass=1.0 + 1e-7, argmax=None)
    assert answers(Injected({0: possible}), 1) == [possible(tree(0))]
    failure = Failure("too_long", "by 3")
    assert answers(Injected({0: lambda one: failure}), 1) == [failure]
    assert answers(Injected({0: lambda one: (failure, right(one)[1])}), 1) == [
        (failure, right(tree(0))[1])
    ]


@pytest.mark.parametrize("place", [5, -1])
def test_answers_to_what_was_not_asked_are_faults(place: int) -> None:
    class Elsewhere(Injected):
        def begin(self, works: Sequence[Tree]) -> Steps:
            for steps in super().begin(works):
                yield [(place if "r1" in self.begun[-1] else n, score) for n, score in steps]

    assert [reason(score) for score in answers(Elsewhere(), 3)] == [None, "engine_error", None]


def test_answers_that_come_twice_are_taken_once() -> None:
    class Twice(Injected):
        def begin(self, works: Sequence[Tree]) -> Steps:
            for steps in super().begin(works):
                yield [*steps, *((place, ()) for place, _ in steps)]

    assert answers(Twice(), 3) == [right(tree(number)) for number in range(3)]
