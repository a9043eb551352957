"""The pages Sample and Versions over HTTP: a run, its exports, what is written, and what is not."""

import csv
import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from promptrank.workbench.database import PLACE
from promptrank.workbench.kept_runs import Kept
from support.workbench import app_on, browse, build_requests, desk_of

TASK = "?task=toys/like"
HOSTILE = "<script>alert(1)</script>"


class Site:
    """A workbench over the toys, whose template somebody edits."""

    def __init__(self, toys: Path, **how: Any) -> None:
        self.project = toys
        self.template, self.task = toys / "templates/toys/like.j2", toys / "tasks/toys/like.yaml"
        self.how = how
        self.app = self.start()

    def start(self) -> Starlette:
        return app_on(desk_of(self.project, **self.how))

    def edited(self, *, old: str = "Toy:", new: str = "This toy:") -> dict[str, str]:
        text = self.template.read_text().replace(old, new)
        return {"template_text": text, "task_text": self.task.read_text()}

    def run(self, size: str = "20", part: str = "test", **fields: str) -> str:
        """A finished run of an edit; its id."""
        given = {**self.edited(), "size": size, "part": part, **fields}
        begun = browse(self.app, f"/sample/start{TASK}", given)
        assert begun.status_code == 303, begun.text
        run = begun.headers["location"].rpartition("/")[2]
        for _ in range(500):
            if "hx-trigger" not in browse(self.app, f"/sample/{run}/status").text:
                return run
            time.sleep(0.01)
        raise AssertionError("the run did not end")

    def text(self, path: str, status: int = 200) -> str:
        shown = browse(self.app, path)
        assert shown.status_code == status, shown.text
        return shown.text

    def post(self, path: str, fields: dict[str, str], status: int = 303) -> Any:
        answer = browse(self.app, path, fields)
        assert answer.status_code == status, answer.text
        return answer


@pytest.fixture
def site(toys: Path) -> Site:
    build_requests(toys)
    return Site(toys)


@pytest.mark.long
def test_a_run_shows_its_figures_its_requests_and_both_rankings(site: Site) -> None:
    assert "The draft in this browser" in site.text(f"/sample{TASK}")
    run = site.run()
    page = site.text(f"/sample/{run}")
    assert "12 requests" in page and "of 12 subjects" in page
    assert "Done: 12 of 12 requests" in page and "provisional" not in page
    listed = re.findall(r'request\?id=([^"]+)" hx-target', page)
    assert len(listed) == 12
    counts = {n: int(c) for n, c in re.findall(r'show=(\w+)"[^>]*>\w+ <span[^>]*>(\d+)', page)}
    assert counts["all"] == 12 and counts["different"] >= counts["worse"] + counts["better"] > 0
    worse = site.text(f"/sample/{run}/results?show=worse")
    assert len(re.findall(r'request\?id=([^"]+)" hx-target', worse)) == counts["worse"]
    one = site.text(f"/sample/{run}/request?id={listed[0]}")
    assert one.count("<tr") == 6 and "Toy " in one
    assert "<ins>This toy</ins>" in one and "<del>Toy</del>" in one
    assert "instruction" in one and "the same" in one
    again = Site(site.project)  # as after a restart
    kept = again.text(f"/sample/{run}")
    assert re.findall(r'request\?id=([^"]+)" hx-target', kept) == listed
    figures = re.findall(r'<td class="number">([^<]+)', page)
    assert figures and re.findall(r'<td class="number">([^<]+)', kept) == figures
    assert again.text(f"/sample/{run}/request?id={listed[0]}") == one


@pytest.mark.long
def test_a_version_that_reads_what_nothing_supplies_is_not_written(site: Site) -> None:
    before = site.template.read_text()
    faulty = site.edited(old="item.title", new="item.titel")
    words = "nothing supplies item.titel; did you mean item.title?"
    assert words in site.post(f"/versions/keep{TASK}", faulty, 422).text
    assert "Nothing is kept yet" in site.text(f"/versions{TASK}")
    path = f"/versions/{site.run(**faulty)}/write"
    page = site.text(path)
    assert words in page and '<button class="strong">Write' not in page
    shown = re.search(r'name="shown_template" value="(\w+)"', page)
    assert shown is not None
    fields = {"choice_template": "write", "shown_template": shown[1]}
    refused = site.post(path, fields, 422).text
    assert "nothing is written" in refused and words in refused
    assert site.template.read_text() == before


@pytest.mark.long
def test_an_edit_that_never_ran_is_called_one(site: Site) -> None:
    site.post(f"/versions/keep{TASK}", site.edited())
    page = site.text(f"/versions{TASK}")
    assert "Edit of " in page and "Run of " not in page
    site.run()
    assert "Run of " in site.text(f"/versions{TASK}")


@pytest.mark.slow
def test_exports_hold_every_candidate_and_run_nowhere(site: Site) -> None:
    toys = site.project / "toys.csv"
    toys.write_text(toys.read_text().replace("t3,", "=t3,", 1))
    run = site.run()
    made = json.loads(site.text(f"/sample/{run}/export.json"))
    assert len(made["candidates"]) == 60 and len(made["requests"]) == 12
    assert made["report"]["reference"] == "saved" and made["run"]["run_id"] == run
    answer = browse(site.app, f"/sample/{run}/export.csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    assert [float(row["edit_score"]) for row in rows] == [
        row["edit_score"] for row in made["candidates"]
    ]
    page = site.text(f"/sample/{run}/export.html")
    assert "edit" in page and "Content-Security-Policy" in page and "saved" in page
    assert site.text(f"/sample/{run}/export.pdf", 404)


@pytest.mark.slow
def test_what_cannot_be_ranked_is_refused_where_it_was_asked(site: Site, toys: Path) -> None:
    broken = {**site.edited(), "task_text": "domain: [", "size": "20"}
    assert "not YAML" in site.post(f"/sample/start{TASK}", broken, 422).text
    assert (
        "no number" in site.post(f"/sample/start{TASK}", {**site.edited(), "size": "x"}, 422).text
    )
    run = site.run(template_text="{% block candidate %}{{ item.title }", part="test")
    assert "template toys/like.j2" in site.text(f"/sample/{run}/status")
    assert site.text("/sample/nowhere", 404)


@pytest.mark.long
def test_a_sample_of_another_model_is_refused_and_not_kept_under_its_name(site: Site) -> None:
    # One that could be had: only this server ranks with its own.
    other = site.project / "other"
    shutil.copytree(re.findall(r"^model: (.+)$", site.task.read_text(), re.M)[0], other)
    draft = {
        **site.edited(),
        "task_text": re.sub(r"(?m)^model: .+$", f"model: {other}", site.task.read_text()),
    }
    answer = site.post(f"/sample/start{TASK}", {**draft, "size": "20"}, 422)
    assert "this server ranks with" in answer.text
    assert Kept(desk_of(site.project)).every("toys/like") == []


def test_without_a_request_file_the_page_says_what_to_run(toys: Path) -> None:
    page = Site(toys).text(f"/sample{TASK}")
    assert "promptrank build toys/like --out requests/toys-like.parquet" in page
    assert not (toys / PLACE).exists() or (toys / PLACE).is_file()


@pytest.mark.slow
def test_texts_of_members_items_and_runs_are_text(site: Site) -> None:
    run = site.run(template_text=site.edited(new=HOSTILE)["template_text"])
    site.post(f"/versions/{run}/name", {"name": HOSTILE, "note": HOSTILE})
    listed = re.findall(r'request\?id=([^"]+)" hx-target', site.text(f"/sample/{run}"))
    for path in (
        f"/sample{TASK}",
        f"/sample/{run}",
        f"/sample/{run}/request?id={listed[0]}",
        f"/versions{TASK}",
        f"/versions/{run}",
        f"/versions/{run}/write",
        f"/versions/compare?one={run}&other={run}",
    ):
        shown = site.text(path)
        assert "alert(1)" in shown and "<script>alert" not in shown, path


@pytest.mark.slow
def test_versions_are_named_compared_and_deleted(site: Site) -> None:
    first, second = site.run(), site.run(template_text=site.edited(new="The toy:")["template_text"])
    site.post(f"/versions/{first}/name", {"name": "short words", "note": "for phones"})
    page = site.text(f"/versions{TASK}")
    assert "short words" in page and "for phones" in page and second in page
    both = site.text(f"/versions/compare?one={first}&other={second}")
    assert "12 requests" in both and "<del>This</del>" in both and "<ins>The</ins>" in both
    assert "Second less first" in both and "first version" in both
    assert site.text(f"/versions/compare?one={first}", 422)
    site.post(f"/versions/{first}/delete", {})
    assert "short words" not in site.text(f"/versions{TASK}")
    assert site.text(f"/versions/{first}", 404)


@pytest.mark.slow
def test_a_version_is_written_over_files_that_nobody_changed(site: Site) -> None:
    run = site.run()
    page = site.text(f"/versions/{run}/write")
    assert "templates/toys/like.j2" in page and "Somebody changed" not in page
    assert "holds this text already" in page  # the task, which was not edited
    fields = shown_in(page)
    assert set(fields) == {"shown_template"}
    written = site.post(f"/versions/{run}/write", {**fields, "choice_template": "write"}, 200)
    assert "Written." in written.text
    assert "This toy:" in site.template.read_text()
    same = site.run(template_text=site.template.read_text())
    assert "Both versions ask the very same prompts" in site.text(f"/sample/{same}")


@pytest.mark.long
def test_a_change_made_meanwhile_is_shown_and_never_written_over_unasked(site: Site) -> None:
    twin = site.project / "tasks/toys/twin.yaml"
    twin.write_text(site.task.read_text())
    run = site.run()
    site.template.write_text(site.template.read_text().replace("rank toys", "rank all toys"))
    page = site.text(f"/versions/{run}/write")
    assert "Somebody changed a file after this edit had begun" in page
    assert re.search("<ins> ?all ?</ins>", page)  # what they changed
    assert "1 other task uses this template and will change with it: toys/twin" in page
    assert not re.search(r'value="write"[^>]*checked', page)
    fields = shown_in(page)
    # A third change comes between the look and the choice.
    third = site.template.read_text() + "{# third #}\n"
    site.template.write_text(third)
    refused = site.post(f"/versions/{run}/write", {**fields, "choice_template": "write"}, 409)
    assert "Nothing was written" in refused.text and "third" in refused.text
    assert site.template.read_text() == third
    kept = {**shown_in(refused.text), "choice_template": "keep"}
    site.post(f"/versions/{run}/write", kept, 200)
    assert site.template.read_text() == third
    chosen = {**shown_in(refused.text), "choice_template": "write"}
    site.post(f"/versions/{run}/write", chosen, 200)
    assert "This toy:" in site.template.read_text() and "third" not in site.template.read_text()


@pytest.mark.slow
def test_a_draft_is_kept_and_written_against_the_files_it_began_with(site: Site) -> None:
    began = {"of_template": site.template.read_text(), "of_task": site.task.read_text()}
    site.template.write_text(site.template.read_text() + "{# a colleague #}\n")
    draft = {**site.edited(), "name": "kept", **began}
    to = site.post(f"/versions/keep{TASK}", draft).headers["location"]
    shown = site.text(to)
    assert "Somebody changed a file" in shown and "a colleague" in shown
    assert "kept" in site.text(f"/versions{TASK}")
    plain = site.post(f"/versions/keep{TASK}", site.edited()).headers["location"]
    assert "Somebody changed" not in site.text(plain)


@pytest.mark.slow
def test_a_version_that_would_not_work_is_not_kept(site: Site) -> None:
    before = site.template.read_text()
    draft = {**site.edited(), "template_text": "{% block candidate %}{{ item.title }"}
    assert "nothing is written" in site.post(f"/versions/keep{TASK}", draft, 422).text
    assert site.template.read_text() == before


@pytest.mark.slow
def test_read_only_ranks_and_shows_and_writes_nothing(site: Site) -> None:
    kept = site.run()
    before = {path: path.read_bytes() for path in files_of(site.project)}
    shown = Site(site.project, read_only=True)
    assert kept in shown.text(f"/versions{TASK}")
    run = shown.run()
    assert "12 requests" in shown.text(f"/sample/{run}")
    assert run in shown.text(f"/versions{TASK}")
    page = shown.text(f"/versions/{run}")
    assert "/name" not in page and "/write" not in page and "/delete" not in page
    for path in ("name", "delete", "write"):
        shown.post(f"/versions/{run}/{path}", {"choice_template": "write"}, 403)
    shown.post(f"/versions/keep{TASK}", shown.edited(), 403)
    assert {path: path.read_bytes() for path in files_of(site.project)} == before
    assert "Content-Disposition".lower() in browse(shown.app, f"/sample/{run}/export.csv").headers


def files_of(project: Path) -> list[Path]:
    """All but what SQLite keeps beside its file for readers."""
    found = sorted(project.rglob("*"))
    return [p for p in found if p.is_file() and not p.name.endswith(("-shm", "-wal"))]


def shown_in(page: str) -> dict[str, str]:
    return dict(re.findall(r'name="(shown_\w+)" value="(\w*)"', page))
