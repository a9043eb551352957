"""Jina's rerank; llama.cpp, Infinity and many proxies speak the same."""

from typing import NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.documents import hits, wanted
from promptrank.serve.shapes.whole import Positive


class JinaText(BaseModel):
    """A document that is an object."""

    model_config = ConfigDict(strict=True)
    text: str


class JinaBody(BaseModel):
    """The body; fields that are not known here are passed over, as Jina does."""

    model_config = ConfigDict(strict=True)
    model: str | None = Field(None, description="Name of a task that is served.")
    query: str
    documents: list[str | JinaText] = Field(min_length=1)
    top_n: Positive | None = None
    return_documents: bool | None = True


class JinaDocument(TypedDict):
    """A document given back."""

    text: str


class JinaResult(TypedDict):
    """One document's place and score; ``document`` only where it is wanted."""

    index: int
    relevance_score: float
    document: NotRequired[JinaDocument]


class JinaUsage(TypedDict):
    """Tokens that were read."""

    total_tokens: int


class JinaAnswer(TypedDict):
    """Results, best first."""

    model: str
    usage: JinaUsage
    results: list[JinaResult]


class JinaError(TypedDict):
    """Why there are no results."""

    detail: str


def _read(body: JinaBody) -> Wanted:
    documents = [_text(document) for document in body.documents]
    return wanted(body.model, body.query, documents, shown=body.top_n)


def _text(document: str | JinaText) -> str:
    return document if isinstance(document, str) else document.text


def _write(body: JinaBody, done: Done) -> JinaAnswer:
    results = []
    for hit in hits(done, body.top_n):
        result: JinaResult = {"index": hit.index, "relevance_score": hit.score}
        if body.return_documents:
            result["document"] = {"text": _text(body.documents[hit.index])}
        results.append(result)
    usage: JinaUsage = {"total_tokens": done.tokens}
    return {"model": done.served.name, "usage": usage, "results": results}


def _refuse(refusal: Refusal, request_id: str) -> JinaError:
    return {"detail": refusal.message}


RERANK = HttpShape(
    "jina",
    ("/v1/rerank", "/jina/v1/rerank"),
    "Jina's rerank.",
    JinaBody,
    JinaAnswer,
    _read,
    _write,
    _refuse,
    error_type=JinaError,
)
