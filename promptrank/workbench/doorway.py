"""The way to every page: who is signed in, where a post comes from, and what read-only forbids."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from promptrank.errors import InputError
from promptrank.serve.page_route import PageRoute
from promptrank.serve.refused import Refusal, refuse
from promptrank.workbench.desk import Desk
from promptrank.workbench.drawing import HEADERS, fragment, page
from promptrank.workbench.posted import check_origin
from promptrank.workbench.sessions import COOKIE

Shown = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Way:
    """A path of the workbench.

    Attributes:
        path: as Starlette's routes have it.
        shown: its answer; raises `Refused` where there is none.
        posts: is sent to, by our own pages only; else it is looked at.
        writes: refused in read-only mode.
        open_to_all: needs no signing in.
    """

    path: str
    shown: Shown
    posts: bool = False
    writes: bool = False
    open_to_all: bool = False


def guarded(desk: Desk, way: Way) -> PageRoute:
    """The way as the server's route."""

    async def answer(request: Request, request_id: str) -> tuple[int, Response]:
        if way.posts:
            check_origin(request)
        if not way.open_to_all and not _signed_in(desk, request):
            shown = _to_sign_in(request)
        elif way.writes and desk.read_only:
            raise refuse(403, "read_only", "this server only shows: --workbench read-only")
        else:
            try:
                shown = await way.shown(request)
            except InputError as error:
                raise refuse(422, "wrong_input", str(error)) from None
        for name, value in HEADERS.items():
            shown.headers.setdefault(name, value)
        return shown.status_code, shown

    def refused(refusal: Refusal, request_id: str) -> Response:
        return _refused(desk, way, refusal, request_id)

    return PageRoute(way.path, answer, refused, ("POST",) if way.posts else ("GET",))


def _signed_in(desk: Desk, request: Request) -> bool:
    return desk.sessions is None or desk.sessions.holds(request.cookies.get(COOKIE))


def _to_sign_in(request: Request) -> Response:
    """A page is shown the way; a script is told to go there with the whole page."""
    if request.headers.get("hx-request") or request.method == "POST":
        return Response(status_code=401, headers={"HX-Redirect": "/sign-in"})
    there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"/sign-in?then={quote(there, safe='')}", 303)


def _refused(desk: Desk, way: Way, refusal: Refusal, request_id: str) -> Response:
    """Why there is nothing to show; a page that waits for the model looks again by itself."""
    given = {"refusal": refusal, "request_id": request_id}
    if way.posts:
        shown = fragment("refused.html.jinja", refusal.status, **given)
    else:
        shown = page(desk, _NOWHERE, "refused_page.html.jinja", refusal.status, **given)
    if refusal.reason == "loading" and not way.posts:
        shown.headers["Refresh"] = "2"
    return shown


_NOWHERE = Request({"type": "http", "path": "", "query_string": b"", "headers": []})
