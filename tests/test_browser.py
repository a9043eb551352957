"""The browser that other tests look at pages with: it sees what is wrong with a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from support.browser import BROWSER, PHONE, Tabs, no_serious, no_sideways, shot, tabbed
from support.serving import serving

pytestmark = BROWSER

FINE = """<!doctype html><html lang="en"><title>Fine</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">
<main><h1>Fine</h1><a href="/a">A</a> <button>B</button></main>"""
POLICY = "default-src 'self'; img-src 'self' data:"
PAGES = {
    "fine": FINE,
    "script": FINE + "<script>document.title = 'ran'</script>",
    "missing": FINE + "<img alt='' src='/none.png'>",
    "away": FINE.replace("<main>", "<main><img alt='' src='http://127.0.0.1:9/x.png'>"),
    "wide": FINE.replace("<h1>", "<h1 id='title'>" + "w" * 200),
    "silent": FINE.replace("<button>B</button>", "<input><button></button>"),
}


class Quiet:
    """What `serving` closes in the end."""

    class seats:
        @staticmethod
        def close() -> None:
            pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    async def page(request: Request) -> Response:
        name = request.path_params["name"]
        headers = {"Content-Security-Policy": POLICY}
        return HTMLResponse(PAGES.get(name, ""), 200 if name in PAGES else 404, headers)

    app = Starlette(routes=[Route("/{name}", page)])
    app.state.answering = Quiet
    with serving(app) as address:
        yield address


def faults(chromium: Any, address: str) -> str:
    opened = Tabs(chromium)
    opened.open(address).wait_for_load_state("networkidle")
    with pytest.raises(AssertionError) as told:
        opened.close()
    return str(told.value)


def test_a_page_without_faults_passes(tabs: Tabs, url: str, tmp_path: Path) -> None:
    page = tabs.open(f"{url}/fine", size=PHONE)
    no_serious(page)
    no_sideways(page)
    assert tabbed(page) == ["a /a", "button B"]
    assert shot(page, tmp_path, "fine").stat().st_size > 1000
    assert page.evaluate("innerWidth") == 390


def test_what_is_wrong_fails_the_test_at_its_end(chromium: Any, url: str) -> None:
    assert "Content Security Policy" in faults(chromium, f"{url}/script")
    assert "404" in faults(chromium, f"{url}/missing")
    assert "off-origin request: http://127.0.0.1:9/x.png" in faults(chromium, f"{url}/away")


def test_what_a_test_expects_is_no_fault(tabs: Tabs, url: str) -> None:
    tabs.expect("Content Security Policy")
    assert tabs.open(f"{url}/script").title() == "Fine"


def test_what_a_reader_cannot_use_is_told(tabs: Tabs, url: str) -> None:
    with pytest.raises(AssertionError, match="button-name"):
        no_serious(tabs.open(f"{url}/silent"))
    with pytest.raises(AssertionError, match="H1#title"):
        no_sideways(tabs.open(f"{url}/wide"))
