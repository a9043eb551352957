"""Processes of their own that read a run's requests, render and tokenize, beside the engine's.

Each reads the file and prepares every so-manieth block; the blocks come in their order, the same as
`promptrank.runs.request_blocks` makes. A process runs ahead by so many bytes (`AHEAD`), then waits
until they are taken, so memory is flat. When this process ends, however it does, a process that
prepares finds its pipe closed, and ends too.
"""

import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import IO, Any

from promptrank.basics.collecting import seldom_collected
from promptrank.basics.own_processes import (
    answering_pipe,
    receive,
    receive_bytes,
    send,
    started,
    value_of,
)
from promptrank.engine.contract import Tree
from promptrank.errors import DataError, InputError
from promptrank.ranking.method import AdapterOf, Work
from promptrank.ranking.posing import Posed, Posing
from promptrank.records import Request
from promptrank.runs.preparation import BlockShare, Preparation, PreparedPrompt, prepared
from promptrank.runs.prompt_digests import work_digest
from promptrank.runs.request_blocks import RequestBlock

AHEAD = 32_000_000
"""Bytes that wait, of one process, until it waits too; one message may go beyond."""

UNPICKLED = 6
"""Messages of one process that are ready to be taken: blocks, and prompts of 64 requests."""

_ENDED = object()


class PreparedBlocks:
    """A run's blocks as processes prepare them, and a `Posing` that has their prompts.

    Take one block after another from `blocks`, and pose requests of the last one only. What no
    process has prepared is posed as without them.
    """

    def __init__(self, posing: Posing, preparation: Preparation) -> None:
        """Take what poses without processes, and what these are to do."""
        self._posing, self._preparation = posing, preparation
        self._processes = ExitStack()
        self._prompts: dict[str, PreparedPrompt] = {}
        self._waiting: Iterator[list[PreparedPrompt]] = iter(())

    @property
    def fingerprint(self) -> str:
        """That of the prompts."""
        return self._posing.fingerprint

    def blocks(self, shares: Sequence[BlockShare]) -> Iterator[RequestBlock]:
        """The blocks from a place on in their order, by a process for each share.

        Processes that are at other blocks end.

        Raises:
            InputError: what a process met.
            DataError: a process ended by itself, such as one that the system killed for its memory.
        """
        self.close()
        processes = [
            self._processes.enter_context(_Process(self._preparation, share, self._processes))
            for share in shares
        ]
        number = shares[0].before.blocks
        while True:
            process = processes[number % len(processes)]
            for _ in self._waiting:  # of a block whose prompts nobody wanted
                pass
            self._prompts.clear()
            block = process.next()
            if block is None:
                return
            assert isinstance(block, RequestBlock)
            self._waiting = _prompts(process, block)
            yield block
            number += 1

    def close(self) -> None:
        """End the processes; safe to call twice."""
        self._waiting = iter(())
        self._prompts.clear()
        self._processes.close()

    def pose(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Posed]:
        """Requests in their order, lazily."""
        for request in requests:
            prompt = self._of(request)
            if prompt is None:
                yield from self._posing.pose([request], adapter_of)
                continue
            work = prompt.posed.work
            if adapter_of is not None and isinstance(work, Tree):
                work = replace(work, adapter=adapter_of(request))
            yield replace(prompt.posed, request=request, work=work)

    def digest_of(self, work: Work) -> str:
        """As `work_digest`, but that a process has reckoned it."""
        name = getattr(work, "tree_id", "")
        prompt = self._prompts.get(name)
        return prompt.digest if prompt is not None else work_digest(work)

    def _of(self, request: Request) -> PreparedPrompt | None:
        name = request.request_id
        while name not in self._prompts:
            more = next(self._waiting, None)
            if more is None:
                return None
            self._prompts.update((prompt.posed.request.request_id, prompt) for prompt in more)
        return self._prompts[name]


def _prompts(process: "_Process", block: RequestBlock) -> Iterator[list[PreparedPrompt]]:
    """The prompts of a block, with its requests put back."""
    left = deque(block.requests)
    while left:
        together = process.next()
        assert isinstance(together, list)
        yield [
            replace(prompt, posed=replace(prompt.posed, request=left.popleft()))
            for prompt in together
        ]


class _Process:
    """One process, and threads that take and unpickle what it sends before anybody asks for it.

    Else the engine would wait at every block for as long as its requests take to unpickle.
    """

    def __init__(self, preparation: Preparation, wanted: BlockShare, stack: ExitStack) -> None:
        process = stack.enter_context(started(__name__, "serve"))
        assert process.stdin is not None and process.stdout is not None
        self._process, self._pipe = process, process.stdout
        self._held: deque[bytes] = deque()
        self._size = 0
        self._values: deque[Any] = deque()
        self._over = self._closed = False
        self._changed = threading.Condition()
        with suppress(BrokenPipeError):  # it has ended: what is asked of it next tells
            send(process.stdin, (preparation, wanted))
        self._threads = [
            threading.Thread(target=work, name="prepared", daemon=True)
            for work in (self._take, self._unpickle)
        ]

    def __enter__(self) -> "_Process":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._process.kill()  # so that the thread finds the end
        for thread in self._threads:
            thread.join()

    def _take(self) -> None:
        while True:
            try:
                data: bytes | None = receive_bytes(self._pipe)
            except (EOFError, OSError):
                data = None
            with self._changed:
                if data is not None:
                    self._held.append(data)
                    self._size += len(data)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._size <= AHEAD or self._closed)
                if data is None or self._closed:
                    self._over = True
                    self._changed.notify_all()
                    return

    def _unpickle(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: (
                        self._closed
                        or (len(self._values) < UNPICKLED and (self._held or self._over))
                    )
                )
                if self._closed or not self._held:
                    self._values.append(_ENDED)
                    self._changed.notify_all()
                    return
                data = self._held.popleft()
                self._size -= len(data)
                self._changed.notify_all()
            try:
                value = value_of(data)
            except Exception as error:  # whoever asks next is to know, and not to wait for ever
                value = error
            with self._changed:
                self._values.append(value)
                self._changed.notify_all()

    def next(self) -> Any:
        """What it sent next; None behind its last block.

        Raises:
            InputError: what it met.
            DataError: it ended by itself.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._values)
            value = self._values[0]
            if value is not _ENDED:
                self._values.popleft()
            self._changed.notify_all()
        if value is _ENDED:
            code = self._process.wait()
            raise DataError(
                f"a process that prepared prompts ended by itself ({code}), perhaps for want of "
                "memory; the same command goes on where it was, and --prepare 0 does without one"
            )
        if isinstance(value, Exception):
            raise value
        return value


def serve() -> None:
    """What such a process does: a preparation, then its blocks, until the last one."""
    answers = answering_pipe()
    without_models()
    preparation, wanted = receive(sys.stdin.buffer)
    with suppress(BrokenPipeError), seldom_collected():  # whoever wanted it has gone
        _serve(answers, preparation, wanted)
    os._exit(0)  # nothing of it is worth the time that taking it apart would take


def without_models() -> None:
    """Have transformers load its tokenizers and nothing else, as where there is no PyTorch.

    Whoever renders and tokenizes wants no models, and is ready sooner without their imports.
    """
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"  # that PyTorch was not found
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def _serve(answers: IO[bytes], preparation: Preparation, wanted: BlockShare) -> None:
    try:
        for each in prepared(preparation, wanted):
            send(answers, each)
        send(answers, None)
    except BrokenPipeError:
        raise
    except InputError as error:
        send(answers, _plain(error))
    except Exception:
        traceback.print_exc()
        raise


def _plain(error: InputError) -> InputError:
    """The error as it can be handed on: its words, and its kind where these make it."""
    kinds: Mapping[str, type[InputError]] = {"DataError": DataError}
    return kinds.get(type(error).__name__, InputError)(str(error))
