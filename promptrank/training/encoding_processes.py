"""Chunks encoded by several processes of this Python, their results in the order of the chunks."""

import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import Any

import pyarrow as pa

from promptrank.basics.own_processes import answering_pipe, receive, send, started
from promptrank.errors import DataError, InputError
from promptrank.training.encoding import Chosen, ChunkEncoder, EncodedChunk, Recipe
from promptrank.training.example_facts import Facts

_AHEAD = 2  # chunks a process that wait for it, or for their turn to be taken

Answer = tuple[bytes, Facts] | str
"""Rows in Arrow's stream format with their facts; or an error as a message."""


def encoded_by(
    workers: int, recipe: Recipe, waiting: Iterable[list[Chosen]]
) -> Iterator[EncodedChunk]:
    """The chunks, encoded by so many processes, in their order; few are held at a time.

    Raises:
        InputError: what encoding raised.
        DataError: a process ended by itself, such as one that the system killed for its memory.
    """
    with ExitStack() as stack:
        idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(_started(recipe)))

        def encode(chunk: list[Chosen]) -> EncodedChunk:
            process = idle.get()
            try:
                return process.encode(chunk)
            finally:
                idle.put(process)

        threads = stack.enter_context(ThreadPoolExecutor(workers, "promptrank-encode"))
        under_way: deque[Future[EncodedChunk]] = deque()
        try:
            for chunk in waiting:
                under_way.append(threads.submit(encode, chunk))
                if len(under_way) > _AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


class _Process:
    """One process, which encodes a chunk at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None and process.stdout is not None
        self._process, self._in, self._out = process, process.stdin, process.stdout

    def tell(self, value: Any) -> None:
        """Hand it something."""
        with suppress(BrokenPipeError):  # it has ended: reading its answer tells
            send(self._in, value)

    def encode(self, chunk: list[Chosen]) -> EncodedChunk:
        """A chunk's examples."""
        self.tell(chunk)
        try:
            answer: Answer = receive(self._out)
        except EOFError:
            code = self._process.wait()
            raise DataError(
                f"a process that encoded examples ended by itself ({code}), perhaps for want of "
                "memory; --threads 1 encodes without one"
            ) from None
        if isinstance(answer, str):
            raise InputError(answer)
        rows, facts = answer
        with pa.ipc.open_stream(rows) as stream:
            return EncodedChunk(stream.read_next_batch(), facts)


@contextmanager
def _started(recipe: Recipe) -> Iterator[_Process]:
    with started(__name__, "serve") as process:
        made = _Process(process)
        made.tell(recipe)
        yield made


def serve() -> None:
    """What such a process does: a recipe, then chunks, until nobody sends any more."""
    answers = answering_pipe()
    encoder = ChunkEncoder(receive(sys.stdin.buffer))
    while True:
        try:
            chunk = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            made = encoder.encode(chunk)
            answer: Answer = (_as_stream(made.rows), made.facts)
        except InputError as error:
            answer = str(error)
        except Exception:
            traceback.print_exc()
            raise
        send(answers, answer)


def _as_stream(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue().to_pybytes())
