"""promptrank's own shapes: ``/v1/rank``, ``/v1/score``, and how every one of ours says an error."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NotRequired, cast

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.requests.dicts import request_from_dict
from promptrank.serve.hosted import HostedTask
from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted

_OF_CANDIDATE = ("candidate_id", "item_id", "item", "context", "stats")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RankBody(_Strict):
    """A request to rank."""

    task: str | None = Field(
        None, description="Name of the task; the first one served if left out."
    )
    request: dict[str, Any] = Field(
        description="A request as docs/reference/requests.md has it, with its candidates as a list."
    )


class ScoreBody(_Strict):
    """Pairs to score."""

    task: str | None = Field(
        None, description="Name of the task; the first one served if left out."
    )
    pairs: list[dict[str, Any]] = Field(
        min_length=1,
        description="Each a request with one candidate, whose item, item_id, context and stats "
        "stand beside member, query, source, history and time.",
    )


class AnsweredJson(TypedDict):
    """What was answered to one question: see `promptrank.Answered`."""

    score: float
    probability: float
    label_mass: float
    argmax: NotRequired[str]
    logprobs: dict[str, float]


class ChangeJson(TypedDict):
    """What one step did to one candidate; score and rank are those before it."""

    step: str
    score: float
    rank: int
    why: str


class ScoredJson(TypedDict):
    """One candidate."""

    candidate_id: str
    item_id: str
    rank: int
    score: float
    probability: NotRequired[float]
    method_score: float
    questions: dict[str, AnsweredJson]
    shortened: list[str]
    changes: list[ChangeJson]


class ErrorJson(TypedDict):
    """What could not be scored, or is missing in a prompt, and why."""

    candidate_id: NotRequired[str]
    stage: str
    reason: str
    message: str


class CutsJson(TypedDict):
    """What the budget left out; see docs/reference/prompts.md."""

    events_given: int
    events_kept: int
    events_dropped: int
    events_failed: int
    events_unlabelled: int
    fields: list[str]
    event_fields: dict[str, int]
    candidates: dict[str, list[str]]


class Provenance(TypedDict):
    """What made the scores what they are."""

    task: str
    task_digest: NotRequired[str]
    ranker: str
    prompt: NotRequired[str]
    engine: str
    model: str
    model_digest: str
    dtype: str
    adapter: NotRequired[str]
    adapter_digest: NotRequired[str]
    fusion_digest: NotRequired[str]


class RankAnswer(TypedDict):
    """A ranking, best first."""

    id: str
    request_id: str
    scored: list[ScoredJson]
    partial: bool
    errors: list[ErrorJson]
    cuts: CutsJson
    tokens: int
    provenance: Provenance


class PairJson(TypedDict):
    """One pair: its score and answers, or why it has none."""

    score: NotRequired[float]
    probability: NotRequired[float]
    questions: NotRequired[dict[str, AnsweredJson]]
    error: NotRequired[ErrorJson]


class ScoreAnswer(TypedDict):
    """One entry a pair, in order."""

    id: str
    scores: list[PairJson]
    tokens: int
    provenance: Provenance


class FaultJson(TypedDict):
    """Why there is no answer."""

    reason: str
    message: str
    id: str
    errors: NotRequired[list[ErrorJson]]


class ErrorBody(TypedDict):
    """The body of every error of ours."""

    error: FaultJson


def _read_rank(body: RankBody) -> Wanted:
    return Wanted(body.task, [request_from_dict(body.request)])


def _read_score(body: ScoreBody) -> Wanted:
    requests = []
    for place, pair in enumerate(body.pairs):
        if "candidates" in pair:
            raise DataError(
                f"pairs[{place}]: has candidates; give item, or send it to /v1/rank as a request"
            )
        candidate = {name: pair[name] for name in _OF_CANDIDATE if name in pair}
        others = {name: value for name, value in pair.items() if name not in _OF_CANDIDATE}
        try:
            requests.append(request_from_dict({**others, "candidates": [candidate]}))
        except DataError as error:
            why = str(error).replace("candidates[0]", "the candidate")
            raise DataError(f"pairs[{place}]: {why}") from None
    return Wanted(body.task, requests)


def _write_rank(body: RankBody, done: Done) -> RankAnswer:
    (ranking,) = done.rankings
    cuts = ranking.cuts.as_dict()
    return {
        "id": done.request_id,
        "request_id": ranking.request_id,
        "scored": [_scored(scored) for scored in ranking.scored],
        "partial": ranking.partial,
        "errors": errors_json(ranking.errors),
        "cuts": CutsJson(**cuts),  # type: ignore[typeddict-item]
        "tokens": done.tokens,
        "provenance": provenance(done.served),
    }


def _write_score(body: ScoreBody, done: Done) -> ScoreAnswer:
    return {
        "id": done.request_id,
        "scores": [_pair(ranking) for ranking in done.rankings],
        "tokens": done.tokens,
        "provenance": provenance(done.served),
    }


def _pair(ranking: Ranking) -> PairJson:
    if not ranking.scored:
        return {"error": errors_json(ranking.errors)[0]}
    scored = _scored(ranking.scored[0])
    pair: PairJson = {"score": scored["score"], "questions": scored["questions"]}
    if "probability" in scored:
        pair["probability"] = scored["probability"]
    return pair


def _scored(scored: Scored) -> ScoredJson:
    questions: dict[str, AnsweredJson] = {}
    for name, answered in scored.questions.items():
        questions[name] = {
            "score": answered.score,
            "probability": answered.probability,
            "label_mass": answered.label_mass,
            "logprobs": dict(answered.logprobs),
        }
        if answered.argmax is not None:
            questions[name]["argmax"] = answered.argmax
    row: ScoredJson = {
        "candidate_id": scored.candidate_id,
        "item_id": scored.item_id,
        "rank": scored.rank,
        "score": scored.score,
        "method_score": scored.method_score,
        "questions": questions,
        "shortened": list(scored.shortened),
        "changes": [ChangeJson(**asdict(change)) for change in scored.changes],  # type: ignore[typeddict-item]
    }
    if scored.probability is not None:
        row["probability"] = scored.probability
    return row


def errors_json(rows: Sequence[ErrorRow]) -> list[ErrorJson]:
    """Error rows, without the request that they are about."""
    errors = []
    for row in rows:
        error: ErrorJson = {"stage": row.stage, "reason": row.reason, "message": row.message}
        if row.candidate_id is not None:
            error["candidate_id"] = row.candidate_id
        errors.append(error)
    return errors


def provenance(served: HostedTask) -> Provenance:
    """Where a task's scores come from, without folders of this machine."""
    origin, info = served.ranker.origin, served.ranker.info
    made: dict[str, Any] = {
        "task": served.name,
        "task_digest": origin.task_digest,
        "ranker": origin.ranker,
        "prompt": origin.prompt,
        "engine": info.name,
        "model": info.model,
        "model_digest": info.digest,
        "dtype": info.dtype,
        "adapter": served.adapter,
        "adapter_digest": origin.adapter_digest,
        "fusion_digest": origin.fusion_digest,
    }
    return cast(Provenance, {name: value for name, value in made.items() if value is not None})


def error_body(refusal: Refusal, request_id: str) -> ErrorBody:
    """The body of an error of ours."""
    fault: FaultJson = {"reason": refusal.reason, "message": refusal.message, "id": request_id}
    if refusal.rows:
        fault["errors"] = errors_json(refusal.rows)
    return {"error": fault}


RANK = HttpShape(
    "promptrank",
    ("/v1/rank",),
    "Rank the candidates of one request.",
    RankBody,
    RankAnswer,
    _read_rank,
    _write_rank,
    error_body,
)
SCORE = HttpShape(
    "promptrank",
    ("/v1/score",),
    "Score pairs of a subject and a candidate, each by itself.",
    ScoreBody,
    ScoreAnswer,
    _read_score,
    _write_score,
    error_body,
)
