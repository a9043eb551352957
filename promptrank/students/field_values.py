"""Fields as numbers, words and values: the atoms that features are made of."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from promptrank.basics.numbers import finite
from promptrank.records import Candidate, Event, Fields, Request
from promptrank.schema.parts import Question

Words = frozenset[str]
NO_WORDS: Words = frozenset()
_WORD = re.compile(r"\w+")
_SHORT = 100  # characters of a text whose words are kept

SUBJECT = ("member", "query", "source")
OWN = ("context", "stats", "baseline")  # of a candidate, beside its item


def number(value: Any) -> float | None:
    """The value as a finite float; None for what is no number, or too large for one."""
    return finite(value)


def words(value: Any) -> Words:
    """The lower-case words of a text or of a list of texts."""
    if isinstance(value, str):
        return _short_words(value) if len(value) <= _SHORT else _words(value)
    if isinstance(value, list | tuple):
        return frozenset(w for v in value if isinstance(v, str) for w in _WORD.findall(v.lower()))
    return NO_WORDS


def _words(text: str) -> Words:
    return frozenset(_WORD.findall(text.lower()))


_short_words = lru_cache(20_000)(_words)  # titles and genres come again in request after request


def is_text(value: Any) -> bool:
    """Whether a value has words: a text, or a list with a text in it."""
    if isinstance(value, list | tuple):
        return any(isinstance(v, str) for v in value)
    return isinstance(value, str)


def length(value: Any) -> float:
    """Characters of a text, or of the texts of a list."""
    if isinstance(value, str):
        return float(len(value))
    if isinstance(value, list | tuple):
        return float(sum(len(v) for v in value if isinstance(v, str)))
    return 0.0


def subject_fields(request: Request) -> dict[str, Fields]:
    """The fields of member, query and source by those names, for each that the subject has."""
    subject = request.subject
    source = subject.source.fields if subject.source is not None else None
    given = (subject.member, subject.query, source)
    return {name: f for name, f in zip(SUBJECT, given, strict=True) if f is not None}


def own_fields(candidate: Candidate) -> tuple[Mapping[str, Any], ...]:
    """What belongs to the candidate beside its item, in the order of `OWN`."""
    return candidate.context, candidate.stats, candidate.baseline


def every_field(request: Request) -> Iterator[tuple[str, str, Any, str | None]]:
    """(group, name, value, id of the row it belongs to) of all fields, the subject's once."""
    subject = request.subject
    source_id = subject.source.item_id if subject.source is not None else None
    ids = dict(zip(SUBJECT, (subject.member_id, subject.query_id, source_id), strict=True))
    for group, fields in subject_fields(request).items():
        for name, value in fields.items():
            yield group, name, value, ids[group]
    for candidate in request.candidates:
        for name, value in candidate.item.fields.items():
            yield "item", name, value, candidate.item.item_id
        for group, own in zip(OWN, own_fields(candidate), strict=True):
            for name, value in own.items():
                yield group, name, value, None


def event_worth(event: Event, question: Question, worth: Mapping[str, float]) -> float:
    """What the event says for its item, from 0 to 1; 1 where it only says that it happened."""
    for label in (*event.outcomes.values(), event.action):
        answer = question.answer_of(label)
        if answer is not None:
            return worth[answer]
    return 1.0
