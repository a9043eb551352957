"""Fusion: a logistic layer over the decoder's log-odds and declared numbers, as plain arithmetic.

For a candidate with values v the fused score is, in nats,

    intercept + sum over features of: slope * (v - mean) / scale, or ``missing`` where v is absent

so a missing number counts as the mean of those the layer was fitted on, plus what its absence
itself says. The score is the log-odds of relevance; its sigmoid is P(relevant). A file holds two
layers fitted on the same rows: with the decoder, and without it, for an honest comparison.
"""

import json
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from promptrank.errors import ErrorRow, ModelError, RowError
from promptrank.ranking.answered import logsumexp
from promptrank.ranking.loop import Ranking, Scored
from promptrank.records import EMPTY, Candidate, Request
from promptrank.schema.parts import Question
from promptrank.schema.task import Task

Values = Mapping[str, float | None]

DECODER = "decoder."
"""What the names of the decoder's own features begin with: ``decoder.like``."""


@dataclass(frozen=True, slots=True)
class Weight:
    """One feature's part in a layer; see the module's docstring."""

    name: str
    mean: float
    scale: float
    slope: float
    missing: float = 0.0


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


@dataclass(frozen=True, slots=True)
class FittedOn:
    """The rows a fusion was fitted on.

    Attributes:
        part: of the split; never ``test``.
        data: digest of the request file.
        relevant: how many of the candidates were.
    """

    part: Literal["valid"]
    data: str
    requests: int
    candidates: int
    relevant: int


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


for _kind in (Weight, Layer, FittedOn, FittedFusion):
    setattr(_kind, "__pydantic_config__", ConfigDict(extra="forbid"))  # noqa: B010


def log_odds(question: Question, logprobs: Mapping[str, float]) -> float:
    """Relevant answers against the others, in nats, whatever the question's kind of score."""
    relevant = {n for n, a in question.answers.items() if a.value >= question.relevant_at}
    yes = logsumexp(lp for name, lp in logprobs.items() if name in relevant)
    return yes - logsumexp(lp for name, lp in logprobs.items() if name not in relevant)


def decoder_values(task: Task, logprobs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The decoder's features from question -> answer -> log-prob."""
    return {
        f"{DECODER}{name}": log_odds(task.questions[name], found)
        for name, found in logprobs.items()
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
    found: dict[str, float | None] = {}
    for field in fields:
        root, _, name = field.partition(".")
        found[field] = _number(field, (roots[root] or EMPTY).get(name))
    return found


def fuse_ranking(fusion: FittedFusion, task: Task, ranking: Ranking) -> Ranking:
    """The same candidates by their fused scores; ties keep the decoder's order.

    A candidate whose numbers cannot be used becomes an error and makes the ranking partial.
    """
    request = ranking.request
    assert request is not None, "rankings of `rank_requests` hold their request"
    candidates = {c.candidate_id: c for c in request.candidates}
    found: list[Scored] = []
    errors: list[ErrorRow] = []
    for one in ranking.scored:
        said = {name: answered.logprobs for name, answered in one.questions.items()}
        try:
            values = field_values(request, candidates[one.candidate_id], fusion.fields)
            score = fusion.fused.log_odds({**values, **decoder_values(task, said)})
            if not math.isfinite(score):
                raise RowError("score_undefined", f"the fused score is {score}")
        except RowError as error:
            errors.append(error.row("fusion", ranking.request_id, one.candidate_id))
        else:
            found.append(replace(one, score=score))
    found.sort(key=lambda one: -one.score)
    scored = tuple(replace(one, rank=rank) for rank, one in enumerate(found, 1))
    partial = ranking.partial or bool(errors)
    return replace(ranking, scored=scored, partial=partial, errors=(*ranking.errors, *errors))


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    small = math.exp(value)
    return small / (1 + small)


def write_fusion(path: Path, fusion: FittedFusion) -> None:
    """Write a fusion file beside its place and rename it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    text = json.dumps(asdict(fusion), indent=1, ensure_ascii=False, allow_nan=False)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)


def read_fusion(path: Path) -> FittedFusion:
    """A fusion file.

    Raises:
        ModelError: it cannot be read; the message lists every problem.
    """
    try:
        return TypeAdapter(FittedFusion).validate_json(path.read_bytes(), strict=True)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}"
            for e in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise ModelError(
            f"{path}: not a fusion file of this promptrank ({'; '.join(problems)}); "
            "fit it again with `promptrank fuse`"
        ) from None


def _number(field: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, numbers.Real | Decimal):
        raise RowError(
            "fusion_not_a_number",
            f"{field} is {type(value).__name__}, and fusion takes numbers; "
            "leave it out of fusion.fields",
        )
    number = float(value)
    return number if math.isfinite(number) else None
