"""A run whose folder lies in an object store, over a working copy on the local disk.

The run is made in the working copy as any other run is. While it is under way a thread puts each
finished shard into the store: its files first, the facts that say what they are last, as they were
written. What stands in the store is the truth: a start fetches what the working copy lacks or has
otherwise, so the run goes on from any machine; what the working copy has whole and the store has
damaged, or no more, is put again.

A start compares names and sizes of objects with those of the working copy. Where the run is
finished it reads the objects too, as there is nothing else to do then.
"""

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from promptrank.basics.digests import file_digest
from promptrank.basics.files import write_text
from promptrank.basics.leftovers import remove
from promptrank.basics.plurals import counted
from promptrank.basics.seals import read_sealed
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, InputError
from promptrank.places.local_copies import local_copy, paths_below, speaking_of
from promptrank.places.object_store import (
    check_bucket,
    fetch,
    object_digest,
    put,
    put_new,
    take_away,
)
from promptrank.runs.run_identity import PLAN, PURGE, RUN, SUMMARY, clear_run
from promptrank.runs.several_runs import names_of_runs
from promptrank.runs.working_copies import at_work, clear_copies, note_use, working_copy

_LOOK = 2.0  # seconds between two looks for finished shards
_READERS = 8  # objects that are read at once
_SAID = (RUN, PLAN, SUMMARY)
_AGAIN = "name another folder for the run"


class StoredRun:
    """One run in a store, or several in folders of their own."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self._there: dict[str, str] = {}  # path -> digest of what the store has
        self._done: dict[Path, tuple[int, int]] = {}  # facts -> when written, and their size
        self._damaged: list[str] = []  # paths that the store has otherwise, or no more
        self._error: Exception | None = None
        self._putting = threading.RLock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="promptrank-store", daemon=True)

    def takes_it(self) -> bool:
        """Whether the store takes what is made; it has what says which run it is, once this is so.

        A store that takes nothing is so known before the first shard is ranked.
        """
        if self._error is None:
            try:
                self._put_begun()
            except Exception as error:
                self._error = error
        return self._error is None

    def begin(self, say: Say = silent) -> None:
        """Make the working copy what the store has, and watch for what is finished."""
        stored = paths_below(self.address)
        if not stored:
            check_bucket(self.address)
            remove(self.folder)  # it was removed from the store
        elif not any(p in (RUN, PLAN) or p.startswith("shards/") for p in stored):
            raise InputError(
                f"{self.address}: holds something else, such as {next(iter(stored))}; {_AGAIN}"
            )
        if any(Path(path).name == PURGE for path in stored):
            raise InputError(
                f"{self.address}: a purge of it was stopped; give that `promptrank purge` again, "
                "which finishes it"
            )
        note_use(self.folder, self.address)
        if PLAN not in stored:
            (self.folder / PLAN).unlink(missing_ok=True)
        self._clear_others({path for path in stored if Path(path).name == RUN})
        facts = [path for path in stored if Path(path).parent.name == "shards"]
        for path in [*facts, *(path for path in stored if Path(path).name in _SAID)]:
            self._fetch(path)
        for path in facts:
            self._fetch_shard(path, stored)
        self._read_finished(facts, stored)
        for path in facts:
            files = _files(self.folder / path)
            if files and all(map(self._has, (self.folder / path, *self._paths(path)))):
                self._done[self.folder / path] = _written(self.folder / path)
        if self._damaged:
            say(
                f"{self.address}: {counted(len(self._damaged), 'object')} gone or not what was "
                f"written, such as {min(self._damaged)}; put again from the working copy"
            )
        self._thread.start()

    def end(self) -> None:
        """Put what has not been put yet, the summary last.

        Raises:
            DataError: the store does not take it.
        """
        self._end.set()
        self._thread.join()
        if self._error is not None:
            raise self._error
        self._put_finished()
        for summary in sorted(self.folder.rglob(SUMMARY), reverse=True):
            self._put(summary)

    def _clear_others(self, runs: set[str]) -> None:
        """Remove what the working copy has of runs that the store does not have, or has no more."""
        for path in list(self.folder.rglob(RUN)):
            if self._name(path) not in runs:
                clear_run(path.parent)
        for path in map(self.folder.joinpath, runs):
            if path.parent.is_dir():
                before = _identity(path)
                self._fetch(self._name(path))
                if _identity(path) != before:
                    clear_run(path.parent)

    def _fetch(self, path: str) -> None:
        """Fetch an object; facts of a shard that are damaged there leave whole ones as they are."""
        local = self.folder / path
        whole = local.parent.name == "shards" and bool(_files(local))
        ours = local.read_text(encoding="utf-8") if whole else ""
        fetch(f"{self.address}/{path}", local)
        self._there[path] = file_digest(local)
        if ours and not _files(local):
            write_text(local, ours)
            self._damaged.append(path)

    def _fetch_shard(self, facts: str, stored: Mapping[str, int]) -> None:
        """Fetch those files of a shard that the working copy does not have as the facts say."""
        for local, digest in self._paths(facts).items():
            path = self._name(local)
            if not local.is_file() or file_digest(local) != digest:
                if path in stored:
                    self._fetch(path)
            elif stored.get(path) == local.stat().st_size:
                self._there[path] = digest
            else:
                self._damaged.append(path)

    def _read_finished(self, facts: list[str], stored: Mapping[str, int]) -> None:
        """Of runs that are finished, read what is only known to have the right size."""
        runs = {path for path in stored if Path(path).name == SUMMARY}
        finished = [p for p in facts if (Path(p).parent.parent / SUMMARY).as_posix() in runs]
        known = {self._name(local): d for p in finished for local, d in self._paths(p).items()}
        paths = [path for path in known if self._there.get(path) == known[path]]
        with ThreadPoolExecutor(_READERS) as pool:
            digests = pool.map(object_digest, [f"{self.address}/{path}" for path in paths])
            for path, digest in zip(paths, digests, strict=True):
                if digest != known[path]:
                    self._there[path] = digest
                    self._damaged.append(path)

    def _paths(self, facts: str) -> dict[Path, str]:
        """Local path -> digest, of the files of a shard."""
        run = (self.folder / facts).parent.parent
        return {run / name: digest for name, digest in _files(self.folder / facts).items()}

    def _watch(self) -> None:
        try:
            while not self._end.wait(_LOOK):
                self._put_finished()
        except Exception as error:  # told by whoever ranks
            self._error = error

    def _put_begun(self) -> None:
        """Put what says which runs there are, and what each of them is."""
        with self._putting:
            for path in (self.folder / PLAN, *(run / RUN for run in self._runs())):
                if path.is_file():
                    self._put(path, new=path.name == RUN)

    def _put_finished(self) -> None:
        runs = self._runs()
        with self._putting:
            self._take_summaries_away()
            self._put_begun()
        for facts in (path for run in runs for path in sorted(run.glob("shards/*.json"))):
            written = _written(facts)
            if self._done.get(facts) != written and facts.name[0] != ".":
                self._put_shard(facts)
                self._done[facts] = written

    def _take_summaries_away(self) -> None:
        """What the working copy has begun anew is not finished in the store either."""
        for name in [name for name in self._there if Path(name).name == SUMMARY]:
            if not (self.folder / name).is_file():
                take_away(f"{self.address}/{name}")
                del self._there[name]

    def _runs(self) -> list[Path]:
        """Folders in which there may be a run."""
        try:
            names = names_of_runs(self.folder)
        except DataError:  # whoever ranks writes the plan again
            names = ()
        return [self.folder, *map(self.folder.joinpath, names)]

    def _put_shard(self, facts: Path) -> None:
        """Put what the store does not have of a shard; nothing of one that is damaged here.

        Nor of one that belongs to another run.
        """
        run = facts.parent.parent
        if _identity(facts) != _identity(run / RUN):
            return
        files = {run / name: digest for name, digest in _files(facts).items()}
        if any(not p.is_file() or file_digest(p) != digest for p, digest in files.items()):
            return
        for path in (*files, facts):
            self._put(path)

    def _has(self, path: Path) -> bool:
        return path.is_file() and self._there.get(self._name(path)) == file_digest(path)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _put(self, path: Path, *, new: bool = False) -> None:
        name = self._name(path)
        if self._has(path):
            return
        digest, address = file_digest(path), f"{self.address}/{name}"
        if not new or name in self._there:
            put(path, address)
        elif not put_new(path, address):
            self._check_same(path, address)
        self._there[name] = digest

    def _check_same(self, path: Path, address: str) -> None:
        """Whoever was first to say what is scored there is right."""
        with local_copy(address) as other:
            first, ours = (read_sealed(p, then=_AGAIN).get("identity") for p in (other, path))
        if first != ours:
            raise DataError(f"{address}: another run began there meanwhile; {_AGAIN}")


@contextmanager
def stored_run(address: str, say: Say = silent) -> Iterator[StoredRun]:
    """Work on a run in a store; on this machine nobody else does.

    Raises:
        InputError: somebody else does, or the place is taken by something else.
        DataError: the store cannot be read, or does not take what is written.
    """
    folder = working_copy(address)
    stored = StoredRun(address, folder)
    with at_work(folder, "rank"), speaking_of(address, folder):
        clear_copies(folder, say)
        stored.begin(say)
        try:
            yield stored
        except BaseException:
            with suppress(InputError, OSError):  # what stopped it says more
                stored.end()
            if stored._error is not None:
                raise stored._error from None
            raise
        stored.end()


def _files(facts: Path) -> dict[str, str]:
    """Path within its run -> digest, of the files of a shard; none where its facts are damaged."""
    try:
        files = read_sealed(facts, then=_AGAIN).get("files")
    except InputError:
        return {}
    return {str(k): str(v) for k, v in files.items()} if isinstance(files, dict) else {}


def _identity(path: Path) -> str | None:
    """Of which run a file says that it is; None where it is damaged or not there."""
    try:
        identity = read_sealed(path, then=_AGAIN).get("identity")
    except InputError:
        return None
    return str(identity)


def _written(path: Path) -> tuple[int, int]:
    """When a file was written, and its size."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size
