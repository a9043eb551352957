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
_SENT = 65_536  # bytes of a body in a line of the log


class Told:
    """Ids, names of ours and counts go there, and what was sent only where that is asked for."""

    def __init__(
        self,
        log: Say,
        counted: ServerNumbers,
        spans: RequestSpans | None,
        *,
        with_text: bool = False,
    ) -> None:
        """Nothing is told yet.

        Args:
            with_text: whether lines of the log have what was sent.
        """
        self._log, self._counted, self._spans = log, counted, spans
        self._with_text = with_text

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
            "cached": trail.cached,
            "stages": {s.name: round(s.seconds * 1000, 2) for s in trail.stages()} or None,
            "reason": reason,
            "cause": trail.cause,
            "fault": fault,
            "sent": self._sent(trail),
        }
        line = {name: value for name, value in known.items() if value is not None}
        self._log(orjson.dumps(line).decode())

    def _sent(self, trail: Trail) -> str | None:
        """The body, of which a line holds the beginning alone."""
        if not self._with_text or trail.sent is None:
            return None
        return orjson.dumps(trail.sent)[:_SENT].decode(errors="replace")
