"""All shapes, in the order in which the documentation names them."""

from typing import Any

from promptrank.serve.shape import HttpShape
from promptrank.serve.shapes import ours

SHAPES: tuple[HttpShape[Any], ...] = (ours.RANK, ours.SCORE)
