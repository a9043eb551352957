"""The checks of `promptrank validate` on texts as they are typed, with the lines they are about."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from promptrank.adapters.card import read_card
from promptrank.basics.digests import json_digest
from promptrank.basics.telling import silent
from promptrank.errors import ErrorRow, InputError, TaskError
from promptrank.prompt.places import place_of
from promptrank.prompt.template import Template, load_template
from promptrank.ranking.ranker import Ranker
from promptrank.runs.manifest import task_config, task_digest
from promptrank.schema.yaml_lines import key_lines, problem_line
from promptrank.schema.yaml_values import MAX_BYTES
from promptrank.workbench.desk import Desk, DeskTask
from promptrank.workspace.adapters import changed
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.task_checks import unsupplied
from promptrank.workspace.tasks import OpenTask, data_folder

if TYPE_CHECKING:
    from promptrank.tables.supplied import Supplied

T = TypeVar("T")
Where = Literal["task", "template", "elsewhere"]

_READ = (
    *("data", "tables", "ratings", "judgements", "requests", "outcomes", "corrections"),
    *("history", "statistics", "questions", "split"),
)
"""Keys of a task that say what is read from its tables, but for the words of its questions."""
_WORDS = {"ask", "say", "score", "relevant"}
"""Keys of questions and answers that change nothing about the tables."""
_KEPT = 8


@dataclass(frozen=True, slots=True)
class Misfit:
    """What keeps a draft from ranking.

    Attributes:
        where: which of the two texts it is about.
        line: in that text, counted from 1; None where it is about all of it.
        message: what, and what to do.
    """

    where: Where
    line: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Texts that were checked.

    Attributes:
        ranker: of the draft; None where ``misfits`` keep it from ranking.
        misfits: in the order of the texts.
        notes: what works, and a person should know.
        other_words: the one of the notes that the adapter was trained with other words; empty where
            it was not.
    """

    texts: TaskTexts
    opened: OpenTask | None
    ranker: Ranker | None
    misfits: tuple[Misfit, ...] = ()
    notes: tuple[str, ...] = ()
    other_words: str = ""

    def without_adapter(self, instead: str = "") -> "Draft":
        """The same with another note, or none, in the place of ``other_words``."""
        notes = [note if note != self.other_words else instead for note in self.notes]
        return replace(self, notes=tuple(filter(None, notes)), other_words="")


class DraftChecks:
    """Checks drafts and opens what ranks them; from any thread. What was opened last is kept."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._lock = Lock()
        self._rankers: OrderedDict[Any, Ranker] = OrderedDict()
        self._supplied: dict[str, Supplied | None] = {}

    def saved(self, task: DeskTask) -> Draft:
        """What the files hold now, checked in the same way."""
        return self.check(task, task.saved())

    def check(self, task: DeskTask, texts: TaskTexts) -> Draft:
        """Everything that can be known of a draft without a request.

        Raises:
            Refused: the task is being loaded.
        """
        adapter = self._desk.served(task).ranker.adapter
        lines = key_lines(texts.task)
        misfits: list[Misfit] = []

        def attempt(check: Callable[[], T]) -> T | None:
            problems: list[str] = []
            try:
                return check()
            except TaskError as error:
                problems += error.problems
            except InputError as error:
                problems += str(error).split("\n")
            misfits.extend(_misfit(problem, texts, lines) for problem in problems)
            return None

        opened = attempt(lambda: task.drafted(texts))
        if len(texts.template) > MAX_BYTES:
            message = f"a template has at most {MAX_BYTES:,} characters; this one has more"
            misfits.append(Misfit("template", None, message))
        if opened is None or len(texts.template) > MAX_BYTES:
            return Draft(texts, None, None, tuple(misfits))
        attempt(lambda: self._desk.check_draft(task, opened))
        template = attempt(lambda: _template(opened))
        ranker = None
        if template is not None:
            unknown = self.unsupplied(task, opened, template)
            misfits += [_misfit(problem, texts, lines) for problem in unknown]
            if not misfits:
                ranker = attempt(lambda: self._ranker(opened, template, adapter))
        notes = tuple(_notes(task, opened, ranker))
        other = _other_words(opened, adapter) if ranker is not None else ""
        notes += (other,) if other else ()
        return Draft(texts, opened, ranker, tuple(misfits), notes, other)

    def unsupplied(self, task: DeskTask, opened: OpenTask, template: Template) -> list[str]:
        """What a draft's template reads and no table supplies, a problem for each.

        There is none where the draft reads other tables than the saved task, or they are not here.
        """
        supplied = self._columns(task, opened)
        return [] if supplied is None else list(unsupplied(opened, template, supplied))

    def _ranker(self, opened: OpenTask, template: Template, adapter: str | None) -> Ranker:
        key = (opened.name, task_digest(opened.task), template.digest, adapter)
        with self._lock:
            if key in self._rankers:
                self._rankers.move_to_end(key)
                return self._rankers[key]
        ranker = self._desk.rank_draft(opened, adapter)
        with self._lock:
            # An adapter that traffic has left is not held in memory for drafts of before.
            left = [each for each in self._rankers if each[0] == key[0] and each[3] != adapter]
            for each in left:
                self._rankers.pop(each).close()
            self._rankers[key] = ranker
            while len(self._rankers) > _KEPT:
                self._rankers.popitem(last=False)[1].close()
        return ranker

    def _columns(self, task: DeskTask, opened: OpenTask) -> "Supplied | None":
        """What the tables supply; None where the draft reads others, or they are not here."""
        saved = _data_digest(task.opened)
        if _data_digest(opened) != saved:
            return None
        if saved not in self._supplied:
            from promptrank.tables.supplied import columns_of

            try:
                root = data_folder(task.opened, silent, offline=True)
                self._supplied[saved] = columns_of(task.opened.task, root)
            except InputError:
                self._supplied[saved] = None  # requests may be pasted without any table
        return self._supplied[saved]


def _template(opened: OpenTask) -> Template:
    return load_template(opened.task.template, opened.place.template_folders, opened.drafts)


def _data_digest(opened: OpenTask) -> str:
    """Of what a task reads from its tables."""
    config = task_config(opened.task)
    read = {name: config[name] for name in _READ if name in config}
    read["questions"] = {
        name: {
            **_without_words(question),
            "answers": {a: _without_words(about) for a, about in question["answers"].items()},
        }
        for name, question in config["questions"].items()
    }
    return json_digest(read)


def _without_words(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name not in _WORDS}


def _notes(task: DeskTask, opened: OpenTask, ranker: Ranker | None) -> Iterator[str]:
    if ranker is not None and ranker.encoder is not None:
        yield from ranker.encoder.notes
    if opened.task.template not in opened.drafts:
        (name,) = opened.drafts
        yield (
            f"the task names the template {opened.task.template}, and the text here is {name}: "
            "what is ranked is the other file"
        )
    if _questions(opened) != _questions(task.opened):
        yield "questions or answers have changed: labels and histories here know the saved ones"
    elif _data_digest(opened) != _data_digest(task.opened):
        yield (
            "what the task reads from its tables has changed: requests here are those of the "
            "saved task; save it, and run promptrank validate and build"
        )


def _other_words(opened: OpenTask, adapter: str | None) -> str:
    """What is said of an adapter that was trained with other words; empty for all others."""
    card = read_card(adapter) if adapter is not None else None
    parts = [each.part for each in changed(opened, card)] if card is not None else []
    if not parts:
        return ""
    return (
        f"the adapter {Path(str(adapter)).name} was trained with other words "
        f"({' and '.join(parts)}): these are its scores for a prompt that it never saw"
    )


def _questions(opened: OpenTask) -> Any:
    return {name: list(about.answers) for name, about in opened.task.questions.items()}


def _misfit(problem: str, texts: TaskTexts, lines: Mapping[str, int]) -> Misfit:
    place = place_of(problem, {texts.template_name: texts.template})
    if place is None:
        line = problem_line(problem, lines)
        return Misfit("task" if line is not None else "elsewhere", line, problem)
    if place.file != texts.template_name:
        return Misfit("elsewhere", place.line, problem)
    return Misfit("template", place.line, without_place(problem, place.file))


def misfits_of_rows(texts: TaskTexts, rows: Sequence[ErrorRow]) -> tuple[Misfit, ...]:
    """What a request showed of a draft: the first fault of each line, and how many there are."""
    by_line: dict[tuple[Where, int | None], list[Misfit]] = {}
    for row in rows:
        if row.stage == "prompt":
            misfit = _misfit(row.message, texts, {})
            by_line.setdefault((misfit.where, misfit.line), []).append(misfit)
    return tuple(
        replace(each[0], message=f"{each[0].message} (and {len(each) - 1} more like it)")
        if len(each) > 1
        else each[0]
        for each in by_line.values()
    )


def without_place(problem: str, file: str) -> str:
    """A problem of a template without the file and line that stand beside it anyway."""
    for head in (f"template {file}:", f"{file}:"):
        if problem.startswith(head):
            tail = problem.removeprefix(head)
            line, colon, what = tail.partition(":")
            return what.strip() if colon and line.isdigit() else tail.strip()
    return problem.replace(f"template {file}, ", "", 1)
