"""vLLM's rerank and score, as its own server has them."""

import time
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.errors import DataError
from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.documents import Hit, hits, query_request, wanted
from promptrank.serve.shapes.whole import Whole

_Texts = str | Annotated[list[str], Field(min_length=1)]


class VllmRerankBody(BaseModel):
    """The body of a rerank; fields that are not known here are passed over, as vLLM does."""

    model_config = ConfigDict(strict=True)
    model: str | None = Field(None, description="Name of a task that is served.")
    query: str
    documents: _Texts
    top_n: Whole = Field(0, description="0 for all.")
    use_activation: bool | None = None

    @property
    def texts(self) -> list[str]:
        """Documents as a list."""
        return [self.documents] if isinstance(self.documents, str) else self.documents


class VllmScoreBody(BaseModel):
    """The body of a score: one text against many, or texts in pairs."""

    model_config = ConfigDict(strict=True)
    model: str | None = Field(None, description="Name of a task that is served.")
    text_1: _Texts = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"))
    text_2: _Texts = Field(validation_alias=AliasChoices("text_2", "documents", "items", "data_2"))
    use_activation: bool | None = None


class VllmUsage(TypedDict):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class VllmDocument(TypedDict):
    """A document given back."""

    text: str


class VllmResult(TypedDict):
    """One document, always given back."""

    index: int
    document: VllmDocument
    relevance_score: float


class VllmRerankAnswer(TypedDict):
    """Results, best first."""

    id: str
    model: str
    usage: VllmUsage
    results: list[VllmResult]


class VllmScore(TypedDict):
    """One pair."""

    index: int
    object: Literal["score"]
    score: float


class VllmScoreAnswer(TypedDict):
    """Scores in the order of the pairs; a pair that cannot be scored is left out."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[VllmScore]
    usage: VllmUsage


class VllmFault(TypedDict):
    """Why there is no answer."""

    message: str
    type: str
    param: str | None
    code: int


class VllmError(TypedDict):
    """The body of an error."""

    error: VllmFault


def _read_rerank(body: VllmRerankBody) -> Wanted:
    return wanted(body.model, body.query, body.texts, shown=body.top_n or None)


def _write_rerank(body: VllmRerankBody, done: Done) -> VllmRerankAnswer:
    results: list[VllmResult] = [
        {
            "index": hit.index,
            "document": {"text": body.texts[hit.index]},
            "relevance_score": _score(hit, body.use_activation),
        }
        for hit in hits(done, body.top_n or None)
    ]
    return {
        "id": f"rerank-{done.request_id}",
        "model": done.served.name,
        "usage": _usage(done),
        "results": results,
    }


def _read_score(body: VllmScoreBody) -> Wanted:
    first, second = _listed(body.text_1), _listed(body.text_2)
    if len(first) == 1:
        return replace(wanted(body.model, first[0], second), policy=False)
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} and {len(second)} texts: send one first text, or as many as second ones"
        )
    pairs = [query_request(a, [b]) for a, b in zip(first, second, strict=True)]
    return Wanted(body.model, pairs, policy=False)


def _write_score(body: VllmScoreBody, done: Done) -> VllmScoreAnswer:
    if len(done.rankings) == 1:
        scored = sorted(hits(done), key=lambda hit: hit.index)
    else:
        # Each pair is a ranking of one.
        scored = [
            Hit(index, s.probability if s.probability is not None else s.score)
            for index, ranking in enumerate(done.rankings)
            for s in ranking.scored
        ]
    data: list[VllmScore] = [
        {"index": hit.index, "object": "score", "score": _score(hit, body.use_activation)}
        for hit in scored
    ]
    return {
        "id": f"score-{done.request_id}",
        "object": "list",
        "created": int(time.time()),
        "model": done.served.name,
        "data": data,
        "usage": _usage(done),
    }


def _listed(texts: str | list[str]) -> list[str]:
    return [texts] if isinstance(texts, str) else texts


def _score(hit: Hit, use_activation: bool | None) -> float:
    return hit.raw if use_activation is False else hit.score


def _usage(done: Done) -> VllmUsage:
    return {"prompt_tokens": done.tokens, "total_tokens": done.tokens}


def _refuse(refusal: Refusal, request_id: str) -> VllmError:
    words = HTTPStatus(refusal.status).phrase.replace(" ", "").replace("-", "")
    kind = "BadRequestError" if refusal.status in (400, 413, 415, 422) else f"{words}Error"
    return {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": None,
            "code": refusal.status,
        }
    }


RERANK = HttpShape(
    "vllm",
    ("/vllm/v1/rerank", "/vllm/v2/rerank", "/vllm/rerank"),
    "vLLM's rerank.",
    VllmRerankBody,
    VllmRerankAnswer,
    _read_rerank,
    _write_rerank,
    _refuse,
    invalid=400,
    error_type=VllmError,
)
SCORE = HttpShape(
    "vllm",
    ("/score", "/vllm/score", "/vllm/v1/score"),
    "vLLM's score.",
    VllmScoreBody,
    VllmScoreAnswer,
    _read_score,
    _write_score,
    _refuse,
    invalid=400,
    error_type=VllmError,
)
