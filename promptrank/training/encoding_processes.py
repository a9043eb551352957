"""Chunks encoded by several processes of this Python, their results in the order of the chunks.

The processes are started afresh, never forked: by now threads run here that a fork would break.
They are not of `multiprocessing`, which would run the user's own script again in each. They talk
over their own pipes, so what is unpickled was pickled by this program.
"""

import os
import pickle
import signal
import struct
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from queue import SimpleQueue
from typing import IO, Any

import pyarrow as pa

from promptrank.errors import DataError, InputError
from promptrank.training.encoding import Chosen, ChunkEncoder, EncodedChunk, Recipe
from promptrank.training.example_facts import Facts

_AHEAD = 2  # chunks a process that wait for it, or for their turn to be taken
_LENGTH = struct.Struct("<Q")

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
            _write(self._in, value)

    def encode(self, chunk: list[Chosen]) -> EncodedChunk:
        """A chunk's examples."""
        self.tell(chunk)
        try:
            answer: Answer = _read(self._out)
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
    code = f"from {__name__} import serve; serve()"
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # The tokenizer's own threads would fight for the cores that the processes are there to use.
    known.setdefault("TOKENIZERS_PARALLELISM", "false")
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=known
    )
    try:
        made = _Process(process)
        made.tell(recipe)
        yield made
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()


def serve() -> None:
    """What such a process does: a recipe, then chunks, until nobody sends any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    encoder = ChunkEncoder(_read(sys.stdin.buffer))
    while True:
        try:
            chunk = _read(sys.stdin.buffer)
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
        _write(answers, answer)


def _as_stream(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as stream:
        stream.write_batch(rows)
    return bytes(sink.getvalue().to_pybytes())


def _write(pipe: IO[bytes], value: Any) -> None:
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)
