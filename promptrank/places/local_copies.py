"""Files and folders of object stores as local ones, for as long as a context lasts."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from promptrank.basics.addresses import is_object
from promptrank.basics.paths import expanded
from promptrank.basics.scratch import scratch
from promptrank.errors import DataError, InputError
from promptrank.places.object_store import checked, fetch, is_there, sizes_below

_NAME = re.compile(r"[\w.=-][\w.= -]*")


@contextmanager
def local_copy(name: str | Path, companions: Sequence[str] = ()) -> Iterator[Path]:
    """A file, or a folder with all that is below it; what is local already is given as it is.

    Args:
        companions: what stands beside a file, after its stem: ``.config.json``. They come too,
            where there are any.

    Raises:
        DataError: there is nothing of that name.
    """
    if not is_object(name):
        yield expanded(name)
        return
    address = checked(name)
    with scratch() as folder, speaking_of(address, folder / address.rpartition("/")[2]) as place:
        if is_there(address):
            fetch(address, place)
            base = address[: len(address) - len(place.suffix)]
            for more in companions:
                if is_there(base + more):
                    fetch(base + more, place.with_name(place.stem + more))
        else:
            below = paths_below(address)
            if not below:
                raise DataError(f"{address}: there is no such object, and none below it")
            for path in below:
                fetch(f"{address}/{path}", place / path)
        yield place


def paths_below(address: str) -> dict[str, int]:
    """Path -> bytes of the objects below an address, sorted, that are names of files too.

    Paths are relative to the address.
    """
    sizes = {name.removeprefix(f"{address}/"): b for name, b in sizes_below(address).items()}
    return {p: b for p, b in sizes.items() if all(map(_is_plain, PurePosixPath(p).parts))}


@contextmanager
def speaking_of(address: str, place: Path) -> Iterator[Path]:
    """What goes wrong inside is told of the address, not of the local file or folder."""
    try:
        yield place
    except InputError as error:
        error.args = tuple(
            a.replace(str(place), address) if isinstance(a, str) else a for a in error.args
        )
        raise


def _is_plain(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and name.strip(".") != ""
