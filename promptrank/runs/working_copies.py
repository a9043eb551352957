"""Working copies of runs in object stores, in the user's cache: where they lie, when they go."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from promptrank.assets.wheels import cache_root
from promptrank.basics.digests import json_digest
from promptrank.basics.leftovers import remove
from promptrank.basics.owner import owned
from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.runs.run_identity import SUMMARY

FINISHED_DAYS, UNFINISHED_DAYS = 1, 14
"""For so long a working copy is kept after its run was finished, or unfinished and not used."""
_DAY = 86_400.0  # seconds
_ADDRESS = ".address"  # file of a working copy that says of what it is one


def working_copy(address: str) -> Path:
    """Where the working copy of a run in a store lies, or would lie."""
    readable = re.sub(r"[^\w.-]", "-", address.rpartition("/")[2])[-60:]
    return cache_root() / "runs" / f"{readable}-{json_digest(address)[:12]}"


def working_copies() -> dict[Path, str]:
    """All that there are, and of which run; of those of earlier versions nobody knows: ``""``."""
    copies: dict[Path, str] = {}
    for folder in sorted((cache_root() / "runs").glob("[!.]*/")):
        with suppress(OSError):
            place = folder / _ADDRESS
            copies[folder] = place.read_text(encoding="utf-8") if place.is_file() else ""
    return copies


@contextmanager
def at_work(folder: Path, command: str, *, wait: float | None = None) -> Iterator[None]:
    """Be the only one on this machine who works on a working copy.

    Raises:
        InputError: somebody else does.
    """
    more = {} if wait is None else {"wait": wait}
    with owned(folder, command, name=f"{folder.name}.store", **more):
        yield


def note_use(folder: Path, address: str) -> None:
    """Say of which run it is the working copy, and that it is used now."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _ADDRESS).write_text(address, encoding="utf-8")


def clear_copies(ours: Path, say: Say) -> None:
    """Remove working copies that are old, other than ours, and tell of those that were unfinished.

    Stores have what was finished. What was not may have shards that never came into the store.
    """
    for folder in working_copies():
        with suppress(InputError, OSError):  # somebody is at work on it
            if folder != ours and _is_old(folder):
                with at_work(folder, "rank", wait=0):
                    if _is_old(folder):  # nobody has begun it anew meanwhile
                        _clear(folder, say)


def _clear(folder: Path, say: Say) -> None:
    finished, of = (folder / SUMMARY).is_file(), working_copies().get(folder)
    remove(folder)
    if not finished:
        say(
            f"the working copy of {of or 'a run in a store'} was unfinished and not used for "
            f"{UNFINISHED_DAYS} days, and is removed: {folder}"
        )


def _is_old(folder: Path) -> bool:
    """By what is written last: the summary, or a start and finished shards."""
    summary = folder / SUMMARY
    if summary.is_file():
        return time.time() - summary.stat().st_mtime > FINISHED_DAYS * _DAY
    places = [folder, folder / _ADDRESS, *folder.glob("shards"), *folder.glob("*/shards")]
    last = max(place.stat().st_mtime for place in places if place.exists())
    return time.time() - last > UNFINISHED_DAYS * _DAY
