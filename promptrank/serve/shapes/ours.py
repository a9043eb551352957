"""promptrank's own shapes: ``/v1/rank``, ``/v1/score``, and how every one of ours says an error."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, cast

from promptrank.errors import DataError, ErrorRow
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.requests.filled import LookedUp
from promptrank.serve.hosted import HostedTask
from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.our_fields import (
    AnsweredJson,
    ChangeJson,
    CutsJson,
    ErrorBody,
    ErrorJson,
    FaultJson,
    LookedUpJson,
    PairJson,
    Provenance,
    RankAnswer,
    RankBody,
    RemovedJson,
    ScoreAnswer,
    ScoreBody,
    ScoredJson,
)

_OF_CANDIDATE = ("candidate_id", "item_id", "item", "context", "stats")


def _read_rank(body: RankBody) -> Wanted:
    return Wanted(body.task, (), given=[body.request])


def _read_score(body: ScoreBody) -> Wanted:
    given = []
    for place, pair in enumerate(body.pairs):
        if "candidates" in pair:
            raise DataError(
                f"pairs[{place}]: has candidates; give item, or send it to /v1/rank as a request"
            )
        candidate = {name: pair[name] for name in _OF_CANDIDATE if name in pair}
        others = {name: value for name, value in pair.items() if name not in _OF_CANDIDATE}
        given.append({**others, "candidates": [candidate]})
    return Wanted(body.task, (), given=given, worded=_of_pair, policy=False)


def _of_pair(place: int, why: str) -> str:
    return f"pairs[{place}]: {why.replace('candidates[0]', 'the candidate')}"


def _write_rank(body: RankBody, done: Done) -> RankAnswer:
    (ranking,) = done.rankings
    cuts = ranking.cuts.as_dict()
    answer: RankAnswer = {
        "id": done.request_id,
        "request_id": ranking.request_id,
        "scored": [_scored(scored) for scored in ranking.scored],
        "removed": [_removed(scored) for scored in ranking.removed],
        "partial": ranking.partial,
        "errors": errors_json(ranking.errors),
        "cuts": CutsJson(**cuts),  # type: ignore[typeddict-item]
        "tokens": done.tokens,
        "provenance": provenance(done.served),
    }
    for each in done.looked_up:
        if each.asked:
            answer["looked_up"] = _looked_up(each)
    return answer


def _write_score(body: ScoreBody, done: Done) -> ScoreAnswer:
    looked_up: Sequence[LookedUp | None] = done.looked_up or [None] * len(done.rankings)
    return {
        "id": done.request_id,
        "scores": [_pair(*each) for each in zip(done.rankings, looked_up, strict=True)],
        "tokens": done.tokens,
        "provenance": provenance(done.served),
    }


def _pair(ranking: Ranking, looked_up: LookedUp | None) -> PairJson:
    pair: PairJson = {}
    if looked_up is not None and looked_up.asked:
        pair["looked_up"] = _looked_up(looked_up)
    if not ranking.scored:
        return {**pair, "error": errors_json(ranking.errors)[0]}
    scored = _scored(ranking.scored[0])
    pair |= {"score": scored["score"], "questions": scored["questions"]}
    if "probability" in scored:
        pair["probability"] = scored["probability"]
    return pair


def _looked_up(looked_up: LookedUp) -> LookedUpJson:
    said: LookedUpJson = {
        "events": looked_up.events,
        "items": looked_up.items,
        "unknown": list(looked_up.unknown),
        "unknown_items": list(looked_up.unknown_items),
        "stats": list(looked_up.stats),
    }
    if looked_up.time is not None:
        said["as_of"] = looked_up.time
    return said


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
    if scored.propensity is not None:
        row["propensity"] = scored.propensity
    return row


def _removed(scored: Scored) -> RemovedJson:
    change = scored.changes[-1]
    return {
        "candidate_id": scored.candidate_id,
        "item_id": scored.item_id,
        "score": scored.score,
        "step": change.step,
        "why": change.why,
    }


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
        "adapter": served.adapter_name,
        "alias": served.alias,
        "adapter_digest": origin.adapter_digest,
        "fusion_digest": origin.fusion_digest,
        "policy": origin.policy,
    }
    return cast(Provenance, {name: value for name, value in made.items() if value is not None})


def tables_json(served: HostedTask) -> dict[str, float]:
    """When a task's tables were read; nothing where ids are not looked up."""
    return {"tables_as_of": served.tables.read.time} if served.tables is not None else {}


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
    error_type=ErrorBody,
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
    error_type=ErrorBody,
)
