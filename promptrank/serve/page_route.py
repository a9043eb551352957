"""A page beside the API: an answer of its own kind, behind the same door."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from promptrank.serve.refused import Refusal

PageAnswer = Callable[[Request, str], Awaitable[tuple[int, Response]]]
"""A request and its id -> the status for the log, and the answer."""


@dataclass(frozen=True, slots=True)
class PageRoute:
    """A path that people open in a browser.

    Attributes:
        path: as Starlette's routes have it.
        answer: checks keys itself: a browser shows a cookie where a client shows a header.
        refuse: a refusal and the request's id -> what is shown.
        methods: of HTTP.
    """

    path: str
    answer: PageAnswer
    refuse: Callable[[Refusal, str], Response]
    methods: Sequence[str] = ("GET",)
