"""vLLM's rerank and score, as its own server has them."""

import time
from http import HTTPStatus
from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.errors import DataError
from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.documents import Hit, hits, query_request, wanted


class VllmRerankBody(BaseModel):
    """The body of a rerank; fields that are not known here are passed over, as vLLM does."""

    model_config = ConfigDict(strict=True)
    model: str | None = Field(None, description="Name of a task that is served.")
    query: str
    documents: str | list[str]
    top_n: int = Field(0, ge=0, description="0 for all.")
    use_activation: bool | None = None

    @property
    def texts(self) -> list[str]:
        """Documents as a list."""
        return [self.documents] if isinstance(self.documents, str) else self.documents


class VllmScoreBody(BaseModel):
    """The body of a score: one text against many, or texts in pairs."""

    model_config = ConfigDict(strict=True)
    model: str | None = Field(None, description="Name of a task that is served.")
    text_1: str | list[str] = Field(validation_alias=AliasChoices("text_1", "queries", "data_1"))
    text_2: str | list[str] = Field(
        validation_alias=AliasChoices("text_2", "documents", "items", "data_2")
    )
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
        return wanted(body.model, first[0], second)
    if len(first) != len(second):
        raise DataError(
            f"{len(first)} and {len(second)} texts: send one first text, or as many as second ones"
        )
    return Wanted(body.model, [query_request(a, [b]) for a, b in zip(first, second, strict=True)])


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


def _refuse(refusal: Refusal, request_id: str) -> dict[str, Any]:
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
)
