"""The page Edit in a real browser: typing, faults at their lines, the prompt, and moving ranks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.browser import (
    BROWSER,
    DESKTOP,
    LOOK_NAMES,
    LOOKS,
    PHONE,
    Tabs,
    no_serious,
    no_sideways,
    shot,
)
from support.serving import rank_body, serving
from support.toys import make_project
from support.workbench import app_on, build_requests, desk_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = BROWSER


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Iterator[str]:
    project = make_project(tmp_path_factory.mktemp("edit") / "toys", tiny_llama_path)
    build_requests(project)
    with serving(app_on(desk_of(project))) as address:
        yield f"{address}/edit"


def ranked(page: "Page") -> None:
    """Wait for what is under way."""
    page.locator("#status.done").wait_for(state="attached")


def put(page: "Page", old: str, new: str, area: str = "#template_text") -> None:
    """Change a text; the page sees one edit."""
    text = page.locator(area).input_value()
    assert old in text
    page.locator(area).fill(text.replace(old, new))


def wrong_lines(page: "Page", kind: str) -> list[str]:
    return page.locator(f"[data-pane={kind}] .gutter .wrong").all_inner_texts()


def test_faults_are_marked_at_their_lines_as_they_are_typed(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    assert wrong_lines(page, "template") == wrong_lines(page, "task") == []
    put(page, "{{ item.color }}", "{{ item.colour }}")
    problem = page.get_by_role("button", name="Template, line 5")
    problem.wait_for()
    assert wrong_lines(page, "template") == ["5"]
    assert "did you mean item.color?" in page.locator("#checks").inner_text()
    assert "not ranked" in page.locator("#status").inner_text()
    problem.click()
    chosen = page.evaluate(
        "(() => { const a = document.activeElement; "
        "return [a.id, a.value.slice(a.selectionStart, a.selectionEnd)]; })()"
    )
    assert chosen[0] == "template_text" and chosen[1].startswith("Toy: {{ item.title }}")
    put(page, "item.colour", "item.color")
    ranked(page)
    assert wrong_lines(page, "template") == []

    put(page, "history: {last: 4}", "history: {last: four}", "#task_text")
    page.get_by_role("button", name="Task, line 14").wait_for()
    assert wrong_lines(page, "task") == ["14"]


def test_problems_stay_in_sight_and_cover_nothing(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    put(page, "history: {last: 4}", "history: {last: 3}", "#task_text")
    page.locator("#checks .warn").wait_for()
    put(page, "{{ question.ask }}", "{{ question.aks }}")
    page.locator("#checks .fault").wait_for()
    boxes = """(names) => names.map((name) => {
      const box = document.querySelector(name).getBoundingClientRect();
      return [box.left, box.top, box.right, box.bottom];
    })"""
    names = ["#checks", "#template_text", "#task_text", ".outcome > .stack"]
    for place in ("0", "document.body.scrollHeight"):
        page.evaluate(f"window.scrollTo(0, {place})")
        checks, *others = page.evaluate(boxes, names)
        assert checks[1] >= 0 and checks[3] <= DESKTOP[1]
        for left, top, right, bottom in others:
            aside = right <= checks[0] or left >= checks[2]
            assert aside or bottom <= checks[1] or top >= checks[3]


def test_tab_indents_and_escape_lets_it_go(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    area = page.locator("#template_text")
    before = area.input_value()
    area.focus()
    area.evaluate(
        "(a) => a.setSelectionRange(0, a.value.indexOf('\\n', a.value.indexOf('\\n') + 1))"
    )
    page.keyboard.press("Tab")
    lines = area.input_value().splitlines()
    assert [line.startswith("  {%") for line in lines[:3]] == [True, True, False]
    page.keyboard.press("Shift+Tab")
    assert area.input_value() == before
    page.keyboard.press("Control+z")
    assert area.input_value().startswith("  {%")
    page.keyboard.press("Control+Shift+z")
    assert area.input_value() == before
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "task_text"
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "template_text"


def test_an_edit_moves_candidates_and_says_why(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    rows = page.locator("#ranking tbody tr")
    shown = rows.count()
    assert shown == 5 and page.locator("#ranking .moved").count() == 0
    assert page.locator("#ranking .chip").count() > 0
    put(page, "You rank toys", "You sort new toys")
    page.locator("#ranking .moved").first.wait_for()
    ranked(page)
    assert rows.count() == shown == page.locator("#ranking .moved").count()
    assert "Changed for every candidate: instruction." in page.locator("#ranking").inner_text()
    moved = page.locator("#ranking .moved").all_inner_texts()
    gains = [float(text.split()[-1]) for text in moved]
    assert any(gains)
    page.get_by_role("button", name="Show what changed").first.click()
    difference = page.locator("#ranking .difference").first
    difference.locator(".added").wait_for()
    assert difference.locator(".removed").inner_text().strip() == "-You rank toys for a member."
    assert difference.locator(".added").inner_text().strip() == "+You sort new toys for a member."


def test_the_last_of_several_edits_is_what_is_ranked(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    for word, then in (("rank", "sort"), ("sort", "order"), ("order", "arrange")):
        put(page, f"You {word} toys", f"You {then} toys")
        page.wait_for_timeout(470)  # so that each of them is begun
    page.locator("#prompt", has_text="You arrange toys").wait_for()
    ranked(page)
    page.get_by_role("button", name="Show what changed").first.click()
    page.locator(".difference .added", has_text="You arrange toys").wait_for()


def test_the_prompt_of_a_candidate_with_its_ids(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    row = page.locator("#ranking tbody tr").nth(2)
    title = row.locator(".title").inner_text()
    row.locator(".title").click()
    page.locator("#prompt .k-candidate", has_text=f"Toy: {title}").wait_for()
    heads = page.locator("#prompt .group-head span:first-child").all_inner_texts()
    order = ["instruction", "profile", "history", "candidate", "question", "answer slot"]
    assert [head for head in heads if head != "start"] == order
    ids = page.locator("#prompt .k-instruction .ids").first
    assert not ids.is_visible()
    page.get_by_label("Token ids").check()
    assert ids.is_visible()
    count = int(page.locator("#prompt .k-instruction .count").first.inner_text())
    assert len(ids.inner_text().split()) == count > 1


def test_requests_are_leafed_through_found_and_pasted(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    chosen = page.locator("#request")
    first = chosen.input_value()
    page.get_by_role("button", name="Next request").click()
    page.get_by_text("2 of 12").wait_for()
    assert chosen.input_value() != first
    assert page.evaluate("document.activeElement.id") == "next"
    page.get_by_role("button", name="Previous request").click()
    page.get_by_text("1 of 12").wait_for()
    third = page.locator("#request option").nth(2).get_attribute("value") or ""
    page.locator("#find").fill(third[:-1])
    page.locator("#find").press("Enter")
    page.wait_for_function("(id) => document.getElementById('request').value === id", arg=third)
    page.locator("#source").select_option("pasted")
    page.locator("#pasted").fill(json.dumps(rank_body(toys=["Kite", "Drum"])))
    page.locator("#ranking", has_text="Kite").wait_for()
    assert page.locator("#ranking tbody tr").count() == 2
    page.locator("#pasted").fill('{"candidates": [{"itm": {}}]}')
    page.locator("#status.failed", has_text="itm").wait_for()


def test_a_draft_survives_a_reload_and_can_be_discarded(tabs: Tabs, url: str) -> None:
    page = tabs.open(url)
    ranked(page)
    saved = page.locator("#template_text").input_value()
    put(page, "You rank toys", "You sort toys")
    ranked(page)
    page.reload()
    page.get_by_text("Your draft is back").wait_for()
    assert "You sort toys" in page.locator("#template_text").input_value()
    page.locator("#ranking .moved").first.wait_for()
    page.get_by_role("button", name="Discard the draft").click()
    assert page.locator("#template_text").input_value() == saved
    page.reload()
    ranked(page)
    assert page.locator("#template_text").input_value() == saved
    assert not page.get_by_text("Your draft is back").is_visible()


def test_on_a_phone_one_thing_is_shown_at_a_time(tabs: Tabs, url: str) -> None:
    page = tabs.open(url, size=PHONE)
    panes = {"Template": "#template_text", "Task": "#task_text"}
    panes |= {"Ranking": "#ranking", "Prompt": "#prompt"}
    ranked(page)
    for name, inside in panes.items():
        page.get_by_role("radio", name=name).check()
        for other in panes.values():
            assert page.locator(other).is_visible() == (other == inside)
        no_sideways(page)


@pytest.mark.parametrize("state", ["done", "busy", "failed"])
def test_the_names_of_the_tabs_stand_on_one_line(tabs: Tabs, url: str, state: str) -> None:
    page = tabs.open(url, size=PHONE)
    ranked(page)
    page.locator(".edit").evaluate("(form, state) => { form.dataset.state = state; }", state)
    heights = page.locator(".tabs span").evaluate_all("(all) => all.map((e) => e.clientHeight)")
    assert len(set(heights)) == 1 and heights[0] < 45, heights
    no_sideways(page)


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_without_a_request_file_a_request_is_pasted(
    tabs: Tabs, tmp_path: Path, tiny_llama_path: Path, size: tuple[int, int]
) -> None:
    with serving(app_on(desk_of(make_project(tmp_path / "toys", tiny_llama_path)))) as address:
        page = tabs.open(f"{address}/edit", size=size)
        if size == PHONE:
            page.get_by_role("radio", name="Ranking").check()
        assert page.get_by_text("promptrank build toys/like --out").is_visible()
        no_sideways(page)
        no_serious(page)
        page.locator("#pasted").fill(json.dumps(rank_body(toys=["Kite", "Drum"])))
        page.locator("#ranking", has_text="Kite").wait_for()
        ranked(page)


@pytest.mark.parametrize(("size", "dark"), LOOKS, ids=LOOK_NAMES)
def test_everybody_can_use_the_editor(
    tabs: Tabs, url: str, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    page = tabs.open(url, size=size, dark=dark)
    ranked(page)
    no_serious(page)
    put(page, "You rank toys", "You sort toys") if size != PHONE else None
    page.locator("#status.done").wait_for(state="attached")
    if size != PHONE:
        page.locator("#ranking .moved").first.wait_for()
        page.get_by_role("button", name="Show what changed").first.click()
        page.locator(".difference .added").first.wait_for()
        put(page, "{{ question.ask }}", "{{ question.aks }}")
        page.locator("#checks .fault").wait_for()
    no_serious(page)
    no_sideways(page)
    shot(page, tmp_path, "edit")
