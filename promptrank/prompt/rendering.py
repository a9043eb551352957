"""Requests to fragments: which block is rendered with what, and what need not be rendered again.

A block that uses the item alone is remembered by ``Item.key``, an event block that uses the item
and ``event.action`` by both; what uses neither row nor request is rendered once. The rest is
rendered each time and looked up by its text, so that only new text is ever tokenized.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from promptrank.engine.contract import Slot
from promptrank.errors import RowError
from promptrank.prompt.answers import AnswerPaths, resolve, wordings
from promptrank.prompt.blocks import Blocks, Parts, ids_of
from promptrank.prompt.chat import written_out
from promptrank.prompt.fragments import Fragment, Recent
from promptrank.prompt.printable import event_values, question_values, subject_values, task_problems
from promptrank.prompt.sandbox import Absent
from promptrank.prompt.template import Template
from promptrank.prompt.tokenizer import TextTokenizer
from promptrank.records import EMPTY, Event, Fields, Item, Request, Subject
from promptrank.schema.task import Task

Roots = Mapping[str, Fields]


@dataclass(frozen=True, slots=True)
class Asked:
    """An item as a candidate or an event shows it, and the questions behind it.

    Attributes:
        parts: fragments of the block candidate (of the block event under ``as: list``).
        questions: fragments of the block question, one tuple per question asked.
    """

    parts: Parts
    questions: tuple[Parts, ...] = ()


class Rendering:
    """One task's prompts over its rows.

    Attributes:
        blocks: the template's blocks as fragments.
        turns: whether history is written as turns.
        chat: the chat wrapper, or None.
        start: what stands before everything: BOS or the chat wrapper's head.
        paths: per question its (answer name, wording) pairs.
        by_item: whether a candidate's ids depend on nothing but its item.
        static_instruction: whether the instruction is the same for every request.
        slot_tokens: the longest question with its answer.
        problems: see `Encoder.problems`.
    """

    def __init__(
        self, task: Task, template: Template, tokenizer: TextTokenizer, cache_tokens: int
    ) -> None:
        self._task, self._tokenizer = task, tokenizer
        # A request made by hand need not know statistics: to a template they are null then.
        self._absent = {n: None for n, stat in task.statistics.items() if stat.about == "item"}
        self.blocks = Blocks(template, task.vars, tokenizer, cache_tokens)
        self.chat = tokenizer.chat if task.chat else None
        if task.wrapper is not None:
            self.chat = written_out(
                task.wrapper.head, task.wrapper.answer, tokenizer.encode_wrapper
            )
        self.start = self._start()
        self._ordered_only = task.ordered_only
        self.turns = task.history is not None and task.history.as_ == "turns"
        self.paths = tuple(wordings(q) for q in task.questions.values())
        self._asks = question_values(task)
        self._history_question = next(iter(task.questions))
        if task.history is not None and task.history.question is not None:
            self._history_question = task.history.question
        self._answers: Recent[AnswerPaths] = Recent(cache_tokens, lambda _: 200)
        self._memo: tuple[Request | None, dict[str, Any]] = (None, {})
        self._static: dict[str, Parts] = {}
        self._static_slots: tuple[Slot, ...] | None = None
        self._find_static(template)
        self.slot_tokens = 0
        self.problems = (*self._start_problems(), *task_problems(task, template))
        if not self.problems:
            self.problems = tuple(self._answer_problems())

    def _find_static(self, template: Template) -> None:
        names = {block: use.names - {"vars", "super"} for block, use in template.uses.items()}
        self.static_instruction = not names.get("instruction")
        self._static_question = names["question"] <= {"question"}
        self._static_question &= not self.blocks.slot("question")
        self.by_item = "candidate" in self.blocks.item_only and self._static_question
        self._event_by_action = False
        if "event" in names and names["event"] <= {"item", "event"}:
            paths = template.uses["event"].paths
            used = {p for p in paths if p.partition(".")[0] == "event"}
            self._event_by_action = used <= {"event.action"}

    # -- subject -----------------------------------------------------------------------------

    def subject(self, request: Request, roots: Roots = EMPTY) -> tuple[Parts, Parts]:
        """Instruction and subject; ``roots`` stand in for the subject's own fields."""
        values = {**self._subject_values(request), **roots}
        instruction = self._static.get("(instruction)")
        if instruction is None:
            instruction = self.blocks.render("instruction", values)
            if self.static_instruction:
                self._static["(instruction)"] = instruction
        return instruction, self.blocks.render("subject", values)

    def subject_roots(self, request: Request) -> dict[str, Fields]:
        """The subject's fields, which a budget may shorten."""
        values = self._subject_values(request)
        names = ("member", "query", "source")
        return {n: values[n] for n in names if not isinstance(values[n], Absent)}

    def _subject_values(self, request: Request) -> dict[str, Any]:
        if self._memo[0] is not request:
            self._memo = (request, subject_values(request, self._ordered_only))
        return self._memo[1]

    # -- events and candidates ---------------------------------------------------------------

    def outcome(self, event: Event) -> str | None:
        """The answer that the event gives to the question asked of history."""
        return event.outcomes.get(self._history_question)

    def event(self, request: Request, event: Event, item: Item, context: Fields) -> Asked:
        """An event; under turns it is rendered exactly as a candidate is.

        ``item`` and ``context`` are the event's own, or shortened ones.
        """
        if self.turns:
            names = (self._history_question,)
            return self.asked(request, item, event.stats, context, names)
        values = {
            "item": item.fields,
            "stats": self._with_absent(event.stats),
            "context": context,
            "event": event_values(request, event, self._ordered_only),
        }
        if self._event_by_action:
            return Asked(self.blocks.of_item("event", item, values, event.action))
        return Asked(self.blocks.render("event", values, item))

    def turn(self, event: Event, asked: Asked) -> Parts:
        """All fragments of an event: under turns with question, answer and what ends the turn."""
        if not self.turns:
            return asked.parts
        outcome = self.outcome(event)
        answers = self._answered(self._history_question, asked.questions[0])
        if outcome not in answers.turns:
            raise RowError(
                "unknown_answer",
                f"outcome {outcome!r} is no answer of question {self._history_question}; "
                f"answers: {', '.join(answers.turns)}",
            )
        return (*asked.parts, *asked.questions[0], *answers.turns[outcome])

    def turn_slot(self, event: Event, asked: Asked) -> tuple[str, Slot, int]:
        """A turn's question, its slot, and which of the slot's paths stands behind it."""
        name = self._history_question
        answers = self._answered(name, asked.questions[0])
        outcome = self.outcome(event)
        pairs = self.paths[list(self._asks).index(name)]
        return name, answers.slot, next(i for i, (a, _) in enumerate(pairs) if a == outcome)

    def _with_absent(self, stats: Fields) -> Fields:
        return stats if len(stats) >= len(self._absent) else {**self._absent, **stats}

    def asked(
        self,
        request: Request,
        item: Item,
        stats: Fields,
        context: Fields,
        names: Sequence[str] = (),
    ) -> Asked:
        """A candidate, or an event as a turn, with the named questions (all where none is)."""
        values = {"item": item.fields, "stats": self._with_absent(stats), "context": context}
        if "candidate" in self.blocks.item_only:
            parts = self.blocks.of_item("candidate", item, values)
        else:
            parts = self.blocks.render("candidate", values, item)
        questions = [self._question(n, request, item, values) for n in names or self._asks]
        return Asked(parts, tuple(questions))

    def _question(
        self, name: str, request: Request, item: Item, values: Mapping[str, Any]
    ) -> Parts:
        if (static := self._static.get(name)) is not None:
            return static
        values = {**values, **self._subject_values(request), "question": self._asks[name]}
        parts = self.blocks.render("question", values, item)
        if self._static_question:
            self._static[name] = parts
        return parts

    # -- answers -----------------------------------------------------------------------------

    def slots(self, asked: Asked) -> tuple[Slot, ...]:
        """One slot per question, once ids are known."""
        if self._static_slots is not None:
            return self._static_slots
        pairs = zip(self._asks, asked.questions, strict=True)
        slots = tuple(self._answered(name, parts).slot for name, parts in pairs)
        if self._static_question:
            self._static_slots = slots
        return slots

    def _answered(self, name: str, parts: Parts) -> AnswerPaths:
        key = (name, *(p.text for p in parts))
        answers = self._answers.get(key)
        if answers is None:
            answers = self._resolve(name, parts)
            self._answers.put(key, answers)
        if answers.problems:
            raise RowError("answers", "; ".join(answers.problems))
        return answers

    def _resolve(self, name: str, parts: Parts) -> AnswerPaths:
        question = self._task.questions[name]
        return resolve(self._tokenizer, name, question, parts[-1], ids_of(parts), self.chat)

    def _answer_problems(self) -> list[str]:
        """Answers resolved behind the real tail, or behind a stand-in where it depends on rows."""
        problems: list[str] = []
        nothing, nobody = Item("", EMPTY), Request("", Subject(), ())
        for name in self._task.questions:
            parts: Parts = (Fragment("Answer:", self._tokenizer.encode("Answer:")),)
            try:
                if self._static_question:
                    parts = self._question(name, nobody, nothing, EMPTY)
                    self.blocks.flush()
                answers = self._resolve(name, parts)
                problems += answers.problems
                length = len(answers.slot.ids) + max(map(len, answers.slot.paths))
                self.slot_tokens = max(self.slot_tokens, length)
            except RowError as error:
                problems.append(error.message)
        return problems

    def _start_problems(self) -> Iterator[str]:
        """A model that wants BOS, and prompts that begin without: the scores would be noise."""
        wanted = self._tokenizer.wanted_bos
        if wanted is None or self.start.ids[:1] == (wanted,):
            return
        bos = self._tokenizer.decode([wanted])
        if self.chat is not None:
            yield (
                f"chat: the model wants {bos} before every prompt, and its chat template writes "
                "none; set chat: false, or mend the template"
            )
            return
        if self._task.wrapper is not None:
            yield f"wrapper.head: the model wants {bos} before every prompt; begin it with {bos}"
            return
        yield (
            f"model: it wants {bos} before every prompt, and its tokenizer adds none; convert the "
            f"model again with a tokenizer that does (for known names: `promptrank pull`)"
        )

    def last_text(self, ids: Sequence[int], count: int) -> str:
        """What the last ``count`` ids of a slot add to its text."""
        before = self._tokenizer.decode(ids[: len(ids) - count])
        return self._tokenizer.decode(ids)[len(before) :]

    def _start(self) -> Fragment:
        if self.chat is not None:
            return Fragment(*self.chat.head)
        bos = self._tokenizer.bos
        return Fragment(self._tokenizer.decode(bos) if bos else "", bos)
