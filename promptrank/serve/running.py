"""The process: a server that answers while its tasks are loaded, and drains at the end."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.types import Lifespan

from promptrank.basics.telling import Say
from promptrank.errors import InputError, ModelError
from promptrank.serve.connections import bounded
from promptrank.serve.hosted import Hosted, HostedTask

DRAIN = 60  # seconds for what is under way
_LOOK = 1.0  # seconds between looks at what may have died
_SWITCH = 0.0005
"""Seconds after which a thread at work in Python lets another one go on. A decoder's thread comes
back from each of its hundreds of products for a moment of Python; at Python's own 5 ms whoever
reads a large body would hold it up for so long each time."""


class _Server(uvicorn.Server):
    """A server whose end by SIGTERM is an ordinary one: uvicorn's raises the signal again."""

    def __init__(self, config: uvicorn.Config, hosted: Hosted) -> None:
        super().__init__(config)
        self._hosted = hosted

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, self.handle_exit)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """No new requests from now on; a second signal does not wait for those under way."""
        if self.should_exit:
            self.force_exit = True
        self._hosted.drain()
        self.should_exit = True


def listen(host: str, port: int) -> socket.socket:
    """A socket that nobody else has; port 0 is any that is free.

    Raises:
        InputError: no such address here, or it is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)  # who comes before the loop runs waits for it
    except (OSError, OverflowError) as error:
        listening.close()
        raise InputError(f"--host {host} --port {port}: {error}; name another") from None
    return listening


def run(
    make: Callable[[Lifespan[Starlette]], Starlette],
    hosted: Hosted,
    load: Callable[[], Sequence[HostedTask]],
    listening: socket.socket,
    say: Say,
    mend: Callable[[], None] | None = None,
) -> None:
    """Serve until a signal asks for the end.

    Args:
        make: the application with this life span.
        load: opens the tasks; called in a thread once the server answers.
        listening: of `listen`; closed at the end.
        mend: looks after what may die, in a thread, every second once the tasks are loaded; a
            ModelError says that it has to wait.

    Raises:
        InputError: the tasks could not be loaded; whatever else ``load`` raises.
    """
    failed: list[BaseException] = []

    async def loading() -> None:
        try:
            # A thread that ends: the OpenMP team that loading has had goes with it, see
            # `promptrank.runtime.stepping`.
            with ThreadPoolExecutor(1, "loading") as thread:
                loaded = await asyncio.wrap_future(thread.submit(load))
            # What is loaded stays: it is not to be looked through at each collection from now on,
            # which takes a tenth of a second where torch is loaded.
            gc.collect()
            gc.freeze()
            hosted.put(loaded)
        except Exception as error:  # it ends the server, and is raised where that has ended
            failed.append(error)
            server.should_exit = True
        else:
            say("ready")
            while mend is not None and hosted.state == "ready":
                await asyncio.sleep(_LOOK)
                with suppress(ModelError):  # who asks is told
                    await asyncio.to_thread(mend)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(loading())
        yield
        if hosted.every():
            task.cancel()  # it is only looking
        with suppress(asyncio.CancelledError):
            await task
        app.state.answering.seats.close()
        app.state.answering.looking_up.close()

    server = _Server(bounded(make(lifespan), lifespan="on", drain=DRAIN), hosted)
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        with listening:
            server.run(sockets=[listening])
    finally:
        sys.setswitchinterval(before)
        gc.unfreeze()  # what stays frozen is told as a leak by libraries when Python ends
    if failed:
        raise failed[0]
