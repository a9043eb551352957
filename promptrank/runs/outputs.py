"""Where results may be written, checked and taken before anything is computed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.basics.owner import owned
from promptrank.errors import InputError


def check_output(
    out: str | Path, suffixes: tuple[str, ...], inputs: Iterable[str | Path | None] = ()
) -> Path:
    """The path of an output whose folder exists now.

    Raises:
        InputError: a name with another ending, a folder, a folder that cannot be made, or a name
            whose companions (``<stem>.errors.jsonl``) would overwrite those of an input.
    """
    path = Path(out)
    if path.suffix not in suffixes:
        raise InputError(f"{path}: write to a file that ends in {' or '.join(suffixes)}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: no folder can be made there ({error.strerror})") from None
    for given in inputs:
        if given is None:
            continue
        other = Path(given)
        if (other.resolve().parent, other.stem) == (path.resolve().parent, path.stem):
            raise InputError(
                f"{path}: would overwrite {other} or the files that belong to it; "
                "choose another name"
            )
    return path


@contextmanager
def taken(path: str | Path | None, command: str) -> Iterator[None]:
    """Be the only one that writes an output and the files that belong to it.

    Outputs of one stem share files (``<stem>.errors.jsonl``), so they go together.

    Args:
        path: as `check_output` gave it; None where nothing is to be written.
        command: what writes it, for whoever comes second: ``rank``.

    Raises:
        InputError: another process, or another thread of this one, writes it.
    """
    if path is None:
        yield
        return
    with owned(Path(path), command, name=Path(path).stem):
        yield
