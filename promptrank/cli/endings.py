"""How a command ends: for every error an exit code and a sentence, in one place.

Whatever the user's files, folders, machine or keys bring about is one message. Only what nothing
here knows is taken for a bug of ours: a short message, and the traceback in a file to report.
"""

import errno
import os
import select
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from promptrank import __version__
from promptrank.basics.stopping import before_work, how_to_go_on
from promptrank.errors import InputError

FINE, BUG, INPUT, UNMET, AGAIN, STOPPED = 0, 1, 2, 3, 75, 130
"""AGAIN is EX_TEMPFAIL: another start may mend it. A time-out of the engine ends with it too."""

_NEXT = {
    errno.EACCES: "choose another place, or change the permissions",
    errno.EPERM: "choose another place, or change the permissions",
    errno.EROFS: "choose a place that can be written",
    errno.ENOSPC: "free some space, or choose a place on another disk",
    errno.EDQUOT: "free some space, or choose a place on another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "look at the path",
    errno.ENOTDIR: "a file stands where a folder is needed; look at the path",
    errno.EISDIR: "a folder stands where a file is needed; look at the path",
    errno.EEXIST: "something of that name is there already",
    errno.ENOTEMPTY: "something of that name is there already",
    errno.ELOOP: "links lead round in a circle",
    errno.EMFILE: "raise the limit of open files (`ulimit -n`)",
    errno.ENFILE: "too many files are open on this machine",
    errno.EFBIG: "a file there may not be that large",
    errno.EIO: "the disk or its connection has a fault",
    errno.ENOMEM: "give it more memory, or less to do (--limit)",
    errno.EBADF: "it was closed while it was needed",
}
# Without a file's name only these are the machine's doing for certain.
_MACHINE = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
}

_LESS = {
    "train": "--micro 1, a smaller --batch or --limit, or --set budget.tokens=512",
    "build": "fewer requests with --limit, or fewer rows with sql:",
    "simulate": "fewer --members",
}
_LESS_RANKING = "fewer requests with --limit, shorter prompts with --set budget.tokens=512"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ends.

    Attributes:
        code: its exit code.
        words: for stderr; None where there is nothing to say.
    """

    code: int
    words: str | None


def ending(error: BaseException, *, stopped: bool = False, words: Sequence[str] = ()) -> Ending:
    """How a command ends that an error has left.

    Args:
        stopped: whether somebody pressed Ctrl-C; then every error is its consequence.
        words: of the command line, without the program's name.
    """
    if isinstance(error, SystemExit):
        error = _behind(error)
    if stopped or isinstance(error, KeyboardInterrupt):
        how = how_to_go_on(error) or before_work(words)
        return Ending(STOPPED, f"stopped; {how}")
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else BUG
        return Ending(code if error.code is not None else FINE, None)
    if isinstance(error, BrokenPipeError) and _reader_left():
        # `head`, a pager: it has what it wanted.
        return Ending(FINE, None)
    verb = next((word for word in words if not word.startswith("-")), "")
    told = str(error) if isinstance(error, InputError) else _environment(error, verb)
    if told is not None:
        return Ending(AGAIN if _may_pass(error) else INPUT, f"error: {told}")
    return Ending(BUG, _bug(error))


def _behind(error: SystemExit) -> BaseException:
    """What typer has put an exit code of its own in the place of."""
    behind = error.__context__
    while isinstance(behind, RuntimeError) and behind.__cause__ is not None:
        behind = behind.__cause__  # typer's Exit
    return behind if isinstance(behind, KeyboardInterrupt | BrokenPipeError) else error


def _may_pass(error: BaseException) -> bool:
    """Whether a full disk or too little memory is behind it, which may be otherwise later."""
    full = (errno.ENOSPC, errno.EDQUOT)
    if isinstance(error, InputError):  # a run says of a full disk what a shard takes
        return isinstance(error.__cause__, OSError) and error.__cause__.errno in full
    if isinstance(error, OSError) and error.errno in (*full, errno.ENOMEM):
        return True
    return _out_of_memory(error) or any(os.strerror(number) in str(error) for number in full)


def _out_of_memory(error: BaseException) -> bool:
    names = ("OutOfMemoryException", "OutOfMemoryError")  # DuckDB's and PyTorch's
    known = isinstance(error, MemoryError) or type(error).__name__ in names
    return known or "can't allocate memory" in str(error)


def _environment(error: BaseException, verb: str) -> str | None:
    """A sentence for what the machine or the user's files brought about; None for all else."""
    text = " ".join(str(error).split())
    if _out_of_memory(error):
        detail = f" ({text[:200]})" if text else ""
        return f"out of memory{detail}; try {_LESS.get(verb, _LESS_RANKING)}"
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, UnicodeDecodeError):
        return f"a text is not UTF-8 ({text[:200]}); save the file as UTF-8"
    if isinstance(error, UnicodeEncodeError):
        bad = ascii(error.object[error.start : error.end][:20])
        return f"a text holds {bad}, which {error.encoding} cannot write; correct the text"
    if isinstance(error, ValueError) and text.startswith("embedded null"):
        return "a path holds a NUL character, which no file's name can; take it out"
    # Libraries that write files themselves (DuckDB, safetensors, LightGBM) say it in words.
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        if os.strerror(number) in text:
            return f"{text[:400]}; {_NEXT[number]}"
    return None


def _system(error: OSError) -> str | None:
    number = error.errno
    said = (error.strerror or str(error) or type(error).__name__).strip()
    if said.startswith("No usable temporary directory"):
        return "no folder for temporary files can be written; set TMPDIR to one that can"
    names = [_name(n) for n in (error.filename, error.filename2) if n is not None]
    if not names and number not in _MACHINE:
        return None
    reason = os.strerror(number) if number is not None else said
    then = f"; {_NEXT[number]}" if number in _NEXT else ""
    if number in (errno.ENOSPC, errno.EDQUOT) and (how := how_to_go_on(error)):
        then += f"; then {how}"
    return f"{' -> '.join(names) or 'a file'}: {reason}{then}"


def _name(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, str | bytes) else str(name)


def _reader_left() -> bool:
    """Whether the reader of stdout or stderr has gone; pipes of our own break as well."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _bug(error: BaseException) -> str:
    whole = "".join(traceback.format_exception(error))
    said = (traceback.format_exception_only(error) or [""])[0].strip()[:300]
    about = f"promptrank {__version__} met a fault of its own: {said}\n"
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="promptrank-fault-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(f"promptrank {__version__}, {' '.join(sys.argv)}\n{whole}")
    except OSError:
        return whole + about + "please report it with the lines above"
    return about + f"please report it with {file.name}, which holds the traceback (--debug: here)"
