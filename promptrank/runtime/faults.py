"""What an engine does wrong, kept to the works that it does it with.

Between an opened engine and its steps: batches and servers run these same lines. A step that raises
ends its group, so what of the group was not answered is tried again in halves, until the work that
makes the engine raise is alone; when it raises twice alone it is a `Failure`, and the others are
answered. Answers that no model gives (another number than was asked for, log-probs that are not
numbers or above 0) are failures too, never scores.
"""

import errno
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, nullcontext
from traceback import clear_frames
from typing import Any, TypeVar

from promptrank.engine.contract import Answers, Branch, Failure, SlotScore, Steps, Tree, TreeScore
from promptrank.errors import InputError

ALONE = 2
"""A work that makes a step raise so often while it is alone is not tried again."""
AT_FIRST, IN_A_ROW = 8, 64
"""Works that fail one after another, before the engine has answered any and after that, until the
fault is taken to be the engine's own."""
_ABOVE = 1e-4  # by so much rounding may put a log-prob above 0
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

V = TypeVar("V")


class Faults:
    """What has gone wrong with an engine so far; written by whoever has its turn.

    Attributes:
        raised: groups that a step ended by an error, and that were tried again.
        answered: works that the engine has answered.
        in_a_row: works that have failed since it last answered any.
        last: the error of the last one.
    """

    def __init__(self) -> None:
        self.raised = self.answered = self.in_a_row = 0
        self.last: Exception | None = None

    def hopeless(self) -> bool:
        """Whether it is the engine that fails, and not a work here or there."""
        return self.in_a_row >= (IN_A_ROW if self.answered else AT_FIRST)


def steps_of(
    engine: Answers[V],
    works: Sequence[V],
    faults: Faults,
    watched: "AbstractContextManager[Any] | None" = None,
) -> Steps:
    """The steps of a group, of which only the engine's own end raises.

    Args:
        faults: is told what goes wrong.
        watched: is entered for each step of the engine.

    Raises:
        InputError: as the engine's steps: it is closed, or its process has died.
        Exception: what it raises, once it does so for everything.
    """
    watched = watched if watched is not None else nullcontext()
    left = set(range(len(works)))
    groups, alone = [list(left)], Counter[int]()
    while groups:
        places = [place for place in groups.pop() if place in left]
        if not places:
            continue
        error, together = None, len(places)
        steps = _inner(engine, [works[place] for place in places])
        try:
            while error is None and not left.isdisjoint(places):
                ready: list[tuple[int, TreeScore]] = []
                try:
                    with watched:
                        given = next(steps)
                    for number, score in given:
                        if number < 0:
                            raise IndexError(f"answers number {number} of {together}")
                        place = places[number]
                        left.remove(place)  # which may not be answered twice
                        ready.append((place, checked(engine, works[place], score)))
                except (InputError, CancelledError):
                    raise
                except Exception as fault:
                    if isinstance(fault, OSError) and fault.errno in _DISK_FULL:
                        raise
                    # Its frames hold what the engine was at, which may be all its memory.
                    clear_frames(fault.__traceback__)
                    error = fault
                if ready:
                    faults.answered += len(ready)
                    faults.in_a_row = 0
                if ready or error is None:
                    yield ready
        finally:
            steps.close()
        if error is None:
            continue
        faults.raised += 1
        places = [place for place in places if place in left]
        if len(places) > 1:
            middle = (len(places) + 1) // 2
            groups += [places[middle:], places[:middle]]
            continue
        for place in places:
            alone[place] += together == 1
            if alone[place] < ALONE:
                groups.append([place])
                continue
            faults.in_a_row, faults.last = faults.in_a_row + 1, error
            if faults.hopeless():
                raise error
            left.remove(place)
            yield [(place, _raised(engine, works[place], error))]


def _inner(engine: Answers[V], works: Sequence[V]) -> Steps:
    """The engine's steps, which may not end before all is answered."""
    yield from engine.begin(works)
    raise RuntimeError("ended before all was answered")


def _raised(engine: Answers[Any], work: object, error: Exception) -> Failure:
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    said = str(error).strip().partition("\n")[0][:300]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    return Failure(
        "out_of_memory" if full else "engine_error",
        f"{_name(work)}: engine {engine.info.name} raised {what}, {ALONE} times when it was asked "
        "this alone; try another engine (--engine), or a smaller request",
    )


def checked(engine: Answers[Any], work: object, score: TreeScore) -> TreeScore:
    """The score of a tree, with a failure wherever it is none that a model can give.

    Of requests that are asked as they are (students) nothing is known; their scores are looked at
    where they are made into a ranking.
    """
    if isinstance(score, Failure) or not isinstance(work, Tree):
        return score
    if not isinstance(score, tuple) or len(score) != len(work.branches):
        given = len(score) if isinstance(score, tuple) else type(score).__name__
        return _odd(engine, work, f"{given} in place of {len(work.branches)} candidates")
    odd = {
        place: _odd(engine, work, what)
        for place, (branch, slots) in enumerate(zip(work.branches, score, strict=True))
        if not isinstance(slots, Failure) and (what := _what_is_odd(branch, slots))
    }
    if not odd:
        return score  # as it is: it may say what of it a cache had
    return tuple(odd.get(place, slots) for place, slots in enumerate(score))


def _what_is_odd(branch: Branch, slots: Sequence[SlotScore]) -> str | None:
    if len(slots) != len(branch.slots):
        return f"{len(slots)} in place of {len(branch.slots)} questions"
    for slot, said in zip(branch.slots, slots, strict=True):
        logprobs = said.logprobs
        if len(logprobs) != len(slot.paths):
            return f"{len(logprobs)} in place of {len(slot.paths)} log-probs"
        for logprob in logprobs:
            if not logprob <= _ABOVE:  # which NaN is not either
                return f"a log-prob of {logprob:g}"
        if not 0.0 <= said.label_mass <= 1.0 + _ABOVE:
            return f"a label mass of {said.label_mass:g}"
        if said.argmax is not None and not 0 <= said.argmax < len(logprobs):
            return f"an answer of number {said.argmax} as the likeliest"
    return None


def _odd(engine: Answers[Any], work: Tree, what: str) -> Failure:
    return Failure(
        "odd_answer",
        f"{_name(work)}: engine {engine.info.name} returned {what}, which no model does; try "
        "--engine plain, and report it",
    )


def _name(work: object) -> str:
    return f"request {getattr(work, 'tree_id', None) or getattr(work, 'request_id', work)}"
