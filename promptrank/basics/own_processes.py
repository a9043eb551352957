"""Processes of this very program that are handed values and hand values back over their own pipes.

They are started afresh, never forked: by then threads run here that a fork would break. They are
not of `multiprocessing`, which would run the user's own script again in each. What is unpickled was
pickled by this program, and by nobody else: the pipes have no name.
"""

import io
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import IO, Any

_LENGTH = struct.Struct("<Q")


@contextmanager
def started(module: str, function: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that calls a function of a module; on leaving it is killed, whatever it does."""
    code = f"from {module} import {function}; {function}()"
    known = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # The tokenizer's own threads would fight for the cores that the processes are there to use.
    known.setdefault("TOKENIZERS_PARALLELISM", "false")
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=known
    )
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()


def answering_pipe() -> IO[bytes]:
    """In such a process: where its answers go. What a library prints goes to stderr from now on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


class _Pickler(pickle.Pickler):
    """Writes dataclasses with slots as calls with their fields.

    What they do by themselves is done in Python, field by field, at both ends, and records are by
    far the most of what is handed over.
    """

    def reducer_override(self, obj: Any) -> Any:
        kind = type(obj)
        getter = _getters.get(kind)
        if getter is None:
            getter = _getters[kind] = _getter(kind)
        return NotImplemented if getter is _no_getter else (kind, getter(obj))


def _no_getter(obj: Any) -> Any:
    raise NotImplementedError


def _getter(kind: type) -> Callable[[Any], Any]:
    if not (is_dataclass(kind) and "__slots__" in vars(kind)):
        return _no_getter
    about = fields(kind)
    names = [field.name for field in about]
    if len(names) < 2 or not all(field.init and not field.kw_only for field in about):
        return _no_getter
    return attrgetter(*names)


_getters: dict[type, Callable[[Any], Any]] = {}


def send(pipe: IO[bytes], value: Any) -> None:
    """Hand over a value; waits until the other side takes it."""
    made = io.BytesIO()
    _Pickler(made, pickle.HIGHEST_PROTOCOL).dump(value)
    data = made.getbuffer()
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive_bytes(pipe: IO[bytes]) -> bytes:
    """The next value as it was sent, for `value_of`.

    Raises:
        EOFError: the other side has ended.
    """
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return data


def value_of(data: bytes) -> Any:
    """The value that was sent."""
    return pickle.loads(data)


def receive(pipe: IO[bytes]) -> Any:
    """The next value.

    Raises:
        EOFError: the other side has ended.
    """
    return value_of(receive_bytes(pipe))
