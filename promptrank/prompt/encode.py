"""Requests to trees of token ids, within the budget."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from promptrank.basics.digests import json_digest
from promptrank.engine.contract import Branch, Slot, Tree
from promptrank.errors import ErrorRow, RowError, TemplateError
from promptrank.prompt.answers import wordings
from promptrank.prompt.blocks import Parts, ids_of
from promptrank.prompt.budget import Cuts
from promptrank.prompt.chat import Chat
from promptrank.prompt.encoded import Assembled, Encoded, Turn
from promptrank.prompt.fitter import Fitter
from promptrank.prompt.preview import Preview, preview_of, seams_of
from promptrank.prompt.rendering import Asked, Rendering
from promptrank.prompt.template import Template
from promptrank.prompt.tokenizer import TextTokenizer
from promptrank.records import Candidate, Event, Request
from promptrank.schema.task import Task

WINDOW = 64
"""Requests whose new fragments are tokenized in one batch."""


@dataclass(slots=True)
class _Plan:
    """A request whose blocks are rendered; the ids follow when its window is tokenized."""

    request: Request
    instruction: Parts = ()
    subject: Parts = ()
    events: list[tuple[Event, Asked]] = field(default_factory=list)
    candidates: list[tuple[Candidate, Asked]] = field(default_factory=list)
    errors: list[ErrorRow] = field(default_factory=list)
    failed: bool = False
    unlabelled: int = 0


class Encoder:
    """Turns requests into trees for one task, template and tokenizer.

    Not for use by several threads at once. The ids are the same in every process.

    Attributes:
        problems: what is wrong with template, answers and budget, each ``where: what; what to do``.
            While there are any, encoding raises them as a `TemplateError`.
        notes: facts a reader should know, such as a chat template that fragments only approximate.
        fingerprint: SHA-256 over all that turns a request into ids.
        fingerprints: the same by part.
        limit: longest prompt with its answer, in tokens.
    """

    def __init__(
        self,
        task: Task,
        template: Template,
        tokenizer: TextTokenizer,
        *,
        max_tokens: int,
        cache_tokens: int = 4_000_000,
    ) -> None:
        self.task, self.template, self.tokenizer = task, template, tokenizer
        self.limit = min(task.budget.tokens or max_tokens, max_tokens)
        self._rendering = Rendering(task, template, tokenizer, cache_tokens)
        self._fit = Fitter(task.budget, self._rendering, self.limit)
        self._questions = tuple(task.questions)
        self._paths = tuple(wordings(q) for q in task.questions.values())
        self.problems = (*self._rendering.problems, *self._fit.problems)
        chat = self._rendering.chat
        self.notes = chat.notes if chat is not None else ()
        self.fingerprints = self._fingerprints()
        self.fingerprint = json_digest(self.fingerprints)

    def encode(self, request: Request, *, turns: bool = False) -> Encoded:
        """One request; see `encode_many`."""
        return next(self.encode_many([request], turns=turns))

    def encode_many(self, requests: Iterable[Request], *, turns: bool = False) -> Iterator[Encoded]:
        """Requests in their order, lazily; reads up to `WINDOW` requests ahead.

        New text of a whole window is tokenized in one batch. What cannot be encoded is in
        `Encoded.errors`; nothing is raised for a row.

        Args:
            turns: whether `Encoded.turns` is wanted; its other parts do not depend on it.
        """
        self._check()
        window: list[_Plan] = []
        for request in requests:
            window.append(self._plan(request))
            if len(window) == WINDOW:
                yield from self._finish(window, turns)
                window = []
        yield from self._finish(window, turns)

    def preview(self, request: Request) -> Preview:
        """The request's prompt as pieces (kind, text, ids), made of the ids that are sent."""
        self._check()
        plan = self._plan(request)
        self._rendering.blocks.flush()
        made = self._assemble(plan)
        encoded = self._encoded(request, made)
        return preview_of(self._rendering, made, encoded)

    def path_text(self, slot: Slot, path: Sequence[int]) -> str:
        """What one of a slot's paths adds to its text."""
        return self._rendering.last_text((*slot.ids, *path), len(path))

    @property
    def fragments(self) -> tuple[int, int]:
        """How often a fragment was wanted that was there, and how often it was tokenized anew."""
        return self._rendering.blocks.reused, self._rendering.blocks.encoded

    @property
    def chat(self) -> Chat | None:
        """The model's chat wrapper, where the task uses it."""
        return self._rendering.chat

    def seams(self, preview: Preview) -> list[str]:
        """Where encoding neighbouring pieces at once would give other ids than apart.

        The ids still decode to the text; a model has merely seen such a joint less often. With
        texts that begin in a letter or digit there are none in the tokenizers tried.
        """
        return seams_of(preview, self.tokenizer.encode)

    def _check(self) -> None:
        if self.problems:
            raise TemplateError("\n".join(self.problems))

    def _plan(self, request: Request) -> _Plan:
        plan, rendering = _Plan(request), self._rendering
        try:
            if not request.candidates:
                raise RowError(
                    "no_candidates", f"request {request.request_id}: no candidates to rank"
                )
            plan.instruction, plan.subject = rendering.subject(request)
        except RowError as error:
            plan.failed = True
            plan.errors.append(error.row("prompt", request.request_id))
            return plan
        for event in request.history if self.task.history is not None else ():
            self._plan_event(plan, event)
        for candidate in request.candidates:
            try:
                asked = rendering.asked(request, candidate.item, candidate.stats, candidate.context)
            except RowError as error:
                plan.errors.append(error.row("prompt", request.request_id, candidate.candidate_id))
            else:
                plan.candidates.append((candidate, asked))
        return plan

    def _plan_event(self, plan: _Plan, event: Event) -> None:
        if self._rendering.turns and self._rendering.outcome(event) is None:
            plan.unlabelled += 1
            return
        try:
            asked = self._rendering.event(plan.request, event, event.item, event.context)
        except RowError as error:
            plan.errors.append(_event_row(error, plan.request, event))
        else:
            plan.events.append((event, asked))

    def _finish(self, window: list[_Plan], turns: bool) -> Iterator[Encoded]:
        self._rendering.blocks.flush()
        for plan in window:
            yield self._encoded(plan.request, self._assemble(plan), turns)

    def _assemble(self, plan: _Plan) -> Assembled:
        request, errors = plan.request, plan.errors
        given = len(request.history) if self.task.history is not None else 0
        nothing = Cuts(events_given=given)
        if plan.failed:
            return Assembled((), (), (), (), tuple(errors), nothing)
        try:
            prefix = self._fit.prefix(request, plan.instruction, plan.subject)
        except RowError as error:
            row = error.row("prompt", request.request_id)
            return Assembled((), (), (), (), (*errors, row), nothing)
        history = self._fit.events(request, plan.events, prefix.room)
        errors += [_event_row(error, request, event) for event, error in history.failed]
        made, shortened = [], {}
        for candidate, asked in plan.candidates:
            try:
                asked, slots, names = self._fit.candidate(request, candidate, asked)
            except RowError as error:
                errors.append(error.row("prompt", request.request_id, candidate.candidate_id))
                continue
            made.append((candidate.candidate_id, asked.parts, asked.questions, slots))
            if names:
                shortened[candidate.candidate_id] = names
        unrendered = given - plan.unlabelled - len(plan.events)
        cuts = Cuts(
            given,
            len(history.kept),
            unrendered + len(history.failed),
            plan.unlabelled,
            prefix.shortened,
            history.shortened,
            shortened,
        )
        return Assembled(
            prefix.instruction,
            prefix.subject,
            history.kept,
            tuple(made),
            tuple(errors),
            cuts,
            history.asked,
        )

    def _encoded(self, request: Request, made: Assembled, turns: bool = False) -> Encoded:
        tree = None
        if made.candidates:
            start = self._rendering.start.ids
            prefix = [*start]
            for part in chain(made.instruction, made.subject, *made.events):
                prefix += part.ids
            branches = [Branch(ids_of(parts), slots) for _, parts, _, slots in made.candidates]
            shared = len(start)
            if self._rendering.static_instruction:
                shared += len(ids_of(made.instruction))
            tree = Tree(
                request.request_id,
                tuple(prefix),
                tuple(branches),
                shared,
                subject=request.subject.subject_id or None,
            )
        ids = tuple([candidate_id for candidate_id, *_ in made.candidates])
        turns &= tree is not None and self._rendering.turns
        answered = tuple(self._turns(made)) if turns else ()
        return Encoded(
            request, tree, ids, self._questions, self._paths, made.errors, made.cuts, answered
        )

    def _turns(self, made: Assembled) -> Iterator[Turn]:
        """Where in the prefix each turn's answer stands."""
        place = len(self._rendering.start.ids)
        place += sum(len(p.ids) for p in chain(made.instruction, made.subject))
        for parts, (event, asked) in zip(made.events, made.asked, strict=True):
            name, slot, path = self._rendering.turn_slot(event, asked)
            before = sum(len(p.ids) for p in asked.parts) + len(slot.ids)
            yield Turn(event, name, place + before, slot, path)
            place += sum(len(p.ids) for p in parts)

    def _fingerprints(self) -> dict[str, str]:
        task, chat = self.task, self._rendering.chat
        questions = {
            name: [q.ask, [(answer, a.say) for answer, a in q.answers.items()]]
            for name, q in task.questions.items()
        }
        history = task.history
        settings = {
            "vars": task.vars,
            "budget": task.budget.model_dump(),
            "limit": self.limit,
            "as": history.as_ if history is not None else None,
            "asked": history.question if history is not None else None,
        }
        return {
            "template": self.template.digest,
            "answers": json_digest(questions),
            "tokenizer": self.tokenizer.fingerprint,
            "chat": json_digest([chat.head, chat.to_assistant, chat.to_user] if chat else None),
            "settings": json_digest(settings),
        }


def _event_row(error: RowError, request: Request, event: Event) -> ErrorRow:
    message = f"event with item {event.item.item_id}: {error.message}"
    return ErrorRow(request.request_id, None, "prompt", f"event_{error.reason}", message)
