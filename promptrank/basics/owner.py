"""One owner at a time: whoever writes an output, an adapter or an alias file holds its lock.

The lock is a file beside what is written, ``.out.lock`` for ``out.parquet``, and says who holds it.
The system keeps the lock for the process and drops it when the process ends, however it ends; so
no lock is ever stale, and a lock file that nobody holds tells of a process that was killed. Whoever
writes next in that folder clears what that process left (see `promptrank.basics.leftovers`).
"""

import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.leftovers import clear
from promptrank.errors import InputError

if TYPE_CHECKING:
    from filelock import BaseFileLock

SWITCH = "PROMPTRANK_LOCKS"
"""Environment variable: ``0`` for file systems without locks, where the user sees to it alone."""
_MOMENT = 0.5  # seconds: another one that clears a folder may hold a dead lock for so long
_MARK = "promptrank"  # key that only our lock files have
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EIO, errno.ESTALE)
_MOST = 4096  # bytes of a lock file that are read


@contextmanager
def owned(
    path: Path, command: str, *, name: str | None = None, wait: float = _MOMENT
) -> Iterator[None]:
    """Be the only one that writes ``path``, a file or a folder, until the context is left.

    The folder it lies in is made. Links in the way to it do not matter: the lock lies in the real
    folder. What a process that was killed left there is cleared first.

    Args:
        command: what is being done, for whoever comes second: ``rank``.
        name: what the lock is of, where several files go together: their stem.
        wait: seconds to wait for another owner; for short work, such as a change of an alias.

    Raises:
        InputError: somebody else writes it, or nothing can be locked there.
    """
    if os.environ.get(SWITCH) == "0":
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.parent.resolve()
        place = lock_file(folder, name or path.name)
        lock = _acquire(place, _facts(path, command), wait)
        if lock is None and not place.exists():
            # Nobody has it: it could not be made, as in /proc, where a lock is tried in vain.
            os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
            lock = _acquire(place, _facts(path, command), wait)
    except OSError as error:
        raise _unlockable(path, error) from error
    if lock is None:
        raise InputError(_refusal(path, _read(place)))
    try:
        clear(folder, _name_of(place))
        clear_dead(folder)
        yield
    finally:
        _release(lock, place)


def lock_file(folder: Path, name: str) -> Path:
    """The lock of what is called ``name`` in a folder."""
    return folder / f".{name.lstrip('.')}.lock"


def clear_dead(folder: Path) -> None:
    """Clear what killed processes of this user left in a folder, by the locks they had."""
    with suppress(OSError), os.scandir(folder) as entries:
        lock_files = [Path(e.path) for e in entries if e.name[:1] == "." and e.name[-5:] == ".lock"]
        for place in lock_files:
            if _is_ours(place):
                _clear_if_dead(place)


def _clear_if_dead(place: Path) -> None:
    lock = _acquire(place, None, 0)
    if lock is not None:
        try:
            clear(place.parent, _name_of(place))
        finally:
            _release(lock, place)


def _is_ours(place: Path) -> bool:
    """Whether it is a lock that promptrank made for this user; others are left alone."""
    try:
        about = place.lstat()
    except OSError:
        return False
    # Of a link or a pipe that somebody put there nothing is read.
    mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
    return mine and place.is_file() and not place.is_symlink() and _MARK in _read(place)


class _Replaced(Exception):
    """The file that was locked is not the one that bears the name any more."""


def _acquire(place: Path, facts: bytes | None, wait: float) -> "BaseFileLock | None":
    """The lock, with ``facts`` written into it; None where somebody else has it."""
    from filelock import FileLock, Timeout

    def check_and_write(fd: int) -> None:
        # Its last owner has removed it between our opening and our locking it.
        if not _is_file_of(fd, place):
            raise _Replaced
        if facts is not None:
            with suppress(OSError):  # a full disk: then nobody will know who it is
                os.ftruncate(fd, 0)
                os.write(fd, facts)

    until = time.monotonic() + wait
    while True:
        lock = FileLock(
            place,
            mode=_mode(place.parent),
            thread_local=False,
            poll_interval=0.02,
            fallback_to_soft=False,
            on_acquired=check_and_write,
        )
        try:
            lock.acquire(timeout=max(0.0, until - time.monotonic()))
        except _Replaced:
            continue
        except Timeout:
            return None
        return lock


def _release(lock: "BaseFileLock", place: Path) -> None:
    """Remove the file while it is held: whoever waits for it sees that, and makes another."""
    with suppress(OSError):
        place.unlink()
    with suppress(OSError):
        lock.release()


def _is_file_of(fd: int, place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(place))
    except OSError:
        return False


def _mode(folder: Path) -> int:
    """Whoever may write in the folder may lock in it; in a folder like ``/tmp``, its maker."""
    allowed = folder.stat().st_mode
    return 0o600 if allowed & 0o1000 else 0o600 | (allowed & 0o066)


def _name_of(place: Path) -> str:
    return place.name[1:].removesuffix(".lock")


# -- who -------------------------------------------------------------------------------------


def _facts(path: Path, command: str) -> bytes:
    facts = {
        _MARK: 1,
        "pid": os.getpid(),
        "host": platform.node(),
        "command": f"promptrank {command}",
        "writes": path.name,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(facts).encode()


def _read(place: Path) -> dict[str, Any]:
    """What a lock file says; nothing where it is not one of ours."""
    try:
        with place.open("rb") as file:
            facts = json.loads(file.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _refusal(path: Path, facts: dict[str, Any]) -> str:
    """One sentence on who writes it; the facts may be anybody's, so only plain words are shown."""
    who = "another process"
    if facts.get("pid") == os.getpid() and facts.get("host") == platform.node():
        who = "this very process"
    elif type(facts.get("pid")) is int:
        who = f"process {facts['pid']} on {_plain(facts.get('host'))}"
    since = f", since {_clock(facts['since'])}" if "since" in facts else ""
    if "command" in facts:
        who += f" ({_plain(facts['command'])}{since})"
    other = _plain(facts.get("writes", path.name))
    which = "is" if other == _plain(path.name) else f"goes together with {other}, which is"
    return f"{path} {which} being written by {who}; wait for it or write elsewhere"


def _plain(value: Any) -> str:
    return "".join(c for c in str(value)[:300] if c.isprintable())


def _clock(text: Any) -> str:
    """Local time, with the date unless that is today."""
    try:
        moment = datetime.fromisoformat(str(text)).astimezone()
    except (ValueError, OverflowError, OSError):
        return _plain(text)
    today = moment.date() == datetime.now(UTC).astimezone().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def _unlockable(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OSError(error.errno, error.strerror, str(path))
    reason = error.strerror or str(error)
    if error.errno in _NO_LOCKS:
        return InputError(
            f"{path}: the file system there gives no locks ({reason}), so two runs could write it "
            f"at once; write elsewhere, or set {SWITCH}=0 and see to it that only one does"
        )
    if error.filename is not None and Path(error.filename).exists():
        return InputError(f"{path}: cannot be written ({reason}: {error.filename})")
    return InputError(
        f"{path}: cannot be written: {path.parent} takes no new files ({reason}); write elsewhere"
    )
