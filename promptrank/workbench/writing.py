"""Texts into the project's files, never silently over what somebody changed in the meantime.

A file is known by the digest that it had when the edit began. Where it is another one now, nothing
is written, and whoever asked is shown both. A text is written beside its place and renamed, under
the same lock as every output; the file keeps its mode, its line ends and its byte-order mark, and a
link stays a link.
"""

import codecs
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from promptrank.basics.files import beside
from promptrank.basics.owner import owned
from promptrank.errors import InputError
from promptrank.project import Project, builtin_root
from promptrank.schema.load import load_task
from promptrank.workspace.tasks import OpenTask

LARGEST = 1 << 20
"""So many bytes of a task file or template are read and written."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a file holds.

    Attributes:
        text: with line feeds alone and no byte-order mark; empty where there is no file.
        digest: of the text, as of `text_digest`; empty where there is no file.
    """

    path: Path
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class FileText:
    """A text for a file.

    Attributes:
        began: digest of the file when the edit began, as of `Held`.
    """

    path: Path
    text: str
    began: str


def held(path: Path) -> Held:
    """What a file holds now.

    Raises:
        InputError: it cannot be read, is too large, or is not UTF-8.
    """
    data = _bytes(path)
    if data is None:
        return Held(path, "", "")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8 and open it again"
        ) from None
    return Held(path, _lines(text), text_digest(text))


def text_digest(text: str) -> str:
    """SHA-256 of a text, whatever ends its lines."""
    return sha256(_lines(text).encode("utf-8", "surrogatepass")).hexdigest()


def place_of_task(opened: OpenTask) -> Path:
    """The file that a task is written to: its own, or for a built-in one a copy in the project."""
    if opened.place.origin == "built-in" and opened.project != opened.place.root:
        return opened.project / "tasks" / f"{opened.name}.yaml"
    return opened.place.path


def place_of_template(opened: OpenTask, name: str) -> Path:
    """The file that a template of a task is written to, likewise.

    Args:
        name: as the task has it.

    Raises:
        InputError: no name of a file below ``templates/``.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        raise InputError(f"template: {name!r} is no file below templates/; name one in the task")
    for folder in opened.place.template_folders:
        if (folder / name).is_file():
            built_in = folder == builtin_root() / "templates" and opened.project != builtin_root()
            return opened.project / "templates" / name if built_in else folder / name
    return opened.project / "templates" / name


def write_texts(wanted: Sequence[FileText]) -> list[Held]:
    """Write texts into their files, all of them or none.

    A text that is as it was when the edit began is not written, whatever its file holds now.

    Returns:
        Files that are not as they were when the edit began, and then nothing is written; none
        where all is. A file that holds the text already counts as written.

    Raises:
        InputError: somebody else writes there just now, or nothing can be written there.
    """
    # In one order for everybody, so that two who write the same files do not wait for each other.
    real = sorted(
        (
            FileText(each.path.resolve(), each.text, each.began)
            for each in wanted
            if text_digest(each.text) != each.began
        ),
        key=lambda each: each.path,
    )
    with ExitStack() as locks:
        for each in real:
            locks.enter_context(owned(each.path, "serve", wait=5))
        now = [held(each.path) for each in real]
        todo = [
            (want, have)
            for want, have in zip(real, now, strict=True)
            if not have.digest or have.text != _lines(want.text)
        ]
        changed = [have for want, have in todo if have.digest != want.began]
        if changed:
            return changed
        made = [(want.path, _encoded(want)) for want, _ in todo]
        for path, data in made:
            _put(path, data)
    return []


def sharing(opened: OpenTask, template: Path, project: Project) -> list[str]:
    """Names of the project's other tasks whose prompts change with a template file.

    They name it, extend it, import it or include it. Tasks that cannot be loaded are passed over.
    """
    from promptrank.prompt.template import load_template

    names = []
    for place in project.tasks():
        if place.name == opened.name:
            continue
        try:
            task = load_task(place.path)
            sources = load_template(task.template, place.template_folders).sources
        except InputError:
            continue
        files = (_first(place.template_folders, name) for name in sources)
        if any(file is not None and file.resolve() == template.resolve() for file in files):
            names.append(place.name)
    return names


def _encoded(wanted: FileText) -> bytes:
    """A text as its file has them: with its line ends and byte-order mark."""
    before = _bytes(wanted.path) or b""
    text = _lines(wanted.text)
    if text and not text.endswith("\n"):
        text += "\n"
    if b"\r\n" in before:
        text = text.replace("\n", "\r\n")
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{wanted.path.name}: the text holds half a character; type it anew"
        ) from None
    if before.startswith(codecs.BOM_UTF8):
        data = codecs.BOM_UTF8 + data
    if len(data) > LARGEST:
        raise InputError(f"{wanted.path.name}: {len(data):,} bytes, more than {LARGEST:,}")
    return data


def _put(path: Path, data: bytes) -> None:
    try:
        mode = path.stat().st_mode if path.exists() else None
        with beside(path) as part:
            part.write_bytes(data)
            if mode is not None:
                part.chmod(mode & 0o7777)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def _bytes(path: Path) -> bytes | None:
    """A file's bytes; None where there is none."""
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > LARGEST:
        raise InputError(f"{path}: more than {LARGEST:,} bytes; too large to be edited here")
    return data


def _lines(text: str) -> str:
    """Browsers send the line ends of HTTP, whatever a text came with."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)
