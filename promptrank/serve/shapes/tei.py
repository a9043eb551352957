"""The rerank of Hugging Face's text-embeddings-inference (TEI)."""

from typing import Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from promptrank.serve.refused import Refusal
from promptrank.serve.shape import Done, HttpShape, Wanted
from promptrank.serve.shapes.documents import hits, wanted


class TeiBody(BaseModel):
    """The body. It names no model: the first task that is served answers."""

    model_config = ConfigDict(strict=True)
    query: str
    texts: list[str] = Field(min_length=1)
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = Field(
        None, description="false refuses texts that the task's budget would cut."
    )
    truncation_direction: Literal["left", "right", "Left", "Right"] | None = None


class TeiRank(TypedDict):
    """One text's place and score; ``text`` only where it was asked for."""

    index: int
    score: float
    text: NotRequired[str]


class TeiError(TypedDict):
    """Why there are no ranks."""

    error: str
    error_type: str


def _read(body: TeiBody) -> Wanted:
    return wanted(None, body.query, body.texts, whole=body.truncate is False)


def _write(body: TeiBody, done: Done) -> list[TeiRank]:
    ranks = []
    for hit in hits(done):
        rank: TeiRank = {"index": hit.index, "score": hit.raw if body.raw_scores else hit.score}
        if body.return_text:
            rank["text"] = body.texts[hit.index]
        ranks.append(rank)
    return ranks


_TYPES = {413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy"}


def _refuse(refusal: Refusal, request_id: str) -> TeiError:
    return {"error": refusal.message, "error_type": _TYPES.get(refusal.status, "Backend")}


RERANK = HttpShape(
    "tei",
    ("/rerank", "/tei/rerank"),
    "The rerank of text-embeddings-inference.",
    TeiBody,
    list[TeiRank],
    _read,
    _write,
    _refuse,
    error_type=TeiError,
)
