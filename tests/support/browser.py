"""A real browser for tests of pages: Debian's Chromium by Playwright, and axe-core.

A module of tests begins with ``pytestmark = BROWSER``. `tabs` opens pages; whatever went wrong on
one of them (an error on the console, a script that raised, a request that failed or left the
server) fails the test at its end, unless the test said beforehand that it would happen.
"""

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
_THERE = bool(CHROMIUM) and find_spec("playwright") is not None
BROWSER = [
    pytest.mark.slow,
    # One worker of pytest-xdist runs them all: several browsers at once make each of them slow.
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(not _THERE, reason="Chromium or playwright is not here"),
]
DESKTOP, PHONE = (1400, 900), (390, 844)
LOOKS = [(size, dark) for size in (DESKTOP, PHONE) for dark in (False, True)]
"""Every window and color scheme that a page is looked at in."""
LOOK_NAMES = ["desktop", "desktop-dark", "phone", "phone-dark"]

_ACT = {"serious", "critical"}
_FOCUS = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) return null;
  const look = getComputedStyle(at), box = at.getBoundingClientRect();
  const rung = (e) => {
    const look = getComputedStyle(e);
    return look.outlineStyle !== "none" && parseFloat(look.outlineWidth) > 0;
  };
  // A control without a box of its own may have its ring around what stands for it.
  const around = [at, at.parentElement, at.nextElementSibling].filter(Boolean);
  const ring = around.some(rung);
  return {
    name: at.id ? "#" + at.id : at.tagName.toLowerCase() + " " + (at.getAttribute("name")
      || at.getAttribute("href") || (at.textContent || "").trim().slice(0, 30)),
    seen: (ring || look.boxShadow !== "none") && box.width > 0 && box.height > 0,
  };
}"""


@dataclass
class Tabs:
    """Pages of one test, each in a context of its own: no cookies, no storage from before."""

    browser: "Browser"
    faults: list[str] = field(default_factory=list)
    _expected: list[str] = field(default_factory=list)
    _contexts: list["BrowserContext"] = field(default_factory=list)

    def open(
        self, url: str, *, size: tuple[int, int] = DESKTOP, dark: bool = False, **more: Any
    ) -> "Page":
        """A page at an address; more are options of Playwright's `new_context`."""
        phone = {"has_touch": True, "device_scale_factor": 2} if size == PHONE else {}
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
            **{**phone, **more},
        )
        context.set_default_timeout(60_000)
        self._contexts.append(context)
        page = context.new_page()
        self.watch(page, url)
        page.goto(url)
        return page

    def expect(self, *patterns: str) -> None:
        """Faults that a test brings about itself, as regular expressions."""
        self._expected += patterns

    def watch(self, page: "Page", url: str) -> None:
        """Note what goes wrong on a page whose own server is at this address."""
        home = urlsplit(url).netloc

        def asked(request: Any) -> None:
            there = urlsplit(request.url)
            if there.scheme in ("http", "https", "ws", "wss") and there.netloc != home:
                self.faults.append(f"off-origin request: {request.url}")

        def failed(request: Any) -> None:
            # A page that moves on, or takes back what it asked, aborts a request; that is no fault.
            if request.failure != "net::ERR_ABORTED":
                self.faults.append(f"failed request: {request.url} {request.failure}")

        def told(message: Any) -> None:
            if message.type in ("error", "warning"):
                where = message.location["url"]
                self.faults.append(f"console {message.type}: {message.text} ({where})")

        def raised(error: Any) -> None:
            self.faults.append(f"page error: {error}")

        page.on("request", asked)
        page.on("requestfailed", failed)
        page.on("pageerror", raised)
        page.on("console", told)

    def close(self) -> None:
        for context in self._contexts:
            context.close()
        wrong = [f for f in self.faults if not any(re.search(p, f) for p in self._expected)]
        assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """The browser of a module.

    Not of the session: while Playwright is started, this thread counts as one with a running event
    loop, and tests of other modules that call `asyncio.run` would be refused.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def tabs(chromium: "Browser") -> Iterator[Tabs]:
    """Pages of this test; see `Tabs`."""
    opened = Tabs(chromium)
    yield opened
    opened.close()


def no_serious(page: "Page") -> None:
    """Axe-core finds nothing serious or critical on the page as it stands.

    Its script comes in by the debugger, which no Content-Security-Policy concerns: the page keeps
    its own.
    """
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    told = [
        f"{each['impact']} {each['id']}: {node['html'][:200]}\n    {node['failureSummary']}"
        for each in violations
        if each["impact"] in _ACT
        for node in each["nodes"]
    ]
    assert not told, f"{page.url}\n" + "\n".join(told)


def no_sideways(page: "Page") -> None:
    """The page is no wider than its window."""
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    if wide > window:
        over = page.evaluate(
            """() => [...document.querySelectorAll("body *")]
              .filter((e) => {
                const box = e.getBoundingClientRect();
                const spills = getComputedStyle(e).overflowX === "visible" ? e.scrollWidth : 0;
                return Math.max(box.right, box.left + spills) > innerWidth + 1;
              })
              .map((e) => e.tagName + (e.id && "#" + e.id) + (e.className && "." + e.className))
              .slice(-8)"""
        )
        raise AssertionError(f"{page.url} is {wide} wide in a window of {window}: {over}")


def tabbed(page: "Page", most: int = 80) -> list[str]:
    """What Tab reaches from the top of the page, in order; each has to show that it has the focus.

    It stops where the focus leaves the page or comes round.
    """
    page.evaluate("document.activeElement && document.activeElement.blur()")
    names: list[str] = []
    for _ in range(most):
        if page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            page.keyboard.press("Escape")  # Tab indents in an editor until Escape lets it go
        page.keyboard.press("Tab")
        at = page.evaluate(_FOCUS)
        if at is None or at["name"] in names[:1]:
            break
        assert at["seen"], f"{page.url}: nothing shows that {at['name']} has the focus"
        names.append(at["name"])
    return names


def shot(page: "Page", folder: Path, name: str, *, full: bool = True) -> Path:
    """A picture of the page as ``folder/name.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=full)
    return folder / f"{name}.png"


@contextmanager
def promptrank_serve(
    project: Path, *options: str, tasks: tuple[str, ...] = ("toys/like",), seconds: float = 300
) -> Iterator[str]:
    """The address of a real ``promptrank serve`` of a project, once it is ready.

    Args:
        options: more words of the command line, such as ``--workbench read-only``.
    """
    log = project / "serve.log"
    command = [sys.executable, "-m", "promptrank", "serve", *tasks]
    command += ["--project", str(project), "--port", "0", *options]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + seconds
        while "ready" not in (lines := log.read_text(errors="replace").splitlines()):
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"{command} did not get ready:\n" + "\n".join(lines[-30:]))
            time.sleep(0.1)
        yield next(line for line in lines if line.startswith("http://"))
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
