"""The four tasks of the jobs domain on a simulated marketplace: every verb, every label."""

import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import promptrank
from promptrank.api.render import render
from promptrank.errors import DataError
from promptrank.project import builtin_root
from promptrank.records import Request
from promptrank.simulation.switches import Switches
from promptrank.tables.loading import sources
from promptrank.workspace.tasks import data_folder, open_task
from support.data import read

TASKS = sorted(f"jobs/{p.stem}" for p in (builtin_root() / "tasks" / "jobs").glob("*.yaml"))
DAY = 86400


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without tasks of its own, with a marketplace where the built-in ones look."""
    root = tmp_path_factory.mktemp("project")
    promptrank.simulate_jobs(root / "data/jobs", Switches(members=40, delay=3.0))
    return root


@pytest.fixture(scope="module")
def applications(project: Path) -> dict[str, Request]:
    """The requests of jobs/apply by id."""
    made = promptrank.build("jobs/apply", project / "requests.parquet", project=project)
    assert not made.errors
    return {r.request_id: r for r in read(made.path)[0]}


def rows(project: Path, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(project / f"data/jobs/{name}.parquet").to_pylist()
    return found


def test_there_are_four_tasks() -> None:
    assert TASKS == ["jobs/apply", "jobs/fit", "jobs/search", "jobs/similar"]


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_every_verb_works(task: str, project: Path, tmp_path: Path, tiny_llama_path: Path) -> None:
    model = str(tiny_llama_path)
    found = promptrank.validate(task, project=project, model=model, settings=["budget={}"])
    assert not found.problems
    assert not [w for w in found.warnings if "set aside" in w or "unguarded" in w]
    shown = render(task, project=project, model=model, settings=["budget={}"])
    assert "job" in shown.as_text(ids=False, only_text=True)
    report = promptrank.evaluate(
        task,
        project=project,
        engine="fake",
        model=model,
        settings=["budget={}"],
        limit=10,
        draws=100,
        out=tmp_path / "report.json",
    )
    names = {ranker.name for ranker in report.rankers}
    assert {"decoder", "logistic", "popularity", "random"} <= names
    assert not report.errors
    assert 0 < report.counts.positives < report.counts.candidates


@pytest.mark.parametrize("task", TASKS)
def test_no_task_reads_the_truth(task: str) -> None:
    opened = open_task(task)
    paths = [path for _, s in sources(opened.task).values() for path in _paths(s)]
    assert paths
    assert all(re.fullmatch(r"[a-z]+\.parquet", path) for path in paths)


def _paths(source: Any) -> list[str]:
    return [source.path] if isinstance(source.path, str) else list(source.path)


def test_data_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    opened = open_task("jobs/apply", project=tmp_path)
    with pytest.raises(DataError) as error:
        data_folder(opened)
    folder = tmp_path / "data" / "jobs"
    assert f"no folder {folder}" in str(error.value)
    assert f"`promptrank simulate jobs --out {folder}` makes it" in str(error.value)


@pytest.mark.long
def test_outcomes_are_what_was_recorded_within_the_window(
    project: Path, applications: dict[str, Request]
) -> None:
    truth = {r["impression_id"]: r for r in rows(project, "truth/impressions")}
    acted: dict[tuple[str, str], int] = {}
    for row in rows(project, "actions"):
        acted.setdefault((row["impression_id"], row["action"]), row["acted_at"])
    late = unlabelled = lost = 0
    for request in applications.values():
        assert request.time is not None
        for one in request.candidates:
            name = one.candidate_id
            if not truth[name]["labelled"]:
                unlabelled += 1
                assert not one.outcomes
                continue
            applied, viewed = (acted.get((name, a), 1e18) for a in ("apply", "view"))
            close = request.time + 7 * DAY
            expected = {
                "apply": "apply" if applied <= close else "skip",
                "view": "view" if min(applied, viewed) <= close else "skip",
            }
            assert dict(one.outcomes) == expected
            late += close < applied < 1e18
            lost += truth[name]["lost"]
    assert late and lost and unlabelled


@pytest.mark.long
def test_positions_and_propensities_reach_the_requests(
    project: Path, applications: dict[str, Request]
) -> None:
    shown = {r["impression_id"]: r for r in rows(project, "impressions")}
    for request in applications.values():
        for one in request.candidates:
            row = shown[one.candidate_id]
            assert (one.position, one.propensity) == (row["rank"], row["p"])
            assert set(one.context) == {"distance_km", "affinity"}


def test_history_holds_what_the_member_did_and_favours_what_says_most(
    applications: dict[str, Request],
) -> None:
    labels = [e.outcomes["apply"] for r in applications.values() for e in r.history]
    assert 0.3 < labels.count("apply") / len(labels) < 0.8
    for request in applications.values():
        actions = [event.action for event in request.history]
        assert all(actions.count(a) <= 1 for a in ("view", "dismiss", "none"))
        assert all(e.time is not None and e.time < (request.time or 0) for e in request.history)


@pytest.mark.long
def test_prompts_tell_neither_region_nor_town_nor_the_number(
    project: Path, tiny_llama_path: Path
) -> None:
    from promptrank.simulation.words import CITIES

    text = render("jobs/apply", project=project, model=str(tiny_llama_path), settings=["budget={}"])
    words = text.as_text(ids=False, only_text=True)
    told = [*CITIES, *(city for cities in CITIES.values() for city in cities)]
    assert not [word for word in told if word in words]
    assert "Applied:" in words


@pytest.mark.slow
def test_the_tasks_with_the_real_model(project: Path, smollm2_path: Path, tmp_path: Path) -> None:
    for task in TASKS:
        found = promptrank.validate(task, project=project)
        assert not found.problems
        assert not found.warnings
        if task == "jobs/apply":
            numbers = re.search(r"prefix (\d+) tokens, longest candidate (\d+)", found.facts[0])
            assert numbers is not None
            assert int(numbers[1]) <= 320 and int(numbers[2]) <= 45
        report = promptrank.evaluate(task, project=project, limit=2, draws=100)
        assert not report.errors
