"""All pages of the workbench in a real browser: who may do what, and who can use them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from promptrank.serve.key_file import Keys
from promptrank.workbench.desk import Desk
from support.browser import (
    BROWSER,
    DESKTOP,
    LOOK_NAMES,
    LOOKS,
    Tabs,
    no_serious,
    no_sideways,
    promptrank_serve,
    shot,
    tabbed,
)
from support.serving import serving
from support.toys import make_project
from support.workbench import app_on, build_requests, desk_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = BROWSER

KEY = "a-key-of-the-server"
WRITES = ("/label/judge", "/label/undo", "/versions/keep")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    root = make_project(tmp_path_factory.mktemp("pages") / "toys", tiny_llama_path)
    build_requests(root)
    return root


@pytest.fixture(scope="module")
def url(project: Path) -> Iterator[str]:
    with serving(app_on(desk_of(project), log=print)) as address:
        yield address


@pytest.fixture(scope="module")
def with_keys(project: Path) -> Iterator[tuple[str, Desk]]:
    desk = desk_of(project, keys=Keys([KEY]))
    with serving(app_on(desk, keys=Keys([KEY]))) as address:
        yield address, desk


def posted(page: "Page", path: str) -> int:
    """The status of a post that a script of the page sends."""
    status = page.evaluate(
        "async (path) => (await fetch(path, {method: 'POST', redirect: 'manual', "
        "body: new URLSearchParams({id: 'x', who: 'Ann'})})).status",
        path,
    )
    return int(status)


# ---- who may do what


def test_a_read_only_server_shows_and_writes_nothing(tabs: Tabs, project: Path) -> None:
    tabs.expect("403")
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    with promptrank_serve(project, "--engine", "fake", "--workbench", "read-only") as address:
        page = tabs.open(f"{address}/edit")
        assert page.locator(".badge", has_text="read-only").is_visible()
        assert page.get_by_text("Write to the files").count() == 0
        page.goto(f"{address}/label")
        assert page.get_by_role("heading", name="Nothing can be labelled here").is_visible()
        assert page.get_by_label("Your name").count() == 0
        page.goto(f"{address}/versions")
        for path in WRITES:
            assert posted(page, path) == 403
    after = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    changed = {path.name for path in {*before, *after} if before.get(path) != after.get(path)}
    assert changed <= {"serve.log"}


def test_a_key_opens_the_pages_and_the_end_of_a_session_loses_no_label(
    tabs: Tabs, with_keys: tuple[str, Desk]
) -> None:
    tabs.expect("401", "403")
    address, desk = with_keys
    page = tabs.open(f"{address}/label?task=toys/like")
    assert "/sign-in" in page.url
    page.get_by_label("Key").fill("another-key-than-that")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").filter(has_text="no key of this server").wait_for()
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    page.wait_for_url("**/label?task=toys/like")

    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and KEY not in cookie["value"]
    status = "async () => (await fetch('/v1/tasks')).status"
    assert page.evaluate(status) == 401  # a cookie opens pages; the API wants the header
    assert page.request.get(f"{address}/v1/tasks", headers={"Authorization": f"Bearer {KEY}"}).ok

    page.get_by_label("Your name").fill("Ann")
    page.keyboard.press("Enter")
    page.locator("article").wait_for()
    page.wait_for_timeout(300)
    assert desk.sessions is not None
    desk.sessions.end(cookie["value"])
    page.keyboard.press("y")
    page.get_by_role("alert").filter(has_text="Your session has ended").wait_for()
    assert not (desk.project / "judgements").exists()
    page.on("dialog", lambda dialog: dialog.accept())  # "leave the page?"
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("Key").fill(KEY)
    page.keyboard.press("Enter")
    page.locator("#saved", has_not_text="not kept").wait_for(state="attached")
    page.locator("dd", has_text=re.compile("^1")).first.wait_for()
    assert (desk.project / "judgements/toys/like.jsonl").read_text().count('"answer"') >= 1
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    page.goto(f"{address}/edit")
    assert "/sign-in" in page.url


def test_a_page_of_another_site_cannot_post(tabs: Tabs, url: str, project: Path) -> None:
    tabs.expect("403", "off-origin", "net::ERR_FAILED", "CORS", "favicon")
    tabs.expect("ERR_BLOCKED_BY_RESPONSE", "Content Security Policy")  # a frame

    async def evil(request: Request) -> Response:
        fields = '<input name="who" value="Eve"><input name="id" value="e">'
        return HTMLResponse(
            '<!doctype html><html lang="en"><title>x</title><link rel="icon" href="data:,">'
            f'<form method="post" action="{url}/label/judge">{fields}<button>Go</button></form>'
        )

    class Quiet:
        class seats:
            @staticmethod
            def close() -> None:
                pass

    app = Starlette(routes=[Route("/", evil)])
    app.state.answering = Quiet
    with serving(app) as elsewhere:
        page = tabs.open(elsewhere)
        with page.expect_response("**/label/judge") as told:
            page.get_by_role("button", name="Go").click()
        assert told.value.status == 403
        page.goto(elsewhere)
        read = page.evaluate(
            "(url) => fetch(url, {credentials: 'include'}).then(() => 'read', () => 'refused')",
            f"{url}/label/export?as=json",
        )
        assert read == "refused"
        frame = page.evaluate(
            """(url) => new Promise((done) => {
              const frame = document.createElement("iframe");
              frame.src = url;
              frame.onload = () => { try { done(frame.contentDocument ? "blank" : "other"); }
                catch { done("other"); } };
              document.body.append(frame);
            })""",
            f"{url}/edit",
        )
        assert frame in ("blank", "other")
        assert page.frames[-1].locator("nav").count() == 0  # nobody frames the workbench


def test_no_script_runs_but_the_servers_own_files(tabs: Tabs, url: str) -> None:
    tabs.expect("Content Security Policy", "violates the following")
    page = tabs.open(f"{url}/edit")
    page.evaluate(
        """() => {
          const image = "<img src='data:,' onerror='window.ran = 1'>";
          document.body.insertAdjacentHTML("beforeend", image);
          const script = document.createElement("script");
          script.textContent = "window.ran = 1";
          document.body.append(script);
          const away = document.createElement("script");
          away.src = "data:text/javascript,window.ran = 1";
          document.body.append(away);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None


# ---- whether everybody can use it


def addresses(page: "Page", url: str) -> list[str]:
    """Every page, one of a finished run and one of a version among them."""
    page.goto(f"{url}/edit")
    area = page.get_by_role("textbox", name="Template")
    area.fill(area.input_value().replace("Toy:", "This toy:"))
    page.goto(f"{url}/sample?task=toys/like")
    page.get_by_role("button", name="Rank the sample").click()
    page.wait_for_url(re.compile("/sample/[0-9a-z]"))
    page.locator("text=Done:").first.wait_for()
    run = page.url
    version = run.replace("/sample/", "/versions/").partition("?")[0]
    pages = ["/edit", "/sample", "/versions", "/label", "/label?what=pairs", "/sign-in"]
    pages += ["/label?by=uncertain", "/edit?task=no/such"]
    page.evaluate("localStorage.setItem('promptrank.labeller', JSON.stringify('Ann'))")
    page.goto(f"{url}/label?by=different")  # what that sample's edit moved
    page.locator("article").wait_for()
    return [*(f"{url}{path}" for path in pages), run, version, f"{version}/write"]


@pytest.fixture(scope="module")
def every_address(url: str, chromium: object) -> list[str]:
    opened = Tabs(chromium)  # type: ignore[arg-type]
    try:
        return addresses(opened.open(f"{url}/edit"), url)
    finally:
        opened.close()


@pytest.mark.parametrize(("size", "dark"), LOOKS, ids=LOOK_NAMES)
def test_everybody_can_use_every_page(
    tabs: Tabs,
    url: str,
    every_address: list[str],
    size: tuple[int, int],
    dark: bool,
    tmp_path: Path,
) -> None:
    """Axe-core finds nothing serious, nothing scrolls sideways, and Tab shows where it is."""
    tabs.expect("404")
    page = tabs.open(f"{url}/sign-in", size=size, dark=dark)
    page.evaluate("localStorage.setItem('promptrank.labeller', JSON.stringify('Ann'))")
    wrong = []
    for number, address in enumerate(every_address):
        page.goto(address)
        page.wait_for_load_state("networkidle")
        shot(page, tmp_path, f"{number}")
        # Where the focus goes does not hang on colors.
        for look in (no_serious, no_sideways) if dark else (no_serious, no_sideways, tabbed):
            try:
                look(page)
            except AssertionError as fault:
                wrong.append(str(fault))
    assert not wrong, "\n\n".join(wrong)


def test_every_page_works_by_keyboard_alone(tabs: Tabs, url: str) -> None:
    page = tabs.open(f"{url}/edit", size=DESKTOP)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skip to the page
    assert page.evaluate("document.activeElement.id") == "main"
    for name in ("Sample", "Versions", "Label"):
        link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)
        link.focus()
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{name.lower()}?**")
        current = page.get_by_role("navigation", name="Pages").locator("[aria-current=page]")
        assert current.inner_text() == name
