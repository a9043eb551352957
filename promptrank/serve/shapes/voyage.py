"""Voyage's rerank."""

from typing import Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.documents import hits, wanted
from promptrank.serve.shapes.whole import Positive


class VoyageBody(BaseModel):
    """The body; unknown fields are refused, as Voyage does."""

    model_config = ConfigDict(extra="forbid", strict=True)
    model: str = Field(description="Name of a task that is served.")
    query: str
    documents: list[str] = Field(min_length=1)
    top_k: Positive | None = None
    return_documents: bool | None = False
    truncation: bool | None = True


class VoyageResult(TypedDict):
    """One document's place and score; ``document`` only where it was asked for."""

    index: int
    relevance_score: float
    document: NotRequired[str]


class VoyageUsage(TypedDict):
    """Tokens that were read."""

    total_tokens: int


class VoyageAnswer(TypedDict):
    """Results, best first."""

    object: Literal["list"]
    data: list[VoyageResult]
    model: str
    usage: VoyageUsage


class VoyageError(TypedDict):
    """Why there are no results."""

    detail: str


def _read(body: VoyageBody) -> Wanted:
    whole = body.truncation is False
    return wanted(body.model, body.query, body.documents, whole=whole, shown=body.top_k)


def _write(body: VoyageBody, done: Done) -> VoyageAnswer:
    data = []
    for hit in hits(done, body.top_k):
        result: VoyageResult = {"index": hit.index, "relevance_score": hit.score}
        if body.return_documents:
            result["document"] = body.documents[hit.index]
        data.append(result)
    usage: VoyageUsage = {"total_tokens": done.tokens}
    return {"object": "list", "data": data, "model": done.served.name, "usage": usage}


def _refuse(refusal: Refusal, request_id: str) -> VoyageError:
    return {"detail": refusal.message}


RERANK = HttpShape(
    "voyage",
    ("/voyage/v1/rerank",),
    "Voyage's rerank.",
    VoyageBody,
    VoyageAnswer,
    _read,
    _write,
    _refuse,
    invalid=400,
    error_type=VoyageError,
)
