"""The application: routes over hosted tasks, with keys, request ids and errors in their shapes."""

import re
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from promptrank.basics.telling import Say, silent
from promptrank.serve.afterwards import log_call
from promptrank.serve.answering import Answering, ClientGone
from promptrank.serve.bounds import Bounds
from promptrank.serve.counted import TEXT
from promptrank.serve.hosted import Hosted
from promptrank.serve.key_file import Keys
from promptrank.serve.openapi import document
from promptrank.serve.page_route import PageRoute
from promptrank.serve.refused import Refusal, Refused, refuse
from promptrank.serve.serving_log import ServingLog
from promptrank.serve.shadow import Shadows
from promptrank.serve.shape import HttpShape
from promptrank.serve.shapes.ours import error_body, provenance, tables_json
from promptrank.serve.spans import RequestSpans
from promptrank.serve.told import Told
from promptrank.serve.trail import begin_trail

REQUEST_ID = "X-Request-Id"
CACHED = "X-Promptrank-Cached"
"""Header of an answer: prompts, one for each candidate and question, that the score cache had."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_GONE = 499  # as proxies write it down; nobody reads the answer

Answer = Callable[[Request, str], Awaitable[tuple[int, Any]]]
"""A request and its id -> status and what the body is made of."""
Worded = Callable[[Refusal, str], Any]
"""A refusal and the request's id -> what the body of the error is made of."""


def make_app(
    hosted: Hosted,
    shapes: Sequence[HttpShape[Any]],
    *,
    bounds: Bounds = Bounds(),  # noqa: B008 (frozen)
    keys: Keys | None = None,
    hosts: frozenset[str] | None = None,
    pages: Sequence[PageRoute] = (),
    lifespan: Lifespan[Starlette] | None = None,
    log: Say = silent,
    with_text: bool = False,
    spans: RequestSpans | None = None,
    serving_log: ServingLog | None = None,
    shadows: Shadows | None = None,
) -> Starlette:
    """The application, for any ASGI server.

    Args:
        hosted: its tasks, which may be loaded later.
        keys: one of them is needed everywhere but at ``/health`` and ``/ready``.
        hosts: names that the header Host may have; any where left out. A web page that has its
            name point at this machine would otherwise reach a server without keys.
        pages: what is shown to people; they look after keys themselves.
        log: is given a line of JSON for every request.
        with_text: whether that line has what was sent.
        spans: are written for every request.
        serving_log: takes every answer in.
        shadows: score a share of the requests again, for the same log.
    """
    answering = Answering(hosted, bounds)
    if serving_log is not None:
        serving_log.count_in(answering.counted.registry)
        answering.afterwards.append(partial(log_call, serving_log))
    if shadows is not None:
        answering.afterwards.append(shadows)
        lifespan = shadows.within(lifespan)
    door = _Door(keys, hosts, Told(log, answering.counted, spans, with_text=with_text))

    async def health(request: Request, request_id: str) -> tuple[int, Any]:
        return 200, {"state": hosted.health}

    async def ready(request: Request, request_id: str) -> tuple[int, Any]:
        health = hosted.health
        return (200 if health == "ready" else 503), {"state": health}

    async def tasks(request: Request, request_id: str) -> tuple[int, Any]:
        hosted.task(None)
        return 200, {
            "tasks": [
                {
                    "task": served.name,
                    "description": served.description,
                    "questions": {
                        name: {"ask": question.ask, "answers": list(question.answers)}
                        for name, question in served.ranker.task.questions.items()
                    },
                    "provenance": provenance(served),
                    **tables_json(served),
                    **(
                        {"notes": [hosted.notes[served.name]]}
                        if served.name in hosted.notes
                        else {}
                    ),
                }
                for served in hosted.every()
            ]
        }

    written = cache(lambda: document(shapes, hosted.names))

    async def openapi(request: Request, request_id: str) -> tuple[int, Any]:
        return 200, written()

    async def metrics(request: Request, request_id: str) -> tuple[int, Any]:
        return 200, answering.counted.text()

    routes = [
        Route("/metrics", door.way(metrics, error_body)),
        Route("/health", door.way(health, error_body, open_to_all=True)),
        Route("/ready", door.way(ready, error_body, open_to_all=True)),
        Route("/v1/tasks", door.way(tasks, error_body)),
        Route("/openapi.json", door.way(openapi, error_body)),
    ]
    for shape in shapes:
        way = door.way(_asked(answering, shape), shape.refuse)
        routes += [Route(path, way, methods=["POST"]) for path in shape.paths]
    for page in pages:
        way = door.way(page.answer, page.refuse, open_to_all=True)
        routes.append(Route(page.path, way, methods=list(page.methods)))
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: door.no_route},
    )
    app.state.answering = answering
    return app


def _asked(answering: Answering, shape: HttpShape[Any]) -> Answer:
    async def answer(request: Request, request_id: str) -> tuple[int, Any]:
        try:
            return 200, await answering.answer(shape, request, request_id)
        except Refused as error:
            if error.refusal.status == 422:  # as this API says it
                raise Refused(replace(error.refusal, status=shape.invalid)) from None
            raise

    return answer


class _Door:
    """What every request passes, whatever it asks for."""

    def __init__(self, keys: Keys | None, hosts: frozenset[str] | None, told: Told) -> None:
        self._keys, self._hosts, self._told = keys, hosts, told

    def way(
        self, answer: Answer, worded: Worded, *, open_to_all: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint: its answer or refusal as JSON, with the request's id, and a line in the log.

        Args:
            open_to_all: needs no key.
        """

        async def endpoint(request: Request) -> Response:
            request_id = _request_id(request)
            trail = begin_trail(request, request_id)
            reason = fault = None
            headers = {REQUEST_ID: request_id}
            try:
                self._check(request, open_to_all)
                status, said = await answer(request, request_id)
                if trail.cached is not None:
                    headers[CACHED] = str(trail.cached)
            except Refused as error:
                refusal = error.refusal
                status, reason, said = refusal.status, refusal.reason, worded(refusal, request_id)
                headers |= refusal.headers
                if status in (408, 413):  # what is left of the body is not read
                    headers["Connection"] = "close"
            except ClientGone:
                status, reason, said = _GONE, "client_gone", None
            except Exception:  # the edge: one request's fault is not the server's end
                status, reason, fault = 500, "fault", traceback.format_exc()
                message = f"a fault of the server's own; its log has it under {request_id}"
                said = worded(Refusal(500, reason, message), request_id)
            response = _response(said, status, headers)
            self._told.answered(request, trail, status, reason, fault)
            return response

        return endpoint

    async def no_route(self, request: Request, error: Exception) -> Response:
        """A path that is not served, or another method: 404 and 405 as JSON."""
        assert isinstance(error, HTTPException)
        request_id, status = _request_id(request), error.status_code
        reason = "not_served" if status == 404 else "wrong_method"
        message = f"{request.method} {request.url.path[:200]}: {error.detail}; see /openapi.json"
        self._told.answered(request, begin_trail(request, request_id), status, reason)
        said = error_body(Refusal(status, reason, message), request_id)
        return _response(said, status, {**(error.headers or {}), REQUEST_ID: request_id})

    def _check(self, request: Request, open_to_all: bool) -> None:
        if self._hosts is not None:
            host = request.headers.get("host", "")
            name = host if host.endswith("]") else host.rpartition(":")[0] or host
            if name.lower() not in self._hosts:
                raise refuse(
                    421,
                    "wrong_host",
                    f"no host {name[:100]!r} here; a server without --key-file answers to "
                    "localhost alone",
                )
        if self._keys is None or open_to_all:
            return
        if not self._keys.fit(request.headers.get("authorization")):
            raise refuse(
                401,
                "wrong_key",
                "needs a key of this server: Authorization: Bearer KEY",
                {"WWW-Authenticate": "Bearer"},
            )


def _request_id(request: Request) -> str:
    given = request.headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _response(said: Any, status: int, headers: Mapping[str, str]) -> Response:
    if isinstance(said, Response):
        said.headers.update(headers)
        return said
    if isinstance(said, bytes):
        return Response(said, status, headers={**headers, "Content-Type": TEXT})
    return Response(
        orjson.dumps(said), status, headers=dict(headers), media_type="application/json"
    )
