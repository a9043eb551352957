"""A student is a folder: its kind's files and ``card.json``, written whole or not at all."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict

from promptrank.basics.digests import file_digest, json_digest
from promptrank.basics.files import put_folder
from promptrank.basics.leftovers import part_of, remove
from promptrank.basics.paths import expanded
from promptrank.basics.seals import first_damage, read_kept, write_sealed
from promptrank.errors import InputError, ModelError
from promptrank.schema.task import Task
from promptrank.students.kinds import KINDS

CARD = "card.json"
FOLDER = "students"
_AGAIN = "distill it again"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class StudentCard:
    """What a student is and what it learned from.

    Attributes:
        kind: ``gbdt``, ``sequence`` or ``decoder``.
        task, questions: the task's name, and a digest of its questions and answers.
        teacher: what taught it, with digests; None for a student of labels alone.
        data: requests, candidates, labels and teacher's answers that it learned from, and how many
            labels of ``valid`` stopped the training.
        metrics: of the part ``valid``, against labels and against the teacher; none where the task
            has no such part. Figures of the test part are for `evaluate` and `compare_students`.
        latency: of one request on one core.
        facts: what its kind has to say.
        files: path in its folder -> SHA-256, of every file but the card; cards of older versions
            have none.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    name: str
    kind: str
    task: str
    questions: str
    loss: str
    teacher: Mapping[str, Any] | None = None
    alpha: float = 1.0
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudentFolder:
    """A student that is there.

    Attributes:
        digest: SHA-256 over all its files but the card.
        size: bytes of them.
    """

    folder: Path
    card: StudentCard
    digest: str
    size: int


def questions_digest(task: Task) -> str:
    """SHA-256 over what a student answers: questions, answers and their worth."""
    asked = {
        name: [[a, answer.value] for a, answer in q.answers.items()] + [q.score, q.relevant_at]
        for name, q in task.questions.items()
    }
    return json_digest(asked)


def place_of(project: Path, name: str) -> Path:
    """Where a student of this name stands; InputError for a name that is no folder's."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r}: name a student with letters, digits, '.', '_' and '-'")
    return project / FOLDER / name


def student_names(project: Path) -> Iterator[str]:
    """The students of a project, sorted."""
    root = project / FOLDER
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if (folder / CARD).is_file() and not folder.name.startswith("."):
            yield folder.name


def find_student(name: str, project: Path) -> StudentFolder:
    """A student by its folder's path, or by its name in the project's ``students/``.

    Raises:
        ModelError: not there, or a card that cannot be read.
    """
    tried = [project / FOLDER / name, expanded(name)]
    for folder in tried:
        if (folder / CARD).is_file():
            return read_student(folder.resolve())
    known = ", ".join(student_names(project)) or "none yet; `promptrank distill` makes one"
    raise ModelError(f"no student {name!r} in {project / FOLDER}; students: {known}")


def check_task(student: StudentFolder, task: Task, name: str) -> None:
    """InputError for a student of another task, or of other questions than the task asks today."""
    card = student.card
    if card.task != name:
        raise InputError(
            f"student {card.name} was made for {card.task}, not for {name}; distill one for {name}"
        )
    if card.questions != questions_digest(task):
        raise InputError(
            f"student {card.name}: the questions or answers of {name} have changed since; "
            "distill it again"
        )


@contextmanager
def new_student(place: Path, *, replace: bool) -> Iterator[Path]:
    """An empty folder, which takes the student's place when all went well.

    Args:
        replace: put it in the place of one that stands there.

    Raises:
        InputError: one stands there, and is not to be replaced.
    """
    check_free(place, replace)
    beside = part_of(place)
    remove(beside)
    beside.mkdir(parents=True)
    try:
        yield beside
        put_folder(beside, place)
    finally:
        remove(beside)


def write_card(folder: Path, card: StudentCard) -> None:
    """Write a student's card into its folder, sealed, with the digests of its other files."""
    files = {_name(path, folder): file_digest(path) for path in _files(folder)}
    write_sealed(folder / CARD, {**asdict(card), "files": files}, indent=1)


def check_free(place: Path, replace: bool) -> None:
    """InputError where a student stands that must not be replaced."""
    if place.exists() and not replace:
        raise InputError(f"{place} is there already; choose another --name, or give --replace")


def read_student(folder: Path) -> StudentFolder:
    """The student in a folder.

    Raises:
        ModelError: a card that cannot be read, or a file that is not what was written with it.
    """
    path = folder / CARD
    # A figure may be NaN: a loss, where nothing had weight.
    card = read_kept(
        path,
        StudentCard,
        what="a student's card",
        error=ModelError,
        then=_AGAIN,
        constants=True,
    )
    if problem := first_damage(folder, card.files):
        raise ModelError(f"{problem}; copy the student again, or {_AGAIN}")
    if card.kind not in KINDS:
        raise ModelError(f"{folder}: a student of kind {card.kind!r}; kinds: {', '.join(KINDS)}")
    digest, size = hashlib.sha256(), 0
    for file in _files(folder):
        digest.update(_name(file, folder).encode())
        digest.update(bytes.fromhex(card.files.get(_name(file, folder)) or file_digest(file)))
        size += file.stat().st_size
    return StudentFolder(folder, card, digest.hexdigest(), size)


def _files(folder: Path) -> list[Path]:
    """Every file but the card, sorted."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / CARD)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
