"""The log of a server: what was asked and answered reads back as it was; no answer waits."""

import json
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import InputError
from promptrank.ranking.columns import columns_of
from promptrank.ranking.ranker import Ranker
from promptrank.requests.as_rows import as_one, request_rows, rows_in, shape_of, tables_of
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.read import read_requests
from promptrank.runs import log_files as log_files_module
from promptrank.runs.log_files import LogFiles, StagedRequests, log_files
from promptrank.scores.read import read_scores
from promptrank.serve.serving_log import LogBounds, ServingLog
from promptrank.workspace.rankers import open_ranker
from support.serving import app_of, ask, rank_body

DOCUMENTS = {"query": "a coat", "documents": ["Down jacket", "Red shoe", "Blue lamp"]}


@pytest.fixture
def ranker(toys: Path) -> Ranker:
    return open_ranker("toys/like", project=toys, engine="fake")


def files_of(folder: Path) -> LogFiles:
    return log_files(folder, "toys/like")


def read_all(files: LogFiles, ranker: Ranker) -> list[Any]:
    errors: list[Any] = []
    requests = [
        request
        for path in files.requests
        for request in read_requests(path, task=ranker.task, errors=errors.append)
    ]
    assert errors == []
    return requests


def test_requests_and_answers_read_back_as_they_were(ranker: Ranker, tmp_path: Path) -> None:
    log = ServingLog(tmp_path / "log")
    app = app_of(ranker, serving_log=log)
    body = rank_body("mine")
    body["request"]["history"] = [
        {"item": {"title": "Top", "year": 1995}, "action": "like", "outcomes": {"like": "like"}}
    ]
    named = ask(app, "/v1/rank", body).json()
    del body["request"]["request_id"]
    unnamed = ask(app, "/v1/rank", body, x_request_id="call-7").json()
    # A field that only one of two candidates has: no table can tell that from null.
    del body["request"]["candidates"][1]["item"]["color"]
    body["request"]["candidates"][0]["item"]["color"] = None
    uneven = ask(app, "/v1/rank", body, x_request_id="call-8")
    pair = {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": "red"}}
    ask(app, "/v1/score", {"pairs": [pair, pair]}, x_request_id="call-9")
    assert ask(app, "/v1/rank", {"request": {}}).status_code == 422  # of which nothing is logged
    log.close()
    files = files_of(tmp_path / "log")
    requests = {request.request_id: request for request in read_all(files, ranker)}
    wanted = {"mine", "call-7", "call-9#0", "call-9#1"}
    if uneven.status_code == 200:
        wanted |= {"call-8"}
        items = [dict(c.item.fields) for c in requests["call-8"].candidates]
        assert items == [candidate["item"] for candidate in body["request"]["candidates"]]
        assert any(path.suffix == ".jsonl" for path in files.requests)
    assert set(requests) == wanted and list(files.scores) == ["served"]
    (event,) = requests["mine"].history
    assert type(event.item.fields["year"]) is int and event.outcomes == {"like": "like"}
    assert requests["mine"].meta["served_at"] > 1.7e9
    scores = [read_scores(path, ranker.task, "toys/like") for path in files.scores["served"]]
    assert {each.origin.to_json() for each in scores} == {ranker.origin.to_json()}
    rows = [row for each in scores for row in each.table.to_pylist()]
    for name, said in (("mine", named), ("call-7", unnamed)):
        assert said["request_id"] == name
        answered = {s["candidate_id"]: (s["rank"], s["score"]) for s in said["scored"]}
        mine = [row for row in rows if row["request_id"] == name]
        assert {row["candidate_id"]: (row["rank"], row["score"]) for row in mine} == answered
        logged = requests[name].candidates
        assert {c.candidate_id: (c.position, c.logged_score) for c in logged} == answered


def test_only_what_was_shown_has_a_place(ranker: Ranker, tmp_path: Path, toys: Path) -> None:
    task = toys / "tasks/toys/like.yaml"
    text = task.read_text().replace("Toy: {{ item.title }}", "{{ item.text }}")
    template = toys / "templates/toys/like.j2"
    template.write_text(
        "{% block instruction %}Rank.{% endblock %}{% block subject %}{{ query.text }}"
        "{% endblock %}{% block event %}{% endblock %}{% block candidate %}{{ item.text }}"
        "{% endblock %}{% block question %}{{ question.ask }} Answer:{% endblock %}"
    )
    task.write_text(text)
    log = ServingLog(tmp_path / "log")
    search = open_ranker("toys/like", project=toys, engine="fake")
    said = ask(
        app_of(search, serving_log=log),
        "/v2/rerank",
        {"model": "toys/like", "top_n": 2} | DOCUMENTS,
    ).json()
    log.close()
    (request,) = read_all(files_of(tmp_path / "log"), search)
    shown = {int(c.candidate_id): c.position for c in request.candidates if c.position}
    assert shown == {hit["index"]: place for place, hit in enumerate(said["results"], 1)}
    assert all(c.logged_score is not None for c in request.candidates) and len(shown) == 2


def test_pairs_have_scores_and_no_place(ranker: Ranker, tmp_path: Path) -> None:
    """Nobody was shown them, so that nothing said of them is no answer either."""
    log = ServingLog(tmp_path / "log")
    pair = {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": "red"}}
    said = ask(app_of(ranker, serving_log=log), "/v1/score", {"pairs": [pair, pair]}).json()
    log.close()
    candidates = [c for r in read_all(files_of(tmp_path / "log"), ranker) for c in r.candidates]
    assert [c.position for c in candidates] == [None, None]
    assert [c.logged_score for c in candidates] == [each["score"] for each in said["scores"]]


def test_files_are_private(ranker: Ranker, tmp_path: Path) -> None:
    log = ServingLog(tmp_path / "log")
    ask(app_of(ranker, serving_log=log), "/v1/rank", rank_body())
    log.close()
    places = list((tmp_path / "log").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in places if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in places if path.is_dir()} == {0o700}
    assert not [path for path in places if path.name.startswith(".")]  # no half-written files


def test_files_rotate_and_a_full_buffer_drops_and_counts(
    ranker: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three rankings fit a file; while the disk hangs, two more wait and the others are dropped."""
    size = len(json.dumps(rank_body("r0"), separators=(",", ":")))
    hung, reached = threading.Event(), threading.Event()
    write = ServingLog._write

    def slowly(log: ServingLog, staged: Any) -> None:
        reached.set()
        assert hung.wait(20)
        write(log, staged)

    monkeypatch.setattr(ServingLog, "_write", slowly)
    said: list[str] = []
    bounds = LogBounds(rows=9, held=5 * (size + 20), seconds=0.05)
    log = ServingLog(tmp_path / "log", bounds, said.append)
    app = app_of(ranker, serving_log=log)
    for n in range(3):
        assert ask(app, "/v1/rank", rank_body(f"r{n}")).status_code == 200
    assert reached.wait(20)
    for n in range(3, 9):
        assert ask(app, "/v1/rank", rank_body(f"r{n}")).status_code == 200
    assert 'promptrank_log_rankings_total{outcome="full"} 4.0' in ask(app, "/metrics").text
    hung.set()
    log.close()
    assert 'promptrank_log_rankings_total{outcome="written"} 5.0' in ask(app, "/metrics").text
    assert said == [f"log: 5 rankings written to {tmp_path / 'log'}; 4 dropped (full)"]
    files = files_of(tmp_path / "log")
    assert {r.request_id for r in read_all(files, ranker)} == {f"r{n}" for n in range(5)}
    assert len(files.requests) == len(files.scores["served"]) >= 2


def test_a_disk_that_fails_costs_no_answer(
    ranker: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("promptrank.serve.log_records.StagedRequests.write", full)
    said: list[str] = []
    log = ServingLog(tmp_path / "log", say=said.append)
    assert ask(app_of(ranker, serving_log=log), "/v1/rank", rank_body()).status_code == 200
    log.close()
    assert "No space left" in said[0] and "1 dropped (failed)" in said[1]


@pytest.mark.parametrize("fails", ["scores", "lines"])
def test_no_request_stands_in_a_log_without_its_scores(
    ranker: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """One request is for a table and one for lines, and the disk is full at the last file."""

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    name = {"scores": "serve.log_records.write_logged_scores", "lines": "runs.log_files._private"}
    log = ServingLog(tmp_path / "log")
    app, uneven = app_of(ranker, serving_log=log), rank_body("lines")
    uneven["request"]["candidates"][0]["item"]["year"] = 1995
    for body in (rank_body("table"), uneven):
        assert ask(app, "/v1/rank", body).status_code == 200
    private = log_files_module._private

    def private_but_lines(path: Path) -> Any:
        return full() if path.suffix == ".jsonl" else private(path)

    failing = full if fails == "scores" else private_but_lines
    monkeypatch.setattr(f"promptrank.{name[fails]}", failing)
    log.close()
    assert (log.written, dict(log.dropped)) == (0, {"failed": 2})
    assert not [path for path in (tmp_path / "log").rglob("*") if path.is_file()]


def test_what_has_no_columns_leaves_the_next_ones_as_they_are(
    ranker: Ranker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.serve.serving_log._GATHER", 0.0)
    staged, calls = threading.Event(), 0

    def once_wrong(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            staged.set()
            raise ValueError("no columns")
        return columns_of(*given)

    monkeypatch.setattr("promptrank.serve.log_records.columns_of", once_wrong)
    log = ServingLog(tmp_path / "log")
    app = app_of(ranker, serving_log=log)
    ask(app, "/v1/rank", rank_body("lost"))
    assert staged.wait(20)
    ask(app, "/v1/rank", rank_body("kept"))
    log.close()
    assert (log.written, dict(log.dropped)) == (1, {"failed": 1})
    (request,) = read_all(files_of(tmp_path / "log"), ranker)
    assert request.request_id == "kept"


def test_one_id_comes_once_in_a_file(ranker: Ranker, tmp_path: Path) -> None:
    log = ServingLog(tmp_path / "log")
    app = app_of(ranker, serving_log=log)
    for _ in range(3):
        ask(app, "/v1/rank", rank_body("again"))
    log.close()
    assert len(read_all(files_of(tmp_path / "log"), ranker)) == 1
    assert (log.written, dict(log.dropped)) == (1, {"same_id": 2})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "text", "2024-05-01", "1", "é"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
ITEMS = st.dictionaries(st.sampled_from(["title", "year", "tags"]), VALUES, max_size=3)


@pytest.mark.long
@settings(max_examples=15)
@given(st.lists(st.lists(ITEMS, min_size=1, max_size=3), min_size=1, max_size=4))
def test_whatever_was_sent_is_what_is_read(tmp_path_factory: Any, sent: list[Any]) -> None:
    requests = [
        request_from_dict(
            {
                "request_id": f"r{n}",
                "member": items[0],
                "history": [{"item": items[-1]}],
                "candidates": [{"item_id": f"{i}", "item": item} for i, item in enumerate(items)],
            }
        )
        for n, items in enumerate(sent)
    ]
    folder = tmp_path_factory.mktemp("log")
    staged = StagedRequests()
    for request in requests:  # as they come, one after another
        staged.add([request_rows(request)])
    written = staged.write(folder, "t")
    errors: list[Any] = []
    back = [r for path in written for r in read_requests(path, errors=errors.append)]
    told = {r.request_id: repr(r) for r in back}
    assert errors == [] and told == {r.request_id: repr(r) for r in requests}


@pytest.mark.parametrize(
    ("items", "fits"),
    [
        ([{"a": 1}, {"a": 2}], True),
        ([{"a": 1}, {"a": None}], True),
        ([{"a": [1.5]}, {"a": []}], True),
        ([{"a": 1}, {"a": 1.5}], False),  # 1 would come back as 1.0
        ([{"a": 1}, {"a": True}], False),
        ([{"a": 1}, {"a": "1"}], False),
        ([{"a": {}}, {"a": {}}], False),
        ([{"a": {"b": 1}}, {"a": {"c": 1}}], False),
    ],
)
def test_a_table_holds_what_reads_back_the_same(items: list[Any], fits: bool) -> None:
    candidates = [{"item_id": f"{n}", "item": item} for n, item in enumerate(items)]
    rows = request_rows(request_from_dict({"candidates": candidates}))
    assert shape_of(rows) is not None and bool(tables_of([rows])[0]) == fits


def test_types_that_agree_but_for_nulls_stand_in_one_table() -> None:
    def rows(n: int, item: Any) -> list[Any]:
        candidates = [{"item_id": "a", "item": item}]
        return request_rows(request_from_dict({"request_id": f"r{n}", "candidates": candidates}))

    items: list[Any] = [
        {"y": 1, "t": []},
        {"y": None, "t": ["x"]},
        {"y": 1.5, "t": []},
        {"y": 2, "t": None},
    ]
    tables = [table for n, item in enumerate(items) for table in tables_of([rows(n, item)])[0]]
    one, two = as_one(tables)
    assert [row["item"] for row in rows_in(one)] == [items[0], items[1], items[3]]
    assert [row["item"] for row in rows_in(two)] == [items[2]]
    assert type(rows_in(one)[0]["item"]["y"]) is int


def test_a_file_in_the_place_of_the_folder_is_told_and_nothing_logged_is_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "s.out"
    file.write_text("")
    for folder in (file, file / "log"):
        with pytest.raises(InputError, match="there is a file in its place; name a folder"):
            ServingLog(folder)
    said: list[str] = []
    ServingLog(tmp_path / "log", say=said.append).close()
    assert said == []
