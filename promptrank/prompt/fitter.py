"""Fits a request into its budget: events dropped, then declared fields shortened, or an error.

The prefix is cut to what is left beside a fixed reserve for one candidate, and a candidate to that
reserve. So no candidate changes what the others see.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from promptrank.engine.contract import Slot
from promptrank.errors import RowError
from promptrank.prompt.blocks import Parts
from promptrank.prompt.budget import shorten
from promptrank.prompt.fragments import Recent
from promptrank.prompt.rendering import Asked, Rendering
from promptrank.records import Candidate, Event, Fields, Item, Request
from promptrank.schema.parts import Budget

Fitted = tuple[Asked, tuple[Slot, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class FittedPrefix:
    """Instruction and subject, the tokens left for events, and which fields were shortened."""

    instruction: Parts
    subject: Parts
    room: int
    shortened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FittedHistory:
    """Events that stay, oldest first; those that failed; shortened field -> number of events.

    Attributes:
        asked: per event that stays, the event and what its fragments were made of.
    """

    kept: tuple[Parts, ...]
    failed: tuple[tuple[Event, RowError], ...]
    shortened: Mapping[str, int]
    asked: tuple[tuple[Event, Asked], ...] = ()


class Fitter:
    """One task's budget over its rendering."""

    def __init__(self, budget: Budget, rendering: Rendering, limit: int) -> None:
        self._budget, self._rendering, self._limit = budget, rendering, limit
        self._room = limit - budget.candidate
        item_roots = [n for n in budget.shorten if n.startswith(("item.", "context."))]
        self._item_names = tuple(item_roots)
        self._subject_names = tuple(n for n in budget.shorten if n not in item_roots)
        # Items that are too long come again and again; shortening one costs several renderings.
        self._by_item: Recent[Fitted] = Recent(20_000)
        self.problems = tuple(self._find_problems())

    def _find_problems(self) -> Iterator[str]:
        reserve, least = self._budget.candidate, self._rendering.slot_tokens
        if self._room <= len(self._rendering.start.ids):
            yield (
                f"budget.candidate: {reserve} of {self._limit} tokens are reserved for one "
                "candidate, which leaves nothing for the rest; lower it, or raise budget.tokens"
            )
        if least >= reserve:
            yield (
                f"budget.candidate: question and answer take {least} tokens of {reserve}, which "
                "leaves nothing for a candidate; raise it"
            )

    def prefix(self, request: Request, instruction: Parts, subject: Parts) -> FittedPrefix:
        """Instruction and subject; their fields are shortened where not even no event helps."""
        start = len(self._rendering.start.ids)
        used = start + _length(instruction) + _length(subject)
        if used <= self._room:
            return FittedPrefix(instruction, subject, self._room - used)

        def length(roots: Mapping[str, Fields]) -> int:
            return start + sum(map(_length, self._subject(request, roots)))

        roots = self._rendering.subject_roots(request)
        shortened = shorten(self._subject_names, roots, length, self._room)
        if shortened is None:
            raise RowError(
                "prefix_too_long",
                f"request {request.request_id}: instruction and subject take {used} tokens, "
                f"{self._room} of {self._limit} are free beside the reserve for a candidate; "
                "raise budget.tokens, or name long fields such as member.X in budget.shorten",
            )
        instruction, subject = self._subject(request, shortened[0])
        used = start + _length(instruction) + _length(subject)
        return FittedPrefix(instruction, subject, self._room - used, shortened[1])

    def _subject(self, request: Request, roots: Mapping[str, Fields]) -> tuple[Parts, Parts]:
        parts = self._rendering.subject(request, roots)
        self._rendering.blocks.flush()
        return parts

    def events(
        self, request: Request, events: Sequence[tuple[Event, Asked]], room: int
    ) -> FittedHistory:
        """Events from the last one back, each whole, until the room is used up."""
        kept: list[Parts] = []
        shown: list[tuple[Event, Asked]] = []
        failed: list[tuple[Event, RowError]] = []
        shortened: dict[str, int] = {}
        for event, asked in reversed(events):
            try:
                parts, asked, names = self._event(request, event, asked)
            except RowError as error:
                failed.append((event, error))
                continue
            room -= _length(parts)
            if room < 0:
                break
            kept.append(parts)
            shown.append((event, asked))
            for name in names:
                shortened[name] = shortened.get(name, 0) + 1
        return FittedHistory(
            tuple(reversed(kept)), tuple(reversed(failed)), shortened, tuple(reversed(shown))
        )

    def _event(
        self, request: Request, event: Event, asked: Asked
    ) -> tuple[Parts, Asked, tuple[str, ...]]:
        parts = self._rendering.turn(event, asked)
        limit = self._budget.event
        if limit is None or _length(parts) <= limit:
            return parts, asked, ()

        def at(roots: Mapping[str, Fields]) -> Asked:
            item = Item(event.item.item_id, roots["item"])
            again = self._rendering.event(request, event, item, roots["context"])
            self._rendering.blocks.flush()
            return again

        def measure(roots: Mapping[str, Fields]) -> int:
            return _length(self._rendering.turn(event, at(roots)))

        roots = {"item": event.item.fields, "context": event.context}
        shortened = shorten(self._item_names, roots, measure, limit)
        if shortened is None:
            raise RowError(
                "too_long",
                f"{_length(parts)} tokens, budget.event is {limit}; raise it, or name long fields "
                "such as item.X in budget.shorten",
            )
        short = at(shortened[0])
        return self._rendering.turn(event, short), short, shortened[1]

    def candidate(self, request: Request, candidate: Candidate, asked: Asked) -> Fitted:
        """A candidate within its reserve, with its slots and the fields that were shortened."""
        slots = self._rendering.slots(asked)
        length = _asked_length(asked, slots)
        if length <= self._budget.candidate:
            return asked, slots, ()
        key = candidate.item.key if self._rendering.by_item else None
        if key is not None and (known := self._by_item.get(key)) is not None:
            return known

        def at(roots: Mapping[str, Fields]) -> Asked:
            item = Item(candidate.item.item_id, roots["item"])
            again = self._rendering.asked(request, item, candidate.stats, roots["context"])
            self._rendering.blocks.flush()
            return again

        def measure(roots: Mapping[str, Fields]) -> int:
            again = at(roots)
            return _asked_length(again, self._rendering.slots(again))

        roots = {"item": candidate.item.fields, "context": candidate.context}
        shortened = shorten(self._item_names, roots, measure, self._budget.candidate)
        if shortened is None:
            raise RowError(
                "candidate_too_long",
                f"item {candidate.item.item_id}: {length} tokens with question and answer, "
                f"budget.candidate is {self._budget.candidate}; raise it, or name long fields such "
                "as item.X in budget.shorten",
            )
        short = at(shortened[0])
        fitted = (short, self._rendering.slots(short), shortened[1])
        if key is not None:
            self._by_item.put(key, fitted)
        return fitted


def _length(parts: Parts) -> int:
    return sum([len(p.ids) for p in parts])


def _asked_length(asked: Asked, slots: tuple[Slot, ...]) -> int:
    longest = max(len(s.ids) + max(map(len, s.paths)) for s in slots)
    return _length(asked.parts) + longest
