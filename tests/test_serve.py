"""Serving: the same scores as in Python, states, keys, bounds, and errors that say what to do."""

import asyncio
import json
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jsonschema
import pytest

from promptrank.api.serve import _by_task, serve
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.serve.app import LOOPBACK, make_app
from promptrank.serve.bounds import Bounds
from promptrank.serve.hosted import Hosted, HostedTask
from promptrank.serve.key_file import Keys, read_keys
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.serving import app_of, ask, client, hosted_of, rank_body

KEYS = ["first-key-of-many", "second-key-of-two"]


@pytest.fixture
def ranker(toys: Path) -> Ranker:
    return open_ranker("toys/like", project=toys, engine="fake")


# ---- our API


def test_a_request_over_http_has_the_scores_of_python(ranker: Ranker) -> None:
    body = rank_body(toys=["Ball", "Car", "Doll", "Kite"])
    body["request"]["history"] = [{"item": {"title": "Top"}, "action": "like"}] * 60
    answer = ask(app_of(ranker), "/v1/rank", body)
    assert answer.status_code == 200
    said, ranking = answer.json(), ranker.rank(body["request"])
    assert [s["candidate_id"] for s in said["scored"]] == [s.candidate_id for s in ranking.scored]
    for mine, scored in zip(said["scored"], ranking.scored, strict=True):
        answered = scored.questions["like"]
        assert (mine["rank"], mine["score"]) == (scored.rank, scored.score)
        assert mine["probability"] == scored.probability
        assert mine["questions"]["like"]["label_mass"] == answered.label_mass
        assert mine["questions"]["like"]["logprobs"] == answered.logprobs
    assert said["cuts"] == ranking.cuts.as_dict() | {"fields": []}
    assert said["cuts"]["events_given"] == 60 and 0 < said["cuts"]["events_kept"] < 60
    assert said["tokens"] > 0 and not said["partial"] and said["errors"] == []
    made = said["provenance"]
    assert made["task"] == "toys/like" and made["prompt"] == ranker.fingerprint
    assert (made["engine"], made["model_digest"]) == ("fake", ranker.info.digest)
    assert "adapter" not in made


def test_a_candidate_that_cannot_be_scored_is_an_error_and_the_others_are_ranked(
    ranker: Ranker,
) -> None:
    body = rank_body()
    body["request"]["candidates"][1]["item"] = {"color": "red"}
    said = ask(app_of(ranker), "/v1/rank", body).json()
    assert {s["candidate_id"] for s in said["scored"]} == {"Ball", "Doll"}
    (error,) = said["errors"]
    assert (error["candidate_id"], error["reason"]) == ("Car", "undefined") and said["partial"]


def test_a_request_of_which_nothing_can_be_ranked_says_why(ranker: Ranker) -> None:
    body = rank_body(toys=["Ball"])
    body["request"]["candidates"][0]["item"] = {}
    answer = ask(app_of(ranker), "/v1/rank", body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["reason"] == "undefined" and error["errors"][0]["candidate_id"]


def test_pairs_have_the_scores_of_requests_and_their_own_errors(ranker: Ranker) -> None:
    pairs: list[dict[str, Any]] = [
        {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": "red"}},
        {"member": {"name": "Bob"}, "item": {"color": "red"}},
        {"member": {"name": "Bob"}, "item": {"title": "Car", "color": None}},
    ]
    said = ask(app_of(ranker), "/v1/score", {"pairs": pairs}).json()
    for place in (0, 2):
        item = pairs[place]["item"]
        request = {"member": pairs[place]["member"], "candidates": [{"item": item}]}
        assert said["scores"][place]["score"] == ranker.rank(request).scored[0].score
    assert set(said["scores"][1]) == {"error"}
    assert said["scores"][1]["error"]["reason"] == "undefined"


def test_a_request_names_its_task_or_gets_the_first_one(toys: Path, ranker: Ranker) -> None:
    other = open_ranker(
        "toys/like", project=toys, engine="fake", settings=["questions.like.ask=Is it new?"]
    )
    app = make_app(hosted_of(ranker, other, names=("a", "b")), SHAPES)
    scores = {
        task: ask(app, "/v1/rank", {**rank_body(), "task": task}).json()["scored"][0]["score"]
        for task in ("a", "b", None)
    }
    assert scores[None] == scores["a"] != scores["b"]
    wrong = ask(app, "/v1/rank", {**rank_body(), "task": "aa"})
    assert wrong.status_code == 404 and "did you mean 'a'?" in wrong.json()["error"]["message"]
    listed = ask(app, "/v1/tasks").json()["tasks"]
    assert [task["task"] for task in listed] == ["a", "b"]
    assert listed[1]["questions"]["like"] == {"ask": "Is it new?", "answers": ["like", "dislike"]}


def test_answers_are_what_the_openapi_document_says(ranker: Ranker) -> None:
    app = app_of(ranker)
    document = ask(app, "/openapi.json").json()
    served = {route.path for route in app.routes}  # type: ignore[attr-defined]
    assert set(document["paths"]) == served
    half = rank_body()
    half["request"]["candidates"][1]["item"] = {}
    pair = {"member": {"name": "Ann"}, "item": {"title": "Ball", "color": None}}
    calls: list[tuple[str, Any, str]] = [
        ("/v1/rank", half, "200"),
        ("/v1/rank", {"request": {}}, "422"),
        ("/v1/score", {"pairs": [pair, {"item": {}}]}, "200"),
        ("/ready", None, "200"),
    ]
    for path, body, status in calls:
        method = "get" if body is None else "post"
        content = document["paths"][path][method]["responses"][status]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        said = ask(app, path, body).json()
        jsonschema.Draft202012Validator(schema).validate(said)
        if path == "/v1/rank":
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.Draft202012Validator(schema).validate({**said, **dict.fromkeys(said)})


# ---- states


def test_a_server_answers_while_it_loads_and_refuses_when_it_drains(ranker: Ranker) -> None:
    hosted = Hosted(["toys/like"])
    app = make_app(hosted, SHAPES)
    assert ask(app, "/health").json() == {"state": "loading"}
    assert ask(app, "/ready").status_code == 503
    early = ask(app, "/v1/rank", rank_body())
    assert early.status_code == 503 and early.headers["retry-after"] == "2"
    hosted.put([HostedTask("toys/like", ranker)])
    assert ask(app, "/ready").json() == {"state": "ready"}
    hosted.drain()
    late = ask(app, "/v1/rank", rank_body())
    assert late.status_code == 503 and late.json()["error"]["reason"] == "draining"
    assert ask(app, "/ready").status_code == 503


# ---- keys and hosts


def test_nothing_but_the_state_is_told_without_a_key(ranker: Ranker) -> None:
    app = app_of(ranker, keys=Keys(KEYS))
    wrong = [{}, {"authorization": "Bearer nearly"}, {"authorization": f"Basic {KEYS[0]}"}]
    for route in app.routes:
        path = route.path  # type: ignore[attr-defined]
        body: Any = {} if "POST" in route.methods else None  # type: ignore[attr-defined]
        for headers in wrong:
            status = ask(app, path, body, **headers).status_code
            assert status == (200 if path in ("/health", "/ready") else 401), path
    for key in KEYS:
        good = ask(app, "/v1/rank", rank_body(), authorization=f"bearer {key}")
        assert good.status_code == 200


def test_a_key_file(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n{KEYS[0]}\n  {KEYS[1]}  \n")
    keys = read_keys(path)
    assert len(keys) == 2 and keys.fit(f"Bearer {KEYS[1]}") and not keys.fit("Bearer # ours")
    for text, message in {
        "": "no key",
        "# x\nshort\n": "line 2: a key has",
        "x" * 20 + " y": "1",
    }.items():
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_keys(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(tmp_path / "none")


def test_a_host_that_others_reach_wants_keys(toys: Path) -> None:
    with pytest.raises(InputError, match="--key-file"):
        serve(["toys/like"], project=toys, engines=["fake"], host="0.0.0.0")


def test_a_web_page_cannot_reach_a_server_without_keys(ranker: Ranker) -> None:
    app = app_of(ranker, hosts=LOOPBACK)
    for host in ("localhost", "127.0.0.1:8000", "[::1]:80", "LOCALHOST:1"):
        assert ask(app, "/v1/tasks", host=host).status_code == 200
    for host in ("evil.example", "localhost.evil.example:80", "127.0.0.1.evil:1", ""):
        assert ask(app, "/v1/tasks", host=host).status_code == 421
    # What a page may send anywhere without being asked for leave.
    assert ask(app, "/v1/rank", rank_body(), content_type="text/plain").status_code == 415


# ---- what was sent


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 422, "request: missing"),
        ({"request": {}, "requests": []}, 422, "no field 'requests'; did you mean 'request'?"),
        ({"request": []}, 422, "request: expected an object"),
        (rank_body()["request"], 422, "'candidates': put these into `request`"),
        ({**rank_body(), "member_id": "m"}, 422, "'member_id': put this into `request`"),
        ({"request": {"candidates": []}}, 422, "at least one candidate"),
        ({"request": {"candidates": [{}]}}, 422, "candidates[0].item: missing"),
        ({"request": {"candidates": [{"item": {}, "idem": 1}]}}, 422, "did you mean 'item'?"),
        ({**rank_body(toys=[f"t{n}" for n in range(9)])}, 422, "9 candidates, more than 8"),
        ({**rank_body(toys=["x" * 101])}, 422, "request.candidates.0.item_id: 101 characters"),
        (rank_body(name="y" * 101), 422, "request.request_id"),
    ],
)
def test_what_is_wrong_is_said(ranker: Ranker, body: Any, status: int, message: str) -> None:
    answer = ask(app_of(ranker, bounds=Bounds(candidates=8, text=100)), "/v1/rank", body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


def test_plain_texts_for_a_task_that_ranks_none_are_told_where_to_go(ranker: Ranker) -> None:
    app, query = app_of(ranker), {"query": "a ball"}
    tei = ask(app, "/rerank", query | {"texts": ["Ball"]})
    cohere = ask(app, "/v2/rerank", query | {"model": "toys/like", "documents": ["Ball"]})
    assert tei.status_code == cohere.status_code == 422
    hint = (
        "; toys/like ranks no plain texts: serve and name a task that does, such as rerank/generic"
    )
    assert cohere.json()["message"].endswith(hint)
    assert tei.json()["error"].endswith(hint + ", first of all: a request without one goes to it")
    own = ask(app, "/v1/rank", {"request": {"candidates": [{"item": {"text": "Ball"}}]}})
    assert own.status_code == 422 and "plain texts" not in own.json()["error"]["message"]


def test_a_statistic_that_the_task_does_not_declare_is_named(toys: Path) -> None:
    task = toys / "tasks/toys/like.yaml"
    task.write_text(task.read_text() + "statistics: {stars: {mean: stars}}\n")
    app = app_of(open_ranker("toys/like", project=toys, engine="fake"))
    item = {"title": "Ball", "color": None}
    candidates: list[dict[str, Any]] = [{"item": item}, {"item": item, "stats": {"star": 3}}]
    asked: dict[str, Any] = {"member": {"name": "Ann"}, "candidates": candidates}
    answer = ask(app, "/v1/rank", {"request": asked})
    assert answer.status_code == 422
    why = "candidates[1].stats: no statistic 'star'; did you mean 'stars'?"
    assert answer.json()["error"]["message"] == why
    pair = {"member": {"name": "Ann"}, **candidates[1]}
    said = ask(app, "/v1/score", {"pairs": [pair]}).json()["error"]["message"]
    assert said.startswith("pairs[0]: the candidate.stats: no statistic 'star'")
    candidates[1]["stats"] = {"stars": 3}
    assert ask(app, "/v1/rank", {"request": asked}).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "is not JSON"),
        (b'{"request": {"candidates"', 400, "is not JSON"),
        (b'{"request": "\xff"}', 400, "is not UTF-8"),
        (b"[1]", 400, "holds a list"),
        (b'{"a": 1, "a": 2}', 400, "has the key 'a' twice"),
        (b'{"a": NaN}', 400, "holds nan"),
        (b'{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "nested more than"),
        (b" " * 200_001, 413, "more than 200,000 bytes"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 7])
def test_a_body_that_is_none(
    ranker: Ranker, content: bytes, status: int, message: str, pieces: int
) -> None:
    app = app_of(ranker, bounds=Bounds(body=200_000))
    size = max(1, math.ceil(len(content) / pieces))

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(content), size):
            yield content[start : start + size]

    async def run() -> httpx.Response:
        async with client(app) as http:
            sent = content if pieces == 1 else parts()
            return await http.post(
                "/v1/rank", content=sent, headers={"content-type": "application/json"}
            )

    answer = asyncio.run(run())
    assert answer.status_code == status and message in answer.json()["error"]["message"]
    assert app.state.answering.intake.held == 0


def test_bodies_of_all_requests_together_are_bounded(ranker: Ranker) -> None:
    app = app_of(ranker, bounds=Bounds(bodies=100))
    answer = ask(app, "/v1/rank", rank_body())
    assert answer.status_code == 429 and answer.headers["retry-after"] == "1"
    assert app.state.answering.intake.held == 0


def test_a_body_that_does_not_come_is_not_waited_for(ranker: Ranker) -> None:
    app = app_of(ranker, bounds=Bounds(body_seconds=0.05))

    async def slowly() -> AsyncIterator[bytes]:
        yield b'{"req'
        await asyncio.sleep(10)

    async def run() -> httpx.Response:
        async with client(app) as http:
            kind = {"content-type": "application/json"}
            return await http.post("/v1/rank", content=slowly(), headers=kind)

    answer = asyncio.run(run())
    assert answer.status_code == 408 and answer.headers["connection"] == "close"


# ---- what every answer has


def test_ids_of_requests_come_back_and_the_log_holds_no_texts(ranker: Ranker) -> None:
    lines: list[str] = []
    app = app_of(ranker, log=lines.append)
    answer = ask(app, "/v1/rank", rank_body("secret-request"), x_request_id="abc-1")
    assert answer.headers["x-request-id"] == answer.json()["id"] == "abc-1"
    odd = ask(app, "/v1/rank", {"wrong": "secret-body"}, x_request_id="<script>")
    made = odd.headers["x-request-id"]
    assert odd.json()["error"]["id"] == made and len(made) == 32
    nowhere = ask(app, "/v9/rank", {})
    assert nowhere.status_code == 404 and nowhere.json()["error"]["reason"] == "not_served"
    assert ask(app, "/v1/rank").status_code == 405
    told = [json.loads(line) for line in lines]
    assert [line["status"] for line in told] == [200, 422, 404, 405]
    assert told[0]["id"] == "abc-1" and told[1]["reason"] == "wrong_fields"
    assert not any("secret" in line or "Ann" in line for line in lines)


def test_the_log_has_what_was_sent_where_that_is_asked_for(ranker: Ranker) -> None:
    lines: list[str] = []
    app = app_of(ranker, log=lines.append, with_text=True)
    ask(app, "/v1/rank", rank_body("r1"))
    ask(app, "/v1/rank", {"wrong": "x" * 100_000})
    ask(app, "/health")
    known, wrong, without = (json.loads(line) for line in lines)
    assert json.loads(known["sent"]) == rank_body("r1")
    assert len(wrong["sent"]) == 65_536 and "sent" not in without


def test_what_is_counted(ranker: Ranker) -> None:
    app = app_of(ranker)
    half = rank_body()
    half["request"]["candidates"][1]["item"] = {}
    tokens = ask(app, "/v1/rank", half).json()["tokens"]
    ask(app, "/v1/rank", {})
    ask(app, "/v9/secret", {})
    answer = ask(app, "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.text.splitlines()
    for line in (
        'promptrank_candidates_total{task="toys/like"} 2.0',
        f'promptrank_tokens_total{{task="toys/like"}} {float(tokens)}',
        'promptrank_error_rows_total{reason="undefined",task="toys/like"} 1.0',
        'promptrank_request_seconds_count{path="/v1/rank",status="200"} 1.0',
        'promptrank_request_seconds_count{path="/v1/rank",status="422"} 1.0',
        'promptrank_request_seconds_count{path="none",status="404"} 1.0',
        'promptrank_label_mass_count{question="like",task="toys/like"} 2.0',
        "promptrank_waiting 0.0",
        "promptrank_under_way 0.0",
    ):
        assert line in lines
    assert "secret" not in answer.text and "Ann" not in answer.text


def test_a_fault_of_ours_is_one_answer_and_the_log_has_it(ranker: Ranker) -> None:
    lines: list[str] = []
    app = app_of(ranker, log=lines.append)

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("of ours")

    ranker.rank_many = broken  # type: ignore[method-assign]
    answer = ask(app, "/v1/rank", rank_body())
    assert answer.status_code == 500 and answer.json()["error"]["id"] in lines[0]
    assert "ZeroDivisionError" in json.loads(lines[0])["fault"]
    assert "ZeroDivision" not in answer.text


# ---- the command's own words


def test_a_missing_extra_is_named(toys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptrank.api.serve.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"starlette.*pip install 'promptrank\[serve\]'"):
        serve(["toys/like"], project=toys)


def test_tasks_that_cannot_be_served_are_said_before_anything_is_loaded(toys: Path) -> None:
    with pytest.raises(InputError, match="toys/like: named twice"):
        serve(["toys/like", "toys/like"], project=toys)
    with pytest.raises(InputError, match="no such task"):
        serve(["toys/lik"], project=toys)


def test_engines_and_adapters_by_task() -> None:
    names = ("movies/like", "toys/like")
    values = ["toys/like=student:s", "packed"]
    assert _by_task("--engine", values, names, None) == {
        "movies/like": "packed",
        "toys/like": "student:s",
    }
    assert _by_task("--adapter", [], names, None) == dict.fromkeys(names)
    with pytest.raises(InputError, match="did you mean 'toys/like'"):
        _by_task("--adapter", ["toys/lik=a"], names, None)
