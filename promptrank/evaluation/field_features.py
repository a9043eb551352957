"""Fields as numbers and as texts, for what is fitted on fields without a plan of columns.

Fields of item, member, query, source, context and stats, and the as-of baseline numbers: all that a
template could show. Position is not among them: it says where the served ranker put the item.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from promptrank.basics.numbers import finite, is_number
from promptrank.records import Candidate, Request

MAX_VALUES = 50
"""A text field with more distinct values than this in training is skipped."""

Numbers = dict[str, float]
Texts = list[tuple[str, str]]


def subject_features(request: Request) -> tuple[Numbers, Texts]:
    """What all candidates of a request share: member, query and source."""
    subject = request.subject
    source = subject.source.fields if subject.source is not None else None
    return _features((("member", subject.member), ("query", subject.query), ("source", source)))


def candidate_features(candidate: Candidate) -> tuple[Numbers, Texts]:
    """What belongs to one candidate: item, context, stats and the as-of baseline numbers."""
    return _features(
        (
            ("item", candidate.item.fields),
            ("context", candidate.context),
            ("stats", candidate.stats),
            ("baseline", candidate.baseline),
        )
    )


def _features(groups: Iterable[tuple[str, Mapping[str, Any] | None]]) -> tuple[Numbers, Texts]:
    known: Numbers = {}
    texts: Texts = []
    for group, fields in groups:
        for key, value in (fields or {}).items():
            name = f"{group}.{key}"
            if isinstance(value, str):
                texts.append((name, value))
            elif is_number(value):
                if (number := finite(value)) is not None:
                    known[name] = number
            elif isinstance(value, list | tuple | set | frozenset | np.ndarray):
                # Sorted, since sets have another order in every process.
                words = sorted({each for each in value if isinstance(each, str)})
                texts.extend((name, each) for each in words)
    return known, texts
