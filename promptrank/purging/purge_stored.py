"""Purging runs in object stores, and the working copies of them on this machine.

A copy of the run is purged as any run is. Then what has changed goes back as in
`promptrank.purging.exchange`: beside its place first, then an object that says so, then in its
place. A purge that was killed leaves a store from which the next one takes up what was said there.
"""

from collections.abc import Callable, Collection, Iterator
from pathlib import Path, PurePosixPath

from promptrank.basics.digests import file_digest
from promptrank.basics.leftovers import remove
from promptrank.basics.scratch import scratch
from promptrank.basics.seals import write_sealed
from promptrank.errors import DataError
from promptrank.places.local_copies import local_copy, paths_below
from promptrank.places.object_store import is_there, names_below, put, take_away
from promptrank.purging.exchange import made_for
from promptrank.purging.proof import Occurrence, files_below, occurrences
from promptrank.purging.purge_runs import purge_run
from promptrank.purging.purged_subject import PurgedSubject
from promptrank.purging.removed import Removed
from promptrank.runs.run_identity import PLAN, PURGE, RUN
from promptrank.runs.working_copies import at_work, working_copies, working_copy

Known = Callable[[Path], Collection[str]]
"""Of a folder of a run, ids of requests that are known to be theirs."""


def stored_runs_in(address: str) -> list[str]:
    """Addresses of the runs and plans that an address is, or that lie right below it.

    One of which there is a working copy alone counts too.

    Raises:
        DataError: none.
    """
    if is_there(address):
        raise DataError(
            f"{address}: is one object, and in a store purge takes the folders of runs; fetch the "
            "file, purge it, and put it back"
        )
    paths = [PurePosixPath(path) for path in paths_below(address)]
    told = [path.parent for path in paths if path.name in (RUN, PLAN)]
    copies = [copy for copy in working_copies().values() if copy.startswith(f"{address}/")]
    if PurePosixPath() in told or working_copy(address).is_dir():
        return [address]
    below = {f"{address}/{folder.parts[0]}" for folder in told}
    if runs := sorted(below | set(copies)):
        return runs
    raise DataError(f"{address}: there is no run in it; look at the address")


def purge_stored(address: str, subject: PurgedSubject, known: Known, *, dry: bool) -> list[Removed]:
    """Remove a person from a run in a store, and from its working copy on this machine.

    Nothing tells whether another machine is at work on it.

    Raises:
        InputError: this machine is.
        DataError: a shard is damaged, or the store cannot be read or written.
    """
    copy = working_copy(address)
    done: list[Removed] = []
    with at_work(copy, "purge"):
        if paths_below(address):
            with local_copy(address) as folder:
                before = _digests(folder)
                removed = purge_run(folder, subject, known(folder), dry=dry)
                if not dry:
                    _put_back(address, folder, before)
            removed.path = address
            done.append(removed)
        if copy.is_dir():
            done.append(_purge_copy(copy, subject, known, dry))
    return done


def _purge_copy(copy: Path, subject: PurgedSubject, known: Known, dry: bool) -> Removed:
    """One that is damaged, or was not begun, goes whole: its store has what was finished."""
    try:
        return purge_run(copy, subject, known(copy), dry=dry)
    except DataError:
        removed = Removed(copy)
        removed.add("damaged working copy")
        if not dry:
            remove(copy)
        return removed


def _put_back(address: str, folder: Path, before: dict[str, str]) -> None:
    """Make a store what a copy of it has become."""
    now = _digests(folder)
    changed = [path for path, digest in now.items() if before.get(path) != digest]
    runs = sorted(path.parent for path in folder.rglob(RUN))
    gone = set(before) - set(now)
    for run in runs:
        mine = [folder / path for path in changed if (folder / path).is_relative_to(run)]
        gone |= _exchange(address, folder, run, mine) if mine else set()
    for path in changed:  # of several runs, the summary of all
        if not any((folder / path).is_relative_to(run) for run in runs):
            put(folder / path, f"{address}/{path}")
    # What says that an exchange goes on goes first of what it needs.
    for path in sorted(gone, key=lambda path: (PurePosixPath(path).name != PURGE, path)):
        take_away(f"{address}/{path}")


def _exchange(address: str, folder: Path, run: Path, paths: list[Path]) -> set[str]:
    """Put files of a run in their place, so that a kill does no harm; what is then to go."""
    beside = [made_for(path).relative_to(folder).as_posix() for path in paths]
    for path, place in zip(paths, beside, strict=True):
        put(path, f"{address}/{place}")
    intent = (run / PURGE).relative_to(folder).as_posix()
    with scratch() as passing:
        files = [path.relative_to(run).as_posix() for path in paths]
        write_sealed(passing / PURGE, {"files": files, "sealed": {}})
        put(passing / PURGE, f"{address}/{intent}")
    for path in paths:
        put(path, f"{address}/{path.relative_to(folder).as_posix()}")
    return {intent, *beside}


def _digests(folder: Path) -> dict[str, str]:
    paths = files_below(folder)
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in paths}


def stored_occurrences(
    address: str, subject: PurgedSubject, looked: list[str]
) -> Iterator[Occurrence]:
    """Where the id stands in a run in a store, whose objects are fetched anew for it.

    Args:
        looked: takes the addresses of what was looked at.
    """
    if paths_below(address):
        with local_copy(address) as folder:
            for path in files_below(folder):
                place = f"{address}/{path.relative_to(folder).as_posix()}"
                looked.append(place)
                for each in occurrences(path, subject):
                    yield Occurrence(place, each.where, each.item)


def stored_beyond(addresses: Collection[str]) -> list[str]:
    """What of runs in stores was not looked into, in words, by name."""
    words = []
    for address in addresses:
        plain = {f"{address}/{path}" for path in paths_below(address)}
        words += [
            f"{name}: its name is none of a file"
            for name in names_below(address)
            if name not in plain
        ]
        words.append(
            f"{address}: working copies on other machines, and earlier versions of its objects "
            "where the store keeps them"
        )
    named = set(map(working_copy, addresses))
    for copy, address in working_copies().items():
        if copy not in named:
            then = f"name it by --run {address}" if address else "remove it"
            words.append(f"{copy}: a working copy of a run that was not named; {then}")
    return words
