"""What a page sends: the fields of a form, read within bounds, from our own pages only."""

import asyncio
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, Request

from promptrank.serve.refused import refuse

MOST_BYTES = 2 << 20
"""Of one post; a task file has 300,000 bytes at most."""
_MOST_FIELDS = 1000
_SECONDS = 30.0


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form, by name, the last one where a name comes twice; line ends are ``\\n``.

    Raises:
        Refused: no form (415), too large (413), cut (400) or too slow (408).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise refuse(415, "no_form", "send the fields of a form, as the page does")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > MOST_BYTES:
                    raise refuse(413, "too_large", f"more than {MOST_BYTES:,} bytes; shorten it")
                parts.append(part)
    except TimeoutError:
        raise refuse(408, "slow", f"the form took more than {_SECONDS:g} s") from None
    except ClientDisconnect:
        raise refuse(400, "cut", "the form ends before its end") from None
    try:
        pairs = parse_qsl(
            b"".join(parts).decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError as error:
        raise refuse(400, "no_form", f"the form cannot be read ({error})") from None
    return {name: value.replace("\r\n", "\n").replace("\r", "\n") for name, value in pairs}


def check_origin(request: Request) -> None:
    """Refuse what a page of another site sends.

    A browser says where a post comes from; what says nothing is no browser of today, and has the
    API to talk to.

    Raises:
        Refused: (403) it comes from elsewhere.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        same = site == "same-origin"
    else:
        same = origin is not None and urlsplit(origin).netloc == request.headers.get("host")
    if not same:
        raise refuse(
            403, "other_origin", "this was not sent by a page of this server; open it here first"
        )
