"""All shapes, in the order in which the documentation names them."""

from typing import Any

from promptrank.serve.shape import HttpShape
from promptrank.serve.shapes import cohere, jina, ours, tei, vllm_api, voyage

SHAPES: tuple[HttpShape[Any], ...] = (
    ours.RANK,
    ours.SCORE,
    cohere.V2,
    cohere.V1,
    jina.RERANK,
    voyage.RERANK,
    tei.RERANK,
    vllm_api.RERANK,
    vllm_api.SCORE,
)
