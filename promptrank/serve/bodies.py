"""Bodies of requests: read within bounds, and parsed to an object or refused with its place."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import ClientDisconnect, Request

from promptrank.basics.json_files import json_object
from promptrank.errors import DataError
from promptrank.serve.bounds import Bounds
from promptrank.serve.quick_json import quick_object
from promptrank.serve.refused import Refused, refuse

_HALF = re.compile("[\ud800-\udfff]")
_QUICK = 64 << 10  # bytes that are parsed faster than handed to a thread


class Intake:
    """Reads bodies, and counts what is held of them."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.held = 0

    @asynccontextmanager
    async def take(self, request: Request) -> AsyncIterator[tuple[dict[str, Any], int]]:
        """The object in a body and its bytes, which count as held until the end.

        Raises:
            Refused: no JSON object (400, 415), too large (413), a text that is too long or none
                (422), too slow (408), or the bodies of
                others fill the memory that there is for them (429).
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise refuse(
                415, "not_json", "send the body with the header Content-Type: application/json"
            )
        told = request.headers.get("content-length", "")
        # A number of twenty digits is not even read as one.
        if told.isdecimal() and (len(told) > 19 or int(told) > self._bounds.body):
            raise self._too_large()
        parts: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._bounds.body_seconds):
                    async for part in request.stream():
                        size += len(part)
                        self.held += len(part)
                        self._check(size)
                        parts.append(part)
            except TimeoutError:
                raise refuse(
                    408, "slow", f"the body took more than {self._bounds.body_seconds:g} s"
                ) from None
            except ClientDisconnect:
                raise refuse(400, "cut", "the body ends before its end") from None
            body = b"".join(parts)
            parts.clear()
            yield await _parsed(body, self._bounds), size
        finally:
            self.held -= size

    def _check(self, size: int) -> None:
        if size > self._bounds.body:
            raise self._too_large()
        if self.held > self._bounds.bodies:
            raise refuse(
                429,
                "busy",
                "the bodies of other requests fill the memory for them; try again",
                {"Retry-After": "1"},
            )

    def _too_large(self) -> Refused:
        return refuse(
            413,
            "too_large",
            f"the body has more than {self._bounds.body:,} bytes; send fewer candidates",
        )


async def _parsed(body: bytes, bounds: Bounds) -> dict[str, Any]:
    try:
        if len(body) <= _QUICK:
            # What it takes is text, and no text in it is longer than all of it.
            quick = quick_object(body) if len(body) <= bounds.text else None
            if quick is not None:
                return quick
            value = json_object(body, "the body")
        else:
            value = await asyncio.to_thread(json_object, body, "the body")
    except DataError as error:
        raise refuse(400, "not_json", str(error)) from None
    check_texts(value, bounds)
    return value


def check_texts(value: Any, bounds: Bounds) -> None:
    """Hold every text and every key in plain nested values against what texts may be.

    Raises:
        Refused: (422) the first one that is too long, or no text, by its place.
    """
    waiting: list[tuple[Any, str]] = [(value, "")]
    while waiting:
        inside, at = waiting.pop()
        for key, each in inside.items() if isinstance(inside, dict) else enumerate(inside):
            if isinstance(key, str):
                _check_text(key, at, "a key", bounds)
            if isinstance(each, str):
                _check_text(each, at, key, bounds)
            elif isinstance(each, dict | list):
                waiting.append((each, f"{at}{key}."))


def _check_text(text: str, at: str, name: object, bounds: Bounds) -> None:
    if len(text) > bounds.text:
        problem = f"{len(text):,} characters, more than {bounds.text:,}"
        raise refuse(422, "text_too_long", f"{f'{at}{name}'[:200]}: {problem}")
    if not text.isascii() and _HALF.search(text):
        # JSON can say it, and no tokenizer, file or answer in UTF-8 can hold it.
        problem = "half a surrogate pair, which is no text"
        raise refuse(422, "no_text", f"{f'{at}{name}'[:200]}: {problem}")
