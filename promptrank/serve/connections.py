"""Connections that may not stay for ever: bounds on heads of requests and on answers nobody reads.

uvicorn waits without end for a head, and for a client to read; a thousand such clients would be all
that a server takes.
"""

import asyncio
from typing import Any, Literal

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.auto import AutoHTTPProtocol

CONNECTIONS = 1000
HEAD_SECONDS = 20.0
"""From a connection, or the first byte of a later request, to the end of the head."""
HEAD_BYTES = 64 << 10
READ_SECONDS = 30.0
"""So long a client may leave an answer unread that fills the buffers."""
KEPT_SECONDS = 75
"""A connection between two requests; longer than proxies keep theirs."""


class BoundedHttp(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol of a connection, within these bounds; beyond them it is cut."""

    def connection_made(self, transport: Any) -> None:
        """Wait for a head."""
        super().connection_made(transport)
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Part of a head, or of a body, whose time is bounded where it is read."""
        cycle = self.cycle
        outside = cycle is None or cycle.response_complete
        if outside:
            self._await_head()
            self._head_bytes += len(data)
        super().data_received(data)
        if self.cycle is not cycle:
            self._head = _stop(self._head)
            self._head_bytes = 0
        elif outside and self._head_bytes > HEAD_BYTES:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read, and the buffers are full."""
        super().pause_writing()
        self._unread = self.loop.call_later(READ_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads on."""
        super().resume_writing()
        self._unread = _stop(self._unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._head, self._unread = _stop(self._head), _stop(self._unread)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)


def _stop(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None


def bounded(app: Starlette, *, lifespan: Literal["on", "off"], drain: int = 60) -> uvicorn.Config:
    """How uvicorn serves an application: bounded, without a log of its own, and without websockets.

    Args:
        drain: seconds for what is under way at the end.
    """
    return uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        lifespan=lifespan,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        # Whether a client came by https is believed of a proxy on this machine, and of none that
        # the environment names.
        forwarded_allow_ips=["127.0.0.1", "::1"],
        timeout_keep_alive=KEPT_SECONDS,
        timeout_graceful_shutdown=drain,
    )
