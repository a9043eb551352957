"""Where every request is told of once it has its answer: the numbers, the log, and spans."""

import time
from typing import Any

import orjson
from starlette.requests import Request

from promptrank.basics.telling import Say
from promptrank.serve.counted import ServerNumbers
from promptrank.serve.spans import RequestSpans
from promptrank.serve.trail import Trail

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Told:
    """Ids, names of ours and counts go there, and nothing that was sent."""

    def __init__(self, log: Say, counted: ServerNumbers, spans: RequestSpans | None) -> None:
        self._log, self._counted, self._spans = log, counted, spans

    def answered(
        self,
        request: Request,
        trail: Trail,
        status: int,
        reason: str | None = None,
        fault: str | None = None,
    ) -> None:
        """A request has its answer, or its error.

        Args:
            reason: of the error.
            fault: a traceback of ours.
        """
        trail.end()
        route = request.scope.get("route")
        path = route.path if route is not None else "none"
        self._counted.answered(path, status, reason, trail)
        trace = None
        if self._spans is not None:
            method = request.method if request.method in _METHODS else "_OTHER"
            trace = self._spans.answered(trail, request.headers, method, path, status, reason)
        known: dict[str, Any] = {
            "time": round(time.time(), 3),
            "id": trail.request_id,
            "trace": trace,
            "method": request.method,
            "path": request.url.path[:200],
            "status": status,
            "ms": round(trail.seconds * 1000, 1),
            "task": trail.task,
            "candidates": trail.candidates,
            "tokens": trail.tokens,
            "stages": {s.name: round(s.seconds * 1000, 2) for s in trail.stages()} or None,
            "reason": reason,
            "cause": trail.cause,
            "fault": fault,
        }
        line = {name: value for name, value in known.items() if value is not None}
        self._log(orjson.dumps(line).decode())
