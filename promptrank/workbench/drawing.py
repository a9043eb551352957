"""Pages and fragments of pages: templates that escape all they are given, and safe headers."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from promptrank import __version__
from promptrank.basics.plurals import counted
from promptrank.workbench.desk import Desk

PAGES = Path(__file__).parent / "pages"
STATIC = Path(__file__).parent / "static"

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every page: nothing runs or loads but our own files, and nobody frames it."""


def page(desk: Desk, request: Request, name: str, status: int = 200, **values: Any) -> Response:
    """A whole page.

    Args:
        name: of a template in ``pages/`` that extends ``base.html.jinja``.
        values: what it is given, beside ``desk``, ``here`` (the path) and ``task`` (a `DeskTask`;
            the one that the address names where left out).
    """
    if "task" not in values:
        values["task"] = desk.tasks.get(request.query_params.get("task", ""), desk.task(None))
    given = {"desk": desk, "here": request.url.path, **values}
    return _html(environment().get_template(name).render(given), status)


def fragment(name: str, status: int = 200, **values: Any) -> Response:
    """A piece that htmx, or a script of ours, puts into a page that is there."""
    return _html(markup(name, **values), status)


def markup(name: str, **values: Any) -> str:
    """A fragment's text."""
    return environment().get_template(name).render(values)


def _html(text: str, status: int) -> Response:
    return Response(text, status, headers=dict(HEADERS), media_type="text/html")


@cache
def environment() -> Environment:
    """Where templates come from; whatever they print is escaped."""
    made = Environment(
        loader=FileSystemLoader(PAGES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"share": "{:.3f}".format, "signed": "{:+.3f}".format}
    made.globals |= {"static": static_path, "version": __version__, "counted": counted}
    return made


@cache
def static_path(name: str) -> str:
    """The address of a file in ``static/``; another content has another address."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"
