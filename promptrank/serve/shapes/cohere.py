"""Cohere's rerank, v2 and v1: fields as its SDK 7 sends and reads them."""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.errors import DataError
from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.documents import hits, unscored, wanted
from promptrank.serve.shapes.whole import Positive, whole

_PER_UNIT = 100  # documents of a "search unit"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CohereV2Body(_Strict):
    """The body of ``/v2/rerank``; unknown fields are refused, as Cohere does."""

    model: str = Field(description="Name of a task that is served.")
    query: str
    documents: list[str] = Field(min_length=1)
    top_n: Positive | None = None
    max_tokens_per_doc: Positive | None = None
    priority: Annotated[int, Field(ge=0, le=999), BeforeValidator(whole)] | None = None
    relevant_spans: dict[str, Any] | None = None


class CohereV1Body(_Strict):
    """The body of ``/v1/rerank``."""

    model: str | None = Field(None, description="Name of a task that is served.")
    query: str
    documents: list[str | dict[str, Any]] = Field(min_length=1)
    top_n: Positive | None = None
    rank_fields: list[str] | None = None
    return_documents: bool | None = None
    max_chunks_per_doc: Positive | None = None
    max_tokens_per_doc: Positive | None = None


class CohereDocument(TypedDict):
    """A document given back."""

    text: str


class CohereResult(TypedDict):
    """One document's place and score; ``document`` only where it was asked for."""

    index: int
    relevance_score: float
    document: NotRequired[CohereDocument]


class CohereVersion(TypedDict):
    """Of the API."""

    version: Literal["1", "2"]


class CohereUnits(TypedDict):
    """What Cohere would bill."""

    search_units: int


class CohereTokens(TypedDict):
    """Tokens that were read."""

    input_tokens: int


class CohereMeta(TypedDict):
    """Facts beside the results; warnings only where there are some."""

    api_version: CohereVersion
    billed_units: CohereUnits
    tokens: CohereTokens
    warnings: NotRequired[list[str]]


class CohereAnswer(TypedDict):
    """Results, best first."""

    id: str
    results: list[CohereResult]
    meta: CohereMeta


class CohereError(TypedDict):
    """Why there are no results."""

    id: str
    message: str


def _read_v2(body: CohereV2Body) -> Wanted:
    if body.relevant_spans is not None:
        raise DataError("relevant_spans: not served here; leave it out")
    return wanted(body.model, body.query, body.documents, shown=body.top_n)


def _read_v1(body: CohereV1Body) -> Wanted:
    texts = [_text(document, body.rank_fields, n) for n, document in enumerate(body.documents)]
    documents = [
        {**document, "text": text} if isinstance(document, dict) else text
        for document, text in zip(body.documents, texts, strict=True)
    ]
    return wanted(body.model, body.query, documents, shown=body.top_n)


def _text(document: str | dict[str, Any], names: Sequence[str] | None, place: int) -> str:
    """What a document is ranked by: its text, or those of its fields that are named."""
    if isinstance(document, str):
        return document
    lines = []
    for name in names or ["text"]:
        value = document.get(name)
        if not isinstance(value, str):
            raise DataError(f"documents[{place}].{name}: expected text")
        lines.append(value)
    return "\n".join(lines)


def _write_v2(body: CohereV2Body, done: Done) -> CohereAnswer:
    unused = [
        f"{name}: the task's own budget decides"
        for name in ("max_tokens_per_doc",)
        if body.max_tokens_per_doc is not None
    ]
    if body.priority:
        unused.append("priority: all requests are alike here")
    results = [
        CohereResult(index=hit.index, relevance_score=hit.score) for hit in hits(done, body.top_n)
    ]
    return _answer("2", done, results, len(body.documents), unused)


def _write_v1(body: CohereV1Body, done: Done) -> CohereAnswer:
    results = []
    for hit in hits(done, body.top_n):
        result: CohereResult = {"index": hit.index, "relevance_score": hit.score}
        if body.return_documents:
            document = body.documents[hit.index]
            result["document"] = {"text": _text(document, body.rank_fields, hit.index)}
        results.append(result)
    given = {
        "max_chunks_per_doc": body.max_chunks_per_doc,
        "max_tokens_per_doc": body.max_tokens_per_doc,
    }
    unused = [f"{n}: the task's own budget decides" for n, v in given.items() if v is not None]
    return _answer("1", done, results, len(body.documents), unused)


def _answer(
    version: Literal["1", "2"],
    done: Done,
    results: list[CohereResult],
    documents: int,
    unused: list[str],
) -> CohereAnswer:
    meta: CohereMeta = {
        "api_version": {"version": version},
        "billed_units": {"search_units": math.ceil(documents / _PER_UNIT)},
        "tokens": {"input_tokens": done.tokens},
    }
    if warnings := [*unused, *unscored(done)]:
        meta["warnings"] = warnings
    return {"id": done.request_id, "results": results, "meta": meta}


def _refuse(refusal: Refusal, request_id: str) -> CohereError:
    return {"id": request_id, "message": refusal.message}


V2 = HttpShape(
    "cohere",
    ("/v2/rerank", "/cohere/v2/rerank"),
    "Cohere's rerank, version 2.",
    CohereV2Body,
    CohereAnswer,
    _read_v2,
    _write_v2,
    _refuse,
    error_type=CohereError,
)
V1 = HttpShape(
    "cohere",
    ("/cohere/v1/rerank",),
    "Cohere's rerank, version 1.",
    CohereV1Body,
    CohereAnswer,
    _read_v1,
    _write_v1,
    _refuse,
    error_type=CohereError,
)
