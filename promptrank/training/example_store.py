"""Examples on disk, encoded once: an Arrow file that is mapped into memory and read row by row.

A folder is named by the key of what it holds, and written beside its place and renamed. What is
known of the examples stands in ``examples.json``, written last, with the digest of the Arrow file;
a folder whose two files do not agree is written anew.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from promptrank.basics.files import beside
from promptrank.basics.leftovers import remove
from promptrank.basics.owner import owned
from promptrank.basics.seals import file_digests, first_damage, read_kept, write_sealed
from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.training.encoding import EncodedChunk
from promptrank.training.example_facts import Facts
from promptrank.training.example_rows import SCHEMA, from_row
from promptrank.training.examples import Example

ROWS, ABOUT = "examples.arrow", "examples.json"
ROOM = "PROMPTRANK_EXAMPLES_GB"
"""Environment variable: how many GB of examples are kept."""
_ROOM = 20.0
_DAY = 86_400.0
_THEN = "remove its folder"


@dataclass(frozen=True, slots=True)
class About:
    """What `ABOUT` says.

    Attributes:
        requests: of the training part, whether or not they have a label.
        unread: rows that could not be read.
        data: digest of what was trained on, see `Prepared`.
        files: name -> digest.
    """

    facts: Facts
    requests: int
    unread: int
    data: str
    files: dict[str, str]


class StoredExamples(Sequence[Example]):
    """A task's examples in the order of the sample, each read from disk when it is wanted.

    Goes to other processes as the path of its folder.
    """

    def __init__(self, folder: Path, task: int) -> None:
        """``task`` is the number that the examples get."""
        self._folder, self._task = folder, task
        self._open()

    def _open(self) -> None:
        from datasets import Dataset

        rows = Dataset.from_file(str(self._folder / ROWS))
        self._rows = rows.with_format("arrow")
        # Rows stand as the request file had them.
        self._order = np.argsort(rows.data.column("place").to_numpy(), kind="stable")

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> list[Example]: ...
    def __getitem__(self, place: int | slice) -> Example | list[Example]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        return from_row(self._rows[int(self._order[place])].to_pylist()[0], self._task)

    def ids(self) -> list[str]:
        """Ids of the requests, in the order of the sample."""
        ids = self._rows.data.column("request_id").to_numpy()
        return ids[self._order].tolist()  # type: ignore[no-any-return]

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_task": self._task}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._folder, self._task = state["_folder"], state["_task"]
        self._open()


@contextmanager
def kept(folder: Path, say: Say) -> Iterator[None]:
    """Hold a folder of examples while it is looked at or written; another run's is waited for."""
    command = "train"
    try:
        lock = owned(folder, command)
        lock.__enter__()
    except InputError:
        if not folder.parent.is_dir():
            raise
        say(f"waiting for another process that encodes the same examples ({folder})")
        lock = owned(folder, command, wait=_DAY)
        lock.__enter__()
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def look_up(folder: Path, say: Say) -> About | None:
    """What is known of the examples in a folder; None where they are not there, or not whole.

    What is damaged is told and removed. The caller holds the folder.
    """
    if not folder.is_dir():
        return None
    try:
        about = read_kept(folder / ABOUT, About, what="facts of examples", then=_THEN)
        problem = first_damage(folder, about.files)
    except InputError as error:
        problem = str(error)
    if problem is None:
        with suppress(OSError):  # a cache that others may read only
            os.utime(folder / ABOUT)  # by which it is known when it was used last
        return about
    say(f"examples are encoded anew: {problem}")
    remove(folder)
    return None


@contextmanager
def writing(folder: Path) -> Iterator["Written"]:
    """Write examples and what is known of them; the folder is there when all went well.

    The caller holds it.
    """
    with beside(folder) as part:
        part.mkdir()
        with pa.OSFile(str(part / ROWS), "wb") as file:
            yield Written(part, file)


class Written:
    """Examples on their way to the disk."""

    def __init__(self, part: Path, file: Any) -> None:
        self._part, self._file = part, file

    def rows(self, encoded: Iterable[EncodedChunk]) -> Iterator[Facts]:
        """Write chunks in their order; gives the facts of each when it is written."""
        with pa.ipc.new_stream(self._file, SCHEMA) as stream:
            for chunk in encoded:
                if chunk.rows.num_rows:
                    stream.write_batch(chunk.rows)
                yield chunk.facts

    def ids(self) -> list[str]:
        """Ids of the requests of all examples, in the order of the sample."""
        self._file.close()
        return StoredExamples(self._part, 0).ids()

    def about(self, facts: Facts, requests: int, unread: int, data: str) -> About:
        """Write down what is known: all rows are there."""
        about = About(facts, requests, unread, data, file_digests(self._part, [ROWS]))
        write_sealed(self._part / ABOUT, asdict(about))
        return about


def make_room(folder: Path, say: Say) -> None:
    """Remove the examples that were used longest ago, until `ROOM` holds the others.

    ``folder`` stays, and so does what another process holds.
    """
    limit = _limit()
    others = [(p.stat().st_mtime, p.parent) for p in folder.parent.glob(f"*/{ABOUT}")]
    left = sum(_size(each) for _, each in others)
    for _, each in sorted(others):
        if left <= limit:
            return
        if each == folder:
            continue
        try:
            with owned(each, "train", wait=0):
                size = _size(each)
                remove(each)
        except InputError:
            continue
        left -= size
        say(f"removed examples of an earlier run, {size / 1e9:.1f} GB: {each}")


def _limit() -> float:
    """Bytes that may be kept."""
    given = os.environ.get(ROOM)
    try:
        room = float(given) if given else _ROOM
    except ValueError:
        room = -1.0
    if not room >= 0:
        raise InputError(f"{ROOM}: a number of gigabytes, not {given!r}")
    return room * 1e9


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
