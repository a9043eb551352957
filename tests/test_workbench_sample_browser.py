"""The stories of Sample and Versions in a real browser, from an edit to the files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browser import (
    BROWSER,
    LOOK_NAMES,
    LOOKS,
    PHONE,
    Tabs,
    no_serious,
    no_sideways,
    promptrank_serve,
    tabbed,
)
from support.toys import make_project
from support.workbench import build_requests

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = BROWSER
TASK = "?task=toys/like"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    made = make_project(tmp_path_factory.mktemp("sample") / "toys", tiny_llama_path)
    build_requests(made)
    return made


@pytest.fixture(scope="module")
def site(project: Path) -> Iterator[str]:
    with promptrank_serve(project) as url:
        yield url


def edit(page: "Page", old: str, new: str) -> None:
    """Change a word of the template in the editor, as somebody types it."""
    area = page.locator("#template_text")
    area.fill(area.input_value().replace(old, new))
    page.locator("[data-changed=template]").wait_for(state="visible")


def run_of(page: "Page", old: str, new: str) -> str:
    """An edit, tried on all test requests; the address of the run's page."""
    edit(page, old, new)
    page.get_by_role("link", name="Try on a sample").click()
    page.get_by_text("differs from the saved version").wait_for()
    page.get_by_text("All", exact=True).click()
    page.get_by_role("button", name="Rank the sample").click()
    page.get_by_text("Done: 12 of 12 requests").wait_for()
    page.locator("#changes a").first.wait_for()
    return page.url


def all_figures_seen(page: "Page") -> None:
    """No table of metrics has to be pushed aside to be read."""
    hidden = "[...document.querySelectorAll('.scroll:has(.figures)')]" + (
        ".map((e) => e.scrollWidth - e.clientWidth).filter((over) => over > 1)"
    )
    assert page.evaluate(hidden) == []


def test_an_edit_is_tried_on_a_sample_and_its_regressions_are_looked_at(
    site: str, tabs: Tabs
) -> None:
    page = tabs.open(f"{site}/edit{TASK}")
    run_of(page, "Toy:", "Some toy:")
    assert page.get_by_role("row", name=re.compile("^auc")).is_visible()
    page.get_by_role("heading", name="How sure is it?").wait_for()

    links = page.locator("#changes a")
    page.keyboard.press("j")
    first = links.first.locator(".what").inner_text()
    page.get_by_role("heading", name=first).wait_for()
    assert page.locator("#beside ins").first.inner_text() == "Some toy"
    assert links.first.get_attribute("aria-current") == "true"
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.get_by_role("heading", name=links.nth(1).locator(".what").inner_text()).wait_for()

    page.get_by_role("link", name=re.compile("^Worse")).click()
    page.wait_for_url("**show=worse**")
    worse = page.locator("#changes a[data-worse]")
    worse.first.wait_for()
    assert worse.count() == links.count() > 0
    page.keyboard.press("n")
    page.get_by_role("heading", name=worse.first.locator(".what").inner_text()).wait_for()
    # What is chosen stands in the address, so that it can be sent to somebody.
    page.reload()
    page.get_by_role("heading", name=worse.first.locator(".what").inner_text()).wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="CSV").click()
    assert len(waiting.value.path().read_text().splitlines()) == 61


def test_without_a_draft_there_is_nothing_to_rank(site: str, tabs: Tabs) -> None:
    page = tabs.open(f"{site}/sample{TASK}")
    button = page.get_by_role("button", name="Rank the sample")
    page.locator("#version").select_option("")
    assert button.is_disabled()
    page.goto(f"{site}/edit{TASK}")
    edit(page, "Toy:", "My toy:")
    page.goto(f"{site}/sample{TASK}")
    assert button.is_enabled()


def test_a_version_is_named_restored_and_written_past_a_conflict(
    project: Path, site: str, tabs: Tabs
) -> None:
    template = project / "templates/toys/like.j2"
    before = template.read_text()
    page = tabs.open(f"{site}/edit{TASK}")
    run_of(page, "Toy:", "A toy:")
    page.get_by_role("link", name="What was edited").click()
    page.get_by_role("textbox", name="Name").fill("an article")
    page.get_by_role("button", name="Keep the name").click()
    page.get_by_role("heading", name="an article").wait_for()
    version = page.url

    page.evaluate("localStorage.clear()")
    page.get_by_role("button", name="Restore in the editor").click()
    page.wait_for_url("**/edit**")
    page.get_by_text("Your draft is back").wait_for()
    assert "A toy:" in page.locator("#template_text").input_value()

    page.goto(version)
    template.write_text(before.replace("You rank", "You always rank"))
    page.get_by_role("link", name="Write to the files").click()
    page.get_by_text("Somebody changed a file").wait_for()
    page.get_by_role("button", name="Write", exact=True).click()
    assert "A toy:" not in template.read_text()  # nothing is chosen, and the browser says so
    page.get_by_label("Write this version, over what was changed").check()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("Written.").wait_for()
    assert template.read_text() == before.replace("Toy:", "A toy:")
    template.write_text(before)


def test_a_draft_that_began_before_a_change_is_not_written_over_it(
    project: Path, site: str, tabs: Tabs
) -> None:
    template = project / "templates/toys/like.j2"
    before = template.read_text()
    page = tabs.open(f"{site}/edit{TASK}")
    edit(page, "Name:", "Called:")
    template.write_text(before.replace("You rank", "You often rank"))
    page.reload()
    page.get_by_text("The files have changed since you began it").wait_for()
    page.get_by_role("button", name="Write to the files").click()
    page.get_by_text("Somebody changed a file").wait_for()
    page.get_by_label("Leave the file as it is").check()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("Written.").wait_for()
    assert template.read_text() == before.replace("You rank", "You often rank")
    template.write_text(before)


@pytest.mark.parametrize(("size", "dark"), LOOKS, ids=LOOK_NAMES)
def test_pages_fit_and_can_be_read_and_reached(
    project: Path, site: str, tabs: Tabs, size: tuple[int, int], dark: bool
) -> None:
    page = tabs.open(f"{site}/edit{TASK}", size=size, dark=dark)
    run = run_of(page, "Toy:", f"{size[0]} {'dark' if dark else 'light'}:")
    page.locator("#changes a").first.click()
    page.locator("#beside table").wait_for()
    if size == PHONE:
        # Functions that wait in the page would be evaluated there, which its policy forbids.
        seen = "document.getElementById('beside').getBoundingClientRect().top < innerHeight / 2"
        for _ in range(1000):
            if page.evaluate(seen):
                break
            page.wait_for_timeout(50)
        assert page.evaluate(seen)
    no_serious(page)
    no_sideways(page)
    all_figures_seen(page)
    page.goto(run.partition("?")[0])
    page.locator("#changes a").first.wait_for()
    assert {"#next-regression", "a /sample?task=toys/like"} <= set(tabbed(page))
    name = run.partition("/sample/")[2].partition("?")[0]
    for path in (
        f"/sample{TASK}",
        f"/versions{TASK}",
        f"/versions/{name}",
        f"/versions/{name}/write",
        f"/versions/compare?one={name}&other={name}",
    ):
        page.goto(f"{site}{path}")
        no_serious(page)
        no_sideways(page)
        all_figures_seen(page)
        assert tabbed(page)
