"""Digests that a file or a folder bears, so that damage is told before anything is believed.

A sealed JSON file has a last key ``sha256``: the digest of all its other keys and values, however
they are set out, so an editor may indent it anew. A sealed file that was changed is refused. One
without the key, as older versions wrote it and as somebody leaves who takes it out after an edit,
is held against its shape alone.

Digests tell damage, not intent: whoever can write a file can write its digest.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from promptrank.basics.digests import file_digest, json_digest
from promptrank.basics.files import write_text
from promptrank.basics.json_files import checked, json_object, read_json
from promptrank.errors import DataError, InputError

SEAL = "sha256"

T = TypeVar("T")


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """The object as plain JSON values, with its seal; what JSON has no form for becomes text."""
    plain: dict[str, Any] = json.loads(json.dumps(value, default=str))
    plain.pop(SEAL, None)
    return {**plain, SEAL: json_digest(plain)}


def write_sealed(path: Path, value: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Write an object as a sealed JSON file, beside its place and renamed."""
    write_text(path, json.dumps(sealed(value), indent=indent, ensure_ascii=False) + "\n")


def read_sealed(
    path: Path, *, error: type[InputError] = DataError, then: str, constants: bool = False
) -> dict[str, Any]:
    """The object in a file, without its seal.

    Args:
        then: what to do about a fault, such as "fit it again".
        constants: NaN and infinity are allowed.

    Raises:
        error: as `read_json`, and where the seal is not that of the content.
    """
    given = read_json(path, error=error, then=then, constants=constants)
    return _opened(given, str(path), error, then)


def read_kept(
    path: Path,
    kind: type[T],
    *,
    what: str,
    error: type[InputError] = DataError,
    then: str,
    constants: bool = False,
) -> T:
    """A sealed file as a dataclass (or another type): first its shape is looked at, then its seal.

    A shape that is wrong says more than a seal that is.

    Raises:
        error: as `read_sealed` and `checked`.
    """
    given = read_json(path, error=error, then=then, constants=constants)
    bare = {name: value for name, value in given.items() if name != SEAL}
    made = checked(kind, bare, path, error=error, what=what, then=then)
    _opened(given, str(path), error, then)
    return made


def sealed_object(
    data: bytes | str, where: str, *, error: type[InputError] = DataError, then: str
) -> dict[str, Any]:
    """As `read_sealed`, of a text that stands in another file."""
    return _opened(json_object(data, where, error=error, then=then), where, error, then)


def _opened(
    given: dict[str, Any], where: str, error: type[InputError], then: str
) -> dict[str, Any]:
    if SEAL not in given:
        return given
    seal = given.pop(SEAL)
    if seal != json_digest(given):
        raise error(
            f"{where}: is not what was written: it was damaged or changed since (its sha256 does "
            f"not agree); {then}, or take its line {SEAL!r} out if the change is yours"
        )
    return given


def file_digests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Name -> SHA-256 of these files of a folder, sorted."""
    return {name: file_digest(folder / name) for name in sorted(names)}


def first_damage(folder: Path, digests: Mapping[str, str]) -> str | None:
    """What is wrong with the first file that is gone or changed; None where all are as written."""
    for name, digest in digests.items():
        path = folder / name
        try:
            now = file_digest(path)
        except FileNotFoundError:
            return f"{path} is missing"
        except OSError as fault:
            return f"{path} cannot be read ({fault.strerror})"
        if now != digest:
            return f"{path} is not what was written: it was damaged or changed since"
    return None


def config_beside(path: Path) -> Path:
    """The sealed file beside an output that says how it was made, and its digest."""
    return path.with_name(f"{path.stem}.config.json")


def written_digest(path: Path, config: Path) -> str | None:
    """The digest that a config states for a file beside it; None if it states none.

    A config that cannot be believed states nothing.
    """
    try:
        files = read_sealed(config, then="").get("files")
    except InputError:
        return None
    digest = files.get(path.name) if isinstance(files, dict) else None
    return digest if isinstance(digest, str) else None
