"""What is told of a run in a store: its address and name, not those of its working copy."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from promptrank.basics.telling import Say
from promptrank.runs.run_ends import RunEnd, RunEnds, Unfinished

End = TypeVar("End", bound=RunEnd)


class EndsByAddress(dict[str, RunEnd]):
    """Takes the ends of runs in a working copy, and keeps other ends up to date with them."""

    def __init__(self, ends: RunEnds, folder: Path, address: str) -> None:
        """Tell ``ends`` of the runs at an address."""
        super().__init__()
        self._ends, self._folder, self._address = ends, folder, address

    def __setitem__(self, name: str, end: RunEnd) -> None:
        """Take the end of a run; the one that is the folder itself is named by the address."""
        super().__setitem__(name, end)
        alone = end.folder == self._folder
        end = by_address(end, self._folder, self._address)
        if isinstance(end, Unfinished):
            end = replace(end, error=self._words(end.error))
        self._ends[end.folder.name if alone else name] = end

    def _words(self, text: str) -> str:
        return words_by_address(self._folder, self._address)(text)


def by_address(end: End, folder: Path, address: str) -> End:
    """The end of a run in a working copy, as that of the run at the address."""
    return replace(end, folder=Path(address) / end.folder.relative_to(folder))


def words_by_address(folder: Path, address: str) -> Callable[[str], str]:
    """Of words about a working copy those about the address."""
    name = address.rpartition("/")[2]
    return lambda text: text.replace(str(folder), address).replace(folder.name, name)


def say_by_address(say: Say, folder: Path, address: str) -> Say:
    """A `say` that is told of a working copy, and tells of the address."""
    words = words_by_address(folder, address)
    return lambda text: say(words(text))
