"""Requests by ids over HTTP: ranked as those that build writes, and what is unknown is told."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from promptrank.errors import DataError
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.requests.dicts import request_from_dict
from promptrank.serve.app import make_app
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.reading_again import read_again
from promptrank.serve.shapes.every import SHAPES
from promptrank.tables.look_up import LookUp
from promptrank.workspace.look_ups import open_look_up
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.tasks import open_task
from support.data import build, make_task, read, write_rows
from support.serving import app_of, ask
from support.toys import make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path_factory.mktemp("looked") / "toys", tiny_llama_path)


@pytest.fixture(scope="module")
def ranker(project: Path) -> Ranker:
    return open_ranker("toys/like", project=project, engine="fake")


@pytest.fixture(scope="module")
def built(project: Path) -> Request:
    """What build writes, of a request with a whole history."""
    task = open_task("toys/like", project=project).task
    requests, _ = read(build(task, project).path)
    return max(requests, key=lambda r: (len(r.history), r.time))


@pytest.fixture(scope="module")
def tables(project: Path, built: Request) -> Iterator[LookUp]:
    with open_look_up("toys/like", project=project) as tables:
        # What changes in the files later is not seen, and that they are gone neither.
        for name in ("ratings.csv", "toys.csv", "people.csv"):
            (project / name).unlink()
        yield tables


def _app(ranker: Ranker, tables: LookUp) -> Any:
    hosted = Hosted(["toys/like"])
    hosted.put([HostedTask("toys/like", ranker, tables=tables)])
    return make_app(hosted, SHAPES)


def _by_ids(request: Request, **more: Any) -> dict[str, Any]:
    candidates = [{"item_id": c.item.item_id} for c in request.candidates]
    named = {"member_id": request.subject.member_id, "candidates": candidates}
    return {"request": named | {"time": request.time} | more}


@pytest.mark.long
def test_ids_alone_are_ranked_as_what_build_writes(
    ranker: Ranker, tables: LookUp, built: Request
) -> None:
    app, ranking = _app(ranker, tables), ranker.rank(built)
    said = ask(app, "/v1/rank", _by_ids(built)).json()
    assert len(built.history) == 4
    assert [(s["item_id"], s["score"]) for s in said["scored"]] == [
        (s.item_id, s.score) for s in ranking.scored
    ]
    assert said["looked_up"] == {
        "as_of": built.time,
        "events": 4,
        "items": len(built.candidates),
        "unknown": [],
        "unknown_items": [],
        "stats": [],
    }
    (listed,) = ask(app, "/v1/tasks").json()["tasks"]
    assert listed["tables_as_of"] == tables.read.time
    document = ask(app, "/openapi.json").json()
    answer = document["paths"]["/v1/rank"]["post"]["responses"]["200"]["content"]
    schema = {**answer["application/json"]["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(said)


@pytest.mark.long
def test_now_is_after_everything_and_a_time_before(tables: LookUp, built: Request) -> None:
    now = _by_ids(built)["request"]
    del now["time"]
    later = tables.look_up(now).request
    assert later.time == pytest.approx(tables.read.time, abs=600)
    stored = {e.time for e in tables.look_up(now | {"time": 9e9}).request.history}
    assert {e.time for e in later.history} == stored
    assert max(e.time or 0 for e in later.history) > (built.time or 0)
    assert tables.look_up(now | {"time": 0}).request.history == ()


@pytest.mark.long
def test_times_in_milliseconds_would_see_the_future_and_are_refused(
    ranker: Ranker, tables: LookUp, built: Request, tmp_path: Path
) -> None:
    app, item = _app(ranker, tables), built.candidates[0].item.item_id
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"time": 890000000000}, "time: 890000000000 lies far ahead; unix seconds, not millisec"),
        ({"time": -5}, "time: -5 is before 1970"),
        ({"time": "1998-03-15"}, "time: expected unix seconds, got '1998-03-15'"),
        ({"history": [{"item_id": item, "time": 9e11}]}, "history[0].time: 900000000000 lies far"),
    ]
    for more, message in wrong:
        answer = ask(app, "/v1/rank", _by_ids(built, **more))
        assert answer.status_code == 422, more
        assert answer.json()["error"]["message"].startswith(message)
    # Tables that have such times themselves are asked as `build` asks them.
    rated = [{"member_id": "m", "item_id": "a", "rating": 5, "time": t} for t in (-9, 9e11)]
    write_rows(tmp_path / "ratings.parquet", rated)
    write_rows(tmp_path / "members.parquet", [{"member_id": "m"}])
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}])
    asked = {"member_id": "m", "candidates": [{"item_id": "a"}]}
    with LookUp(make_task(), tmp_path) as odd:
        assert odd.look_up({**asked, "time": -1}).events == 1
        assert odd.look_up({**asked, "time": 1e12}).events == 2


def test_pairs_are_looked_up_together_and_each_has_its_own_error(
    ranker: Ranker, tables: LookUp, built: Request
) -> None:
    member, item = built.subject.member_id, built.candidates[0].item
    pairs: list[dict[str, Any]] = [
        {"member_id": member, "time": built.time, "item_id": item.item_id},
        {"member_id": "p2", "item_id": "nowhere"},
        {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": None}},
    ]
    app = _app(ranker, tables)
    one, two, three = ask(app, "/v1/score", {"pairs": pairs}).json()["scores"]
    scores = {s.item_id: s.score for s in ranker.rank(built).scored}
    assert one["score"] == scores[item.item_id] and one["looked_up"]["events"] == 4
    assert two["error"]["reason"] == "item_not_found" and "score" not in two
    assert "looked_up" not in three and three["score"] is not None
    wrong = ask(app, "/v1/score", {"pairs": [pairs[0], {"member_id": 1.5, "item_id": "a"}]})
    assert wrong.status_code == 422
    assert wrong.json()["error"]["message"] == "pairs[1]: member_id: expected text, got float"


def test_unknown_candidates_are_errors_and_unknown_members_are_new(
    ranker: Ranker, tables: LookUp, built: Request
) -> None:
    app, body = _app(ranker, tables), _by_ids(built, member_id="nobody")
    # The template prints a name, and a member that no table knows has none.
    nameless = ask(app, "/v1/rank", body)
    assert nameless.status_code == 422 and "member.name" in nameless.json()["error"]["message"]
    body["request"]["member"] = {"name": "Ann"}
    body["request"]["candidates"].insert(1, {"item_id": "nowhere", "candidate_id": "c"})
    said = ask(app, "/v1/rank", body).json()
    assert len(said["scored"]) == len(built.candidates) and said["partial"]
    (error,) = said["errors"]
    assert (error["candidate_id"], error["reason"]) == ("c", "item_not_found")
    assert "item nowhere is not in the task's item table" in error["message"]
    assert said["looked_up"]["unknown"] == ["member_id"] and said["looked_up"]["events"] == 0
    body["request"]["candidates"] = [{"item_id": "nowhere"}]
    none = ask(app, "/v1/rank", body)
    assert none.status_code == 422
    assert none.json()["error"]["reason"] == "item_not_found"


def test_what_a_request_carries_goes_before_what_is_stored(tables: LookUp, built: Request) -> None:
    body = _by_ids(built, member={"name": "Ann"})["request"]
    first = body["candidates"][0]
    first |= {"item": {"title": "Another"}, "stats": {"mine": 3}, "context": {"far": 1}}
    request = tables.look_up(body).request
    stored = built.subject.member or {}
    assert request.subject.member == {**stored, "name": "Ann"} != {"name": "Ann"}
    item = built.candidates[0].item
    assert request.candidates[0].item.fields == {**item.fields, "title": "Another"}
    assert request.candidates[0].stats == {"mine": 3}
    assert request.candidates[1].item == built.candidates[1].item
    assert request.history == built.history
    # An item that no table has is ranked with what the request says of it.
    body["candidates"].append({"item_id": "new", "item": {"title": "New", "color": None}})
    found = tables.look_up(body)
    assert found.request.candidates[-1].item.fields["title"] == "New" and not found.errors
    assert found.unknown_items == ("new",)


def test_a_history_that_is_carried_stands_for_the_stored_one_and_may_name_items(
    tables: LookUp, built: Request
) -> None:
    assert tables.look_up(_by_ids(built, history=[])["request"]).request.history == ()
    past = built.history[0].item
    history = [
        {"item_id": past.item_id, "action": "like", "time": 3},
        {"item_id": "nowhere", "time": 1},
        {"item": {"title": "Top"}, "time": 2},
    ]
    found = tables.look_up(_by_ids(built, history=history)["request"])
    assert [e.item.fields["title"] for e in found.request.history] == ["Top", past.fields["title"]]
    assert [row.reason for row in found.errors] == ["event_item_not_found"]
    assert found.request.meta["events_lost"] == 1 and found.events == 0


@pytest.mark.long
def test_versions_under_turns_and_files_that_change(tmp_path: Path) -> None:
    names = {"m": [(-9, "old"), (2, "new")]}
    rows = [{"member_id": m, "since": t, "text": x} for m, vs in names.items() for t, x in vs]
    write_rows(tmp_path / "members.parquet", rows)
    write_rows(tmp_path / "items.parquet", [{"item_id": "a"}])
    seen = [{"member_id": "m", "item_id": "a", "time": t, "rating": 5} for t in (1, 3, 5)]
    write_rows(tmp_path / "ratings.parquet", seen)
    task = make_task(
        tables={
            "items": {"path": "items.parquet", "key": "item_id"},
            "members": {"path": "members.parquet", "key": "member_id", "valid_from": "since"},
        },
        ratings={
            "path": "ratings.parquet",
            "member": "members",
            "item": "items",
            "time": "time",
            "label": "CASE WHEN rating >= 4 THEN 'like' ELSE 'dislike' END",
            "group": {"last": 2},
        },
        history={"last": 3, "as": "turns"},
    )
    asked = {"member_id": "m", "time": 5, "candidates": [{"item_id": "a"}]}
    with LookUp(task, tmp_path) as tables:
        shown = tables.look_up(asked).request
        assert len(shown.history) == 2 and (shown.subject.member or {})["text"] == "old"
        carried = tables.look_up({**asked, "history": []}).request
        assert (carried.subject.member or {})["text"] == "new"
        # The files are read again while it goes on; where that fails, those of before stay.
        write_rows(tmp_path / "ratings.parquet", seen[:1])
        assert len(tables.look_up(asked).request.history) == 2
        told: list[str] = []
        read_again("t", tables, told.append)
        assert len(tables.look_up(asked).request.history) == 1
        (tmp_path / "ratings.parquet").unlink()
        read_again("t", tables, told.append)
        assert len(tables.look_up(asked).request.history) == 1
    assert "read again in" in told[0] and "not read again, those of before stay" in told[1]


def test_ids_are_never_read_as_sql(tables: LookUp, built: Request) -> None:
    ids = ["'", "'; DROP TABLE kept.rows; --", "a\0b", "$1", "ж", "%", "\\", "x" * 5000]
    body = _by_ids(built)["request"]
    body["candidates"] += [{"item_id": i} for i in ids]
    for member in ids[:3]:
        found = tables.look_up({**body, "member_id": member})
        assert [row.candidate_id for row in found.errors] == ids
        assert found.unknown == ("member_id",) and found.request.history == ()
    with pytest.raises(DataError, match="is no text in UTF-8"):
        tables.look_up({**body, "member_id": "\ud800"})
    assert tables.look_up(body).events == 4


@pytest.mark.long
def test_several_threads_get_what_each_asked_for(tables: LookUp, built: Request) -> None:
    expected = {
        f"p{m}": tables.look_up(_by_ids(built, member_id=f"p{m}")["request"]) for m in range(3)
    }
    assert len({str(found.request.history) for found in expected.values()}) == 3
    wrong: list[str] = []

    def look(member: str) -> None:
        for _ in range(3):
            if tables.look_up(_by_ids(built, member_id=member)["request"]) != expected[member]:
                wrong.append(member)

    threads = [threading.Thread(target=look, args=(member,)) for member in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_without_tables_an_id_alone_says_what_is_missing(ranker: Ranker, built: Request) -> None:
    answer = ask(app_of(ranker), "/v1/rank", _by_ids(built))
    assert answer.status_code == 422
    message = answer.json()["error"]["message"]
    assert message.startswith("candidates[0].item: missing; give the item's fields as a dict")
    assert "promptrank serve --tables" in message
    with pytest.raises(DataError, match="open_look_up"):
        request_from_dict({"candidates": [{"item_id": "a"}]})
