"""What all pages stand in: the way in, signing in and out, and the files that pages load."""

import asyncio
from functools import cache

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from promptrank.serve.refused import refuse
from promptrank.workbench.desk import Desk
from promptrank.workbench.doorway import Way
from promptrank.workbench.drawing import STATIC, page
from promptrank.workbench.posted import fields_of
from promptrank.workbench.sessions import COOKIE, SECONDS

_KINDS = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_WRONG_KEY_SECONDS = 0.5  # so that nobody tries many


def ways(desk: Desk) -> list[Way]:
    """The paths of the shell."""

    async def home(request: Request) -> Response:
        return RedirectResponse("/edit", 303)

    async def sign_in(request: Request) -> Response:
        then = _inner(request.query_params.get("then", ""))
        return page(desk, request, "sign_in.html.jinja", then=then, wrong=False)

    async def signed_in(request: Request) -> Response:
        fields = await fields_of(request)
        then = _inner(fields.get("then", ""))
        if desk.sessions is None:
            return RedirectResponse(then, 303)
        token = desk.sessions.begin(fields.get("key", ""))
        if token is None:
            await asyncio.sleep(_WRONG_KEY_SECONDS)
            return page(desk, request, "sign_in.html.jinja", 403, then=then, wrong=True)
        shown = RedirectResponse(then, 303)
        shown.set_cookie(
            COOKIE,
            token,
            max_age=SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return shown

    async def sign_out(request: Request) -> Response:
        if desk.sessions is not None:
            desk.sessions.end(request.cookies.get(COOKIE))
        shown = RedirectResponse("/sign-in", 303)
        shown.delete_cookie(COOKIE)
        return shown

    return [
        Way("/", home, open_to_all=True),
        Way("/sign-in", sign_in, open_to_all=True),
        Way("/sign-in", signed_in, posts=True, open_to_all=True),
        Way("/sign-out", sign_out, posts=True, open_to_all=True),
        Way("/static/{name}", _static, open_to_all=True),
    ]


def _inner(then: str) -> str:
    """An address of this server, or its first page: nobody is sent elsewhere."""
    plain = then.isprintable() and "\\" not in then
    return then if plain and then.startswith("/") and not then.startswith("//") else "/edit"


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _files():
        raise refuse(404, "not_served", f"no file {name[:100]!r} here")
    kind = _KINDS[STATIC.joinpath(name).suffix]
    # Its address changes with its content, so a browser may keep it.
    kept = "max-age=31536000, immutable" if "v" in request.query_params else "no-cache"
    return Response(_files()[name], media_type=kind, headers={"Cache-Control": kept})


@cache
def _files() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in STATIC.iterdir() if path.suffix in _KINDS}
