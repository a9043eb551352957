"""The shapes of other rerank APIs, to the field: answers, errors, and what is left out."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.applications import Starlette

from promptrank.ranking.ranker import Ranker
from promptrank.serve.app import make_app
from promptrank.serve.bounds import Bounds
from promptrank.serve.key_file import Keys
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.serving import ask, hosted_of

TASK = "rerank/generic"
QUERY = "red running shoes"
DOCUMENTS = ["A blue lamp", "Running shoe, red", "A lamp that runs red"]
RERANKS = {
    "/v2/rerank": "documents",
    "/cohere/v2/rerank": "documents",
    "/cohere/v1/rerank": "documents",
    "/v1/rerank": "documents",
    "/jina/v1/rerank": "documents",
    "/voyage/v1/rerank": "documents",
    "/rerank": "texts",
    "/tei/rerank": "texts",
    "/vllm/v1/rerank": "documents",
    "/vllm/v2/rerank": "documents",
    "/vllm/rerank": "documents",
}


@pytest.fixture
def ranker(tiny_llama_path: Path) -> Iterator[Ranker]:
    with open_ranker(TASK, engine="fake", model=str(tiny_llama_path)) as ranker:
        yield ranker


@pytest.fixture
def app(ranker: Ranker) -> Starlette:
    return make_app(hosted_of(ranker, names=(TASK,)), SHAPES)


@pytest.fixture
def order(ranker: Ranker) -> list[tuple[int, float]]:
    """Place and probability of each document, best first, by the ranker itself."""
    candidates = [{"item_id": str(n), "item": {"text": t}} for n, t in enumerate(DOCUMENTS)]
    ranking = ranker.rank({"query": QUERY, "candidates": candidates})
    scored = [(int(s.item_id), s.probability) for s in ranking.scored]
    assert [place for place, _ in scored] != [0, 1, 2], "an order that nobody made would pass"
    return scored  # type: ignore[return-value]


def call(app: Starlette, path: str, **fields: Any) -> Any:
    answer = ask(app, path, fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def body(path: str, **fields: Any) -> dict[str, Any]:
    named = {} if RERANKS[path] == "texts" else {"model": TASK}
    return {"query": QUERY, RERANKS[path]: DOCUMENTS, **named, **fields}


def test_cohere_v2(app: Starlette, order: list[tuple[int, float]]) -> None:
    said = call(app, "/v2/rerank", **body("/v2/rerank"))
    assert set(said) == {"id", "results", "meta"} and set(said["meta"]) == {
        "api_version",
        "billed_units",
        "tokens",
    }
    assert said["results"] == [{"index": i, "relevance_score": p} for i, p in order]
    assert said["meta"]["api_version"] == {"version": "2"}
    two = call(app, "/cohere/v2/rerank", **body("/v2/rerank", top_n=2, max_tokens_per_doc=9))
    assert two["results"] == said["results"][:2]
    assert two["meta"]["warnings"] == ["max_tokens_per_doc: the task's own budget decides"]


def test_cohere_v1(app: Starlette, order: list[tuple[int, float]]) -> None:
    path = "/cohere/v1/rerank"
    said = call(app, path, **body(path, return_documents=True))
    assert said["results"] == [
        {"index": i, "relevance_score": p, "document": {"text": DOCUMENTS[i]}} for i, p in order
    ]
    objects = [{"text": "none", "title": text, "by": "x"} for text in DOCUMENTS]
    fields = call(app, path, **body(path, documents=objects, rank_fields=["title"]))
    assert fields["results"] == [{"index": i, "relevance_score": p} for i, p in order]


def test_jina(app: Starlette, order: list[tuple[int, float]]) -> None:
    mixed = [DOCUMENTS[0], *({"text": text} for text in DOCUMENTS[1:])]
    said = call(app, "/v1/rerank", **body("/v1/rerank", documents=mixed, extra="passed over"))
    assert set(said) == {"model", "usage", "results"} and said["model"] == TASK
    assert set(said["usage"]) == {"total_tokens"} and said["usage"]["total_tokens"] > 0
    assert said["results"] == [
        {"index": i, "relevance_score": p, "document": {"text": DOCUMENTS[i]}} for i, p in order
    ]
    bare = call(app, "/jina/v1/rerank", **body("/v1/rerank", return_documents=False, top_n=1))
    assert bare["results"] == [{"index": order[0][0], "relevance_score": order[0][1]}]


def test_voyage(app: Starlette, order: list[tuple[int, float]]) -> None:
    path = "/voyage/v1/rerank"
    said = call(app, path, **body(path, top_k=2))
    assert set(said) == {"object", "data", "model", "usage"} and said["object"] == "list"
    assert said["data"] == [{"index": i, "relevance_score": p} for i, p in order[:2]]
    whole = call(app, path, **body(path, return_documents=True))
    assert [d["document"] for d in whole["data"]] == [DOCUMENTS[i] for i, _ in order]


def test_tei(app: Starlette, order: list[tuple[int, float]]) -> None:
    said = call(app, "/rerank", **body("/rerank"))
    assert said == [{"index": i, "score": p} for i, p in order]
    raw = call(app, "/tei/rerank", **body("/rerank", raw_scores=True, return_text=True))
    for rank, (index, probability) in zip(raw, order, strict=True):
        assert rank["text"] == DOCUMENTS[index]
        assert rank["score"] == pytest.approx(math.log(probability / (1 - probability)))


def test_vllm(app: Starlette, order: list[tuple[int, float]]) -> None:
    said = call(app, "/vllm/v1/rerank", **body("/vllm/v1/rerank", top_n=0))
    assert set(said) == {"id", "model", "usage", "results"}
    assert said["results"] == [
        {"index": i, "document": {"text": DOCUMENTS[i]}, "relevance_score": p} for i, p in order
    ]
    scores = dict(order)
    many = call(app, "/score", model=TASK, text_1=QUERY, text_2=DOCUMENTS)
    expected = [{"index": i, "object": "score", "score": scores[i]} for i in range(3)]
    assert many["data"] == expected and many["object"] == "list"
    pairs = call(app, "/vllm/v1/score", queries=[QUERY] * 3, documents=DOCUMENTS)
    assert pairs["data"] == expected
    raw = call(app, "/score", text_1=QUERY, text_2=DOCUMENTS[0], use_activation=False)
    assert raw["data"][0]["score"] == pytest.approx(math.log(scores[0] / (1 - scores[0])))
    uneven = ask(app, "/score", {"text_1": [QUERY] * 2, "text_2": DOCUMENTS})
    assert uneven.status_code == 400


@pytest.mark.long
@pytest.mark.parametrize("path", RERANKS)
def test_nothing_is_null_and_answers_are_what_the_document_says(app: Starlette, path: str) -> None:
    document = ask(app, "/openapi.json").json()
    content = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]
    said = call(app, path, **body(path))
    schema = {**content["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(said)
    assert None not in _values(said)


def _values(value: Any) -> Iterator[Any]:
    yield value
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        yield from _values(each)


def message_of(path: str, said: Any) -> str:
    """The message of an error, where that API's clients look; nothing else stands in it."""
    if path.startswith("/vllm"):
        assert set(said) == {"error"}
        assert set(said["error"]) == {"message", "type", "param", "code"}
        return str(said["error"]["message"])
    keys = {
        "/v2": {"id", "message"},
        "/cohere": {"id", "message"},
        "/rerank": {"error", "error_type"},
        "/tei": {"error", "error_type"},
    }
    expected = next((k for start, k in keys.items() if path.startswith(start)), {"detail"})
    assert set(said) == expected
    return str(said.get("message") or said.get("detail") or said.get("error"))


@pytest.mark.parametrize("path", RERANKS)
def test_errors_are_where_clients_look(ranker: Ranker, path: str) -> None:
    app = make_app(hosted_of(ranker, names=(TASK,)), SHAPES, bounds=Bounds(candidates=4))
    wrong = 400 if path.startswith(("/voyage", "/vllm")) else 422
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({RERANKS[path]: "x" if "vllm" not in path else 1}, wrong, RERANKS[path]),
        ({RERANKS[path]: []}, wrong, RERANKS[path]),
        ({RERANKS[path]: ["a"] * 5}, wrong, "5 candidates, more than 4"),
        ({"query": 7}, wrong, "query"),
        ({"query": None}, wrong, "query"),
    ]
    for fields, status, words in cases:
        answer = ask(app, path, body(path, **fields))
        assert answer.status_code == status, answer.text
        assert words in message_of(path, answer.json())
    if RERANKS[path] == "documents":
        answer = ask(app, path, body(path, model="rerank-v3.5"))
        assert answer.status_code == 404
        assert "no task 'rerank-v3.5'" in message_of(path, answer.json())
    locked = make_app(hosted_of(ranker, names=(TASK,)), SHAPES, keys=Keys(["k" * 20]))
    answer = ask(locked, path, body(path))
    assert answer.status_code == 401 and "key" in message_of(path, answer.json())


def test_unknown_fields_are_refused_where_the_api_refuses_them(app: Starlette) -> None:
    for path, status in {
        "/v2/rerank": 422,
        "/cohere/v1/rerank": 422,
        "/voyage/v1/rerank": 400,
    }.items():
        assert ask(app, path, body(path, whatever=1)).status_code == status
    assert ask(app, "/v2/rerank", body("/v2/rerank", return_documents=True)).status_code == 422


def test_what_must_not_be_truncated_is_refused(app: Starlette) -> None:
    long = ["word " * 3000, "short"]
    fields: dict[str, dict[str, Any]] = {
        "/rerank": {"texts": long, "truncate": False},
        "/voyage/v1/rerank": {"documents": long, "truncation": False},
    }
    for path, given in fields.items():
        answer = ask(app, path, body(path, **given))
        assert answer.status_code == (400 if "voyage" in path else 422)
        assert "truncat" in message_of(path, answer.json())
        cut = body(path, **{RERANKS[path]: long})
        assert len(call(app, path, **cut)["data" if "voyage" in path else slice(None)]) == 2


def test_a_document_without_a_score_is_left_out_and_cohere_says_which(
    tiny_llama_path: Path,
) -> None:
    uncut = ["budget.shorten=[]"]
    model = str(tiny_llama_path)
    with open_ranker(TASK, engine="fake", model=model, settings=uncut) as ranker:
        app = make_app(hosted_of(ranker, names=(TASK,)), SHAPES)
        given = ["a lamp", "word " * 3000, "a shoe"]
        said = call(app, "/v2/rerank", **body("/v2/rerank", documents=given))
        assert {result["index"] for result in said["results"]} == {0, 2}
        assert said["meta"]["warnings"][0].startswith("documents[1] has no score: ")
        pairs = call(app, "/score", text_1=[QUERY] * 3, text_2=given)
        assert [score["index"] for score in pairs["data"]] == [0, 2]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v3/rerank", "/embed"])
def test_shapes_that_are_not_served_are_404(app: Starlette, path: str) -> None:
    assert ask(app, path, {"model": TASK}).status_code == 404


@pytest.mark.parametrize(
    ("path", "fields", "message"),
    [
        ("/v2/rerank", {"documents": ["a"], "topn": 1}, "no field 'topn'; did you mean 'top_n'?"),
        ("/v2/rerank", {"documents": []}, "documents: at least 1 is needed"),
        ("/v1/rerank", {"documents": ["a", {"txt": "b"}]}, "documents.1.text: missing"),
        ("/v1/rerank", {"documents": ["a", 4]}, "documents.1: expected text or an object"),
        ("/v1/rerank", {"documents": ["a"], "query": 3}, "query: expected text"),
    ],
)
def test_wrong_fields_are_told_in_the_words_of_who_sent_them(
    app: Starlette, path: str, fields: dict[str, Any], message: str
) -> None:
    answer = ask(app, path, {"model": TASK, "query": "a"} | fields)
    assert answer.status_code == 422
    said = answer.json()
    assert message in (said.get("message"), said.get("detail"))
