"""Labelling in a real browser: keys, undo, a lost net, two people, and what eval sees."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import promptrank
from promptrank.requests.judgement_file import read_judgements
from promptrank.requests.judgement_rows import standing
from promptrank.workbench.desk import Desk
from promptrank.workspace.tasks import open_task
from support.browser import BROWSER, PHONE, Tabs
from support.runs import TURNS, run
from support.serving import serving
from support.toys import make_project
from support.workbench import app_on, build_requests, desk_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = BROWSER

KEPT = "judgements/toys/like.jsonl"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Desk:
    root = make_project(tmp_path_factory.mktemp("label") / "toys", tiny_llama_path)
    build_requests(root)
    return desk_of(root)


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    (desk.project / KEPT).unlink(missing_ok=True)
    with serving(app_on(desk)) as address:
        yield address


def begin(page: "Page", name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.keyboard.press("Enter")
    page.locator("article").wait_for()


def press(page: "Page", keys: str) -> None:
    """Each key once there is a card to press it on, and the next card, or the end, after it."""
    for key in keys:
        page.locator("article").wait_for()
        page.keyboard.press(key)
        page.locator("#card > article, #card > .end").wait_for()


def lie_ready(page: "Page", count: int) -> None:
    """Waits until so many cards are there that the page need not ask the server for."""
    page.locator(f"#card[data-ready='{count}']").wait_for(state="attached")


def all_kept(page: "Page") -> None:
    page.locator("#saved", has_text=re.compile("^All kept$")).wait_for()


def key_of(page: "Page") -> str:
    return str(page.locator("article").get_attribute("data-key"))


def test_a_key_an_answer_and_the_labels_reach_eval_and_training(
    tabs: Tabs, url: str, desk: Desk
) -> None:
    page = tabs.open(f"{url}/label?part=train")
    begin(page, "Ann")
    seen = []
    for key in ("y", "2", "n", "s", "d", "1"):
        seen.append(key_of(page))
        press(page, key)
    assert len(set(seen)) == 6
    page.keyboard.press("c")
    page.keyboard.type("yes, n and u are letters here")
    page.keyboard.press("Enter")
    press(page, "y")
    all_kept(page)
    rows = read_judgements(desk.project / KEPT)
    said = ["like", "dislike", "dislike", "", "drop", "like", "like"]
    assert [row.answer for row in rows] == said
    assert [row.kind for row in rows].count("skip") == 1
    assert rows[-1].comment == "yes, n and u are letters here"
    assert {row.labeller for row in rows} == {"Ann"}

    page.keyboard.press("u")
    assert page.get_by_label("Comment").input_value() == "yes, n and u are letters here"
    undone = key_of(page)
    page.keyboard.press("n")
    all_kept(page)
    held = standing(read_judgements(desk.project / KEPT))
    assert [row.answer for row in held.answers][-1] == "dislike" and len(held.answers) == 6

    page.reload()  # the name is remembered, and what was judged does not come again
    page.locator("article").wait_for()
    assert key_of(page) not in {*seen, undone}

    # The one documented way: the task names the file, and its answers are the labels.
    said_so: list[str] = []
    task = open_task("toys/like", project=desk.project, settings=[f"corrections={KEPT}"])
    promptrank.evaluate(task, split="train", engine="fake", draws=0, say=said_so.append)
    assert any("6 of 6 labels" in line for line in said_so)
    said_so.clear()
    trained = run(
        desk.project, "judged", settings=[*TURNS, f"corrections={KEPT}"], say=said_so.append
    )
    # Grouped otherwise for turns, and found by subject and candidate.
    assert any(re.search(r"corrections: [1-6] of 6 labels", line) for line in said_so)
    assert trained.path.is_dir()


def test_what_is_said_without_a_net_is_kept_later_in_order(
    tabs: Tabs, url: str, desk: Desk
) -> None:
    tabs.expect("ERR_INTERNET_DISCONNECTED")
    page = tabs.open(f"{url}/label")
    begin(page, "Ann")
    press(page, "ss")
    all_kept(page)
    lie_ready(page, 4)
    page.context.set_offline(True)
    page.keyboard.press("y")
    page.keyboard.press("n")
    page.keyboard.press("u")
    page.get_by_role("alert").filter(has_text="this browser remembers what you said").wait_for()
    assert len(read_judgements(desk.project / KEPT)) == 2
    page.context.set_offline(False)
    all_kept(page)
    rows = read_judgements(desk.project / KEPT)[2:]
    assert [row.kind for row in rows] == ["answer", "answer", "undo"]
    assert rows[2].undoes == rows[1].id
    assert page.get_by_role("alert").filter(has_text="remembers").count() == 0


def test_two_tabs_lose_nothing_while_the_file_cannot_be_written(
    tabs: Tabs, url: str, desk: Desk
) -> None:
    tabs.expect("status of (503|422)")
    first = tabs.open(f"{url}/label")
    begin(first, "Ann")
    second = first.context.new_page()
    tabs.watch(second, url)
    second.goto(f"{url}/label?what=pairs")
    second.locator("article").wait_for()
    path = desk.project / KEPT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}\n")  # as somebody left it who edited it by hand
    for page, key in ((first, "y"), (second, "1")):
        page.keyboard.press(key)
        page.get_by_role("alert").filter(
            has_text=re.compile("answers 503: .*like.jsonl:1")
        ).wait_for()
        page.close()
    path.unlink()
    third = tabs.browser.contexts[-1].new_page()
    tabs.watch(third, url)
    third.goto(f"{url}/label")
    third.locator("article").wait_for()
    # Functions that wait in the page would be evaluated there, which its policy forbids.
    left = "Object.keys(localStorage).some((n) => n.includes('outbox'))"
    for _ in range(1000):
        if not third.evaluate(left):
            break
        third.wait_for_timeout(50)
    assert not third.evaluate(left)
    assert {row.kind for row in read_judgements(path)} == {"answer", "preference"}


def test_pairs_by_thumb(tabs: Tabs, url: str, desk: Desk) -> None:
    page = tabs.open(f"{url}/label?what=pairs", size=PHONE)
    begin(page, "Ann")
    first = page.locator("article")
    ids = str(first.get_attribute("data-first")), str(first.get_attribute("data-second"))
    page.get_by_role("button", name="Second").tap()
    page.get_by_role("button", name="Alike").tap()
    page.get_by_role("button", name="Undo").tap()
    page.get_by_role("button", name="First").tap()
    all_kept(page)
    held = standing(read_judgements(desk.project / KEPT)).preferences
    assert held[0].candidate_ids == ids and held[0].preferred == ids[1]
    assert held[1].preferred == held[1].candidate_ids[0]


def test_two_people_see_how_far_they_agree(tabs: Tabs, url: str) -> None:
    for name in ("Ann", "Bob"):
        page = tabs.open(f"{url}/label")
        begin(page, name)
        for key in "ynynynynynyn":
            press(page, key)
            if not page.locator("article").count():
                break
        all_kept(page)
    told = page.locator(".label-agreements li").inner_text()
    assert re.search(r"Ann and Bob, like: the same on \d+ of \d+", told)


def test_an_address_with_no_cards_left_says_so(tabs: Tabs, url: str) -> None:
    page = tabs.open(f"{url}/label?labels=without")  # every candidate of the toys has one
    page.get_by_label("Your name").fill("Ann")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="That was all").wait_for()
    assert page.get_by_role("button", name="Skip").is_disabled()


def test_texts_of_the_data_do_not_run_and_htmx_does_not_read_them(
    tabs: Tabs, tmp_path: Path, tiny_llama_path: Path
) -> None:
    root = make_project(tmp_path / "toys", tiny_llama_path)
    evil = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>"
    evil += "<b hx-get='/edit' hx-trigger='load' hx-target='body'>bold</b>"
    lines = ["person_id,name", *(f'p{i},"{evil}"' for i in range(12))]
    (root / "people.csv").write_text("\n".join(lines) + "\n")
    toys = (root / "toys.csv").read_text().replace("Toy 1", evil)
    (root / "toys.csv").write_text(toys)
    build_requests(root)
    with serving(app_on(desk_of(root))) as url:
        asked: list[str] = []
        for what in ("like", "pairs"):
            page = tabs.open(f"{url}/label?what={what}")
            page.on("request", lambda request: asked.append(request.url))
            begin(page, evil[:50])
            assert "window.ran" in page.locator("article").inner_text()
            press(page, "1")
            all_kept(page)
            assert page.evaluate("window.ran") is None
        assert asked and not [each for each in asked if "/edit" in each or each.endswith("/x")]
        html = page.request.get(f"{url}/label/export?as=html").text()
        assert "<script" not in html
        rows = json.loads(page.request.get(f"{url}/label/export?as=json").text())
        assert len(rows["judgements"]) == 2
