"""Standard streams that cannot end a command: closed, full, without a reader, without UTF-8."""

import codecs
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Literal, TextIO

from promptrank.basics.paths import naming


class Output(TextIOWrapper):
    """Standard output, whose errors say that they are its own."""

    def write(self, text: str) -> int:
        """Write text; a full disk is told by name."""
        with naming(_STDOUT):
            return super().write(text)

    def flush(self) -> None:
        """Write what has been held back."""
        with naming(_STDOUT):
            super().flush()


_STDOUT = Path("standard output")
_SHOWN = "promptrank"  # an error handler of codecs


def prepare() -> None:
    """Make stdin, stdout and stderr usable, whatever the shell has made of them.

    A stream that was closed becomes the null device; else the next file that is opened would get
    its number, and a library that prints would write into it. What goes to a file or a pipe is
    UTF-8 in every locale, unless PYTHONIOENCODING says otherwise; a character that a terminal
    cannot show becomes an escape, and the bytes of a file's name stay what they are.
    """
    codecs.register_error(_SHOWN, _shown)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")
    for stream in (sys.stdout, sys.stderr):
        given = os.environ.get("PYTHONIOENCODING") or stream.isatty()
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if given else "utf-8", errors=_SHOWN)
    if type(sys.stdout) is TextIOWrapper and sys.stdout is sys.__stdout__:  # which stays open
        sys.stdout = Output(
            sys.stdout.buffer,
            sys.stdout.encoding,
            sys.stdout.errors,
            line_buffering=sys.stdout.line_buffering,
            write_through=sys.stdout.write_through,
        )


def _shown(error: UnicodeError) -> tuple[str | bytes, int]:
    """Bytes of names that Python could not decode go out again; all else becomes an escape."""
    assert isinstance(error, UnicodeEncodeError)
    pieces = []
    for sign in error.object[error.start : error.end]:
        code = ord(sign)
        if 0xDC80 <= code <= 0xDCFF:
            pieces.append(bytes([code - 0xDC00]))
        else:
            pieces.append(sign.encode("ascii", "backslashreplace"))
    return b"".join(pieces), error.end


def give_up(stream: TextIO) -> None:
    """What is written to the stream from here on goes nowhere; nobody is there, or no space."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _null(mode: Literal["r", "w"]) -> TextIO:
    # It stays open until the process ends, as the stream that it stands for would.
    return open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123
