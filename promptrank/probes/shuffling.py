"""``history:shuffled`` and ``candidates:shuffled``: what comes in an order, in another one."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from promptrank.probes.edits import Edit, Probe, ProbedTask, refused
from promptrank.records import Request

Each = TypeVar("Each")


def _history(probed: ProbedTask, _: str) -> list[Edit]:
    name = "history:shuffled"
    if probed.template is not None and probed.task.history is None:
        raise refused(name, "the task has no history, so no prompt shows past events")
    if not any(len(request.history) > 1 for request in probed.some()):
        raise refused(name, "no request has two past events, so they have no order")
    return [Edit(name, "past events in a random order", request=shuffled_history)]


def _candidates(probed: ProbedTask, _: str) -> list[Edit]:
    name = "candidates:shuffled"
    if not any(len(request.candidates) > 1 for request in probed.some()):
        raise refused(name, "no request has two candidates, so they have no order")
    return [Edit(name, "candidates in a random order", request=shuffled_candidates)]


def shuffled_history(request: Request) -> Request:
    """The same past events in an order drawn by the request's id; each keeps its time."""
    return replace(request, history=_shuffled(request.history, f"history {request.request_id}"))


def shuffled_candidates(request: Request) -> Request:
    """The same candidates in an order drawn by the request's id."""
    order = _shuffled(request.candidates, f"candidates {request.request_id}")
    return replace(request, candidates=order)


def _shuffled(values: Sequence[Each], seed: str) -> tuple[Each, ...]:
    # A text as seed goes through SHA-512: the same order in every process.
    return tuple(random.Random(f"promptrank {seed}").sample(values, len(values)))


HISTORY_SHUFFLED = Probe(
    "history:shuffled", "past events in a random order, drawn by the request's id", _history
)
CANDIDATES_SHUFFLED = Probe(
    "candidates:shuffled",
    "candidates in a random order: no score may move, since each depends on its own candidate only",
    _candidates,
    unmoved=True,
)
