"""``context``: history cut to its last 0, 1, 2, 5, 10, 20, ... events, up to all."""

from dataclasses import replace
from functools import partial

from promptrank.probes.edits import Edit, Probe, ProbedTask, refused
from promptrank.records import Request

_LENGTHS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_POINTS = 6


def _edits(probed: ProbedTask, _: str) -> list[Edit]:
    if probed.template is not None and probed.task.history is None:
        raise refused("context", "the task has no history, so no prompt shows past events")
    most = max((len(request.history) for request in probed.requests), default=0)
    if not most:
        raise refused("context", "no request has a past event")
    shorter = [
        Edit(f"context:{length}", _words(length), request=partial(last_events, length))
        for length in lengths(most)
    ]
    return [*shorter, Edit(f"context:{most}", f"all past events, up to {most:,}", plain=True)]


def _words(length: int) -> str:
    if not length:
        return "no past events"
    return "the last past event" if length == 1 else f"the last {length} past events"


def lengths(most: int) -> list[int]:
    """The lengths below ``most`` that are tried: at most five, 0 and the longest among them."""
    below = [length for length in _LENGTHS if length < most]
    if len(below) < _POINTS:
        return below
    last = _POINTS - 2
    return [below[round(place * (len(below) - 1) / last)] for place in range(last + 1)]


def last_events(length: int, request: Request) -> Request:
    """The same request with its last ``length`` past events at most, those nearest the end."""
    return replace(request, history=request.history[-length:] if length else ())


CONTEXT = Probe(
    "context", "history cut to its last 0, 1, 2, 5, ... events: a curve up to all of them", _edits
)
