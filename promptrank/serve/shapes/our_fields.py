"""The fields of promptrank's own bodies, answers and errors."""

from typing import Annotated, Any, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from typing_extensions import TypedDict

from promptrank.serve.shapes.request_schema import PAIR, REQUEST


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RankBody(_Strict):
    """A request to rank."""

    task: str | None = Field(
        None, description="Name of the task; the first one served if left out."
    )
    request: Annotated[dict[str, Any], WithJsonSchema(REQUEST)] = Field(
        description="A request as docs/reference/requests.md has it, with its candidates as a "
        "list. Where the task's tables are read, ids are enough."
    )


class ScoreBody(_Strict):
    """Pairs to score."""

    task: str | None = Field(
        None, description="Name of the task; the first one served if left out."
    )
    pairs: list[Annotated[dict[str, Any], WithJsonSchema(PAIR)]] = Field(
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
    propensity: NotRequired[float]
    questions: dict[str, AnsweredJson]
    shortened: list[str]
    changes: list[ChangeJson]


class RemovedJson(TypedDict):
    """A candidate that a policy step took out, with the score that it had then."""

    candidate_id: str
    item_id: str
    score: float
    step: str
    why: str


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
    alias: NotRequired[str]
    adapter_digest: NotRequired[str]
    fusion_digest: NotRequired[str]
    policy: NotRequired[str]


class LookedUpJson(TypedDict):
    """What came from the task's tables, as of which time, and which ids they do not know."""

    as_of: NotRequired[float]
    events: int
    items: int
    unknown: list[str]
    unknown_items: list[str]
    stats: list[str]


class RankAnswer(TypedDict):
    """A ranking, best first."""

    id: str
    request_id: str
    scored: list[ScoredJson]
    removed: list[RemovedJson]
    partial: bool
    errors: list[ErrorJson]
    cuts: CutsJson
    tokens: int
    provenance: Provenance
    looked_up: NotRequired[LookedUpJson]


class PairJson(TypedDict):
    """One pair: its score and answers, or why it has none."""

    score: NotRequired[float]
    probability: NotRequired[float]
    questions: NotRequired[dict[str, AnsweredJson]]
    error: NotRequired[ErrorJson]
    looked_up: NotRequired[LookedUpJson]


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
