"""Fusion: a logistic layer over the decoder's log-odds and declared numbers, as plain arithmetic.

For a candidate with values v the fused score is, in nats,

    intercept + sum over features of: slope * (v - mean) / scale, or ``missing`` where v is absent

so a missing number counts as the mean of those the layer was fitted on, plus what its absence
itself says. The score is the log-odds of relevance; its sigmoid is P(relevant). A file holds two
layers fitted on the same rows: with the decoder, and without it, for an honest comparison.

A *calibration* is a fusion of the decoder alone, with one of three forms (Guo, Pleiss, Sun and
Weinberger 2017, "On calibration of modern neural networks"; Platt 1999; Zadrozny and Elkan 2002):

    temperature   log-odds / T
    platt         a log-odds + b, with a > 0
    isotonic      P(relevant) rises with the log-odds, in steps joined by straight lines
"""

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, with_config

from promptrank.basics.numbers import finite, is_number, logsumexp
from promptrank.errors import RowError
from promptrank.records import EMPTY, Candidate, Request
from promptrank.schema.fusion_options import FusionKind
from promptrank.schema.parts import Question
from promptrank.schema.task import Task

Values = Mapping[str, float | None]

DECODER = "decoder."
"""What the names of the decoder's own features begin with: ``decoder.like``."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class Weight:
    """One feature's part in a layer; see the module's docstring."""

    name: str
    mean: float
    scale: float
    slope: float
    missing: float = 0.0


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class Layer:
    """A fitted logistic layer."""

    intercept: float
    weights: tuple[Weight, ...]

    def log_odds(self, values: Values) -> float:
        """Log-odds of relevance, in nats; values of other names do not count."""
        total = self.intercept
        for weight in self.weights:
            value = values.get(weight.name)
            if value is None:
                total += weight.missing
            else:
                total += weight.slope * (value - weight.mean) / weight.scale
        return total


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class FittedOn:
    """The rows a fusion was fitted on.

    Attributes:
        part: of the split; never ``test``.
        data: digest of the request file, and of corrections of its labels.
        relevant: how many of the candidates were.
    """

    part: Literal["valid"]
    data: str
    requests: int
    candidates: int
    relevant: int


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, slots=True)
class FittedFusion:
    """A fusion file.

    Attributes:
        fields: the task's declared fields, which must be the same when it is used.
        fused: over the decoder's log-odds (``decoder.QUESTION``) and the fields.
        without: over the fields alone, fitted on the same rows.
        model: digest of the base model's weights.
        adapter: digest of the adapter, or None for the base model.
        fingerprints: of ``template`` and ``answers``.
        created: ISO 8601, UTC.
        by: how the decoder alone was calibrated; ``logistic`` where there are fields.
        knots: of ``isotonic``: the decoder's log-odds, ascending, and P(relevant) there, in (0, 1).
    """

    task: str
    fields: tuple[str, ...]
    fused: Layer
    without: Layer
    fitted_on: FittedOn
    model: str
    adapter: str | None
    fingerprints: Mapping[str, str]
    versions: Mapping[str, str]
    command: tuple[str, ...]
    created: str
    format: Literal[1] = 1
    by: FusionKind = "logistic"
    knots: tuple[tuple[float, float], ...] = ()

    def log_odds(self, values: Values) -> float:
        """The fused score: log-odds of relevance, in nats."""
        total = self.fused.log_odds(values)
        if not self.knots:
            return total
        chance = _between(self.knots, total)
        return math.log(chance) - math.log1p(-chance)


def _between(knots: tuple[tuple[float, float], ...], at: float) -> float:
    """On the straight line between two knots; beyond the outer ones, as there."""
    above = bisect_right(knots, at, key=lambda knot: knot[0])
    if above == 0 or above == len(knots):
        return knots[min(above, len(knots) - 1)][1]
    (x0, y0), (x1, y1) = knots[above - 1], knots[above]
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0)


def log_odds(question: Question, logprobs: Mapping[str, float]) -> float:
    """Relevant answers against the others, in nats, whatever the question's kind of score."""
    relevant = {n for n, a in question.answers.items() if a.value >= question.relevant_at}
    yes = logsumexp(lp for name, lp in logprobs.items() if name in relevant)
    return yes - logsumexp(lp for name, lp in logprobs.items() if name not in relevant)


def decoder_values(task: Task, logprobs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The decoder's features from question -> answer -> log-prob."""
    return {
        f"{DECODER}{name}": log_odds(task.questions[name], answers)
        for name, answers in logprobs.items()
    }


def field_values(
    request: Request, candidate: Candidate, fields: tuple[str, ...]
) -> dict[str, float | None]:
    """The declared numbers of one candidate; None where absent, null, NaN or infinite.

    Raises:
        RowError: a value that is no number.
    """
    subject = request.subject
    roots: dict[str, Mapping[str, Any] | None] = {
        "stats": candidate.stats,
        "context": candidate.context,
        "item": candidate.item.fields,
        "member": subject.member,
        "query": subject.query,
        "source": subject.source.fields if subject.source is not None else None,
    }
    values: dict[str, float | None] = {}
    for field in fields:
        root, _, name = field.partition(".")
        values[field] = _number(field, (roots[root] or EMPTY).get(name))
    return values


def _number(field: str, value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value):
        raise RowError(
            "fusion_not_a_number",
            f"{field} is {type(value).__name__}, and fusion takes numbers; "
            "leave it out of fusion.fields",
        )
    return finite(value)
