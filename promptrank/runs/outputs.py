"""Where results may be written, checked before anything is computed."""

from collections.abc import Iterable
from pathlib import Path

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
