"""Every field of every API, held against our OpenAPI document: no 500, and errors as it says."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from starlette.applications import Starlette

from promptrank.ranking.ranker import Ranker
from promptrank.serve.app import make_app
from promptrank.serve.openapi import document
from promptrank.serve.shape import HttpShape
from promptrank.serve.shapes.every import SHAPES
from promptrank.workspace.rankers import open_ranker
from support.serving import client, hosted_of

JSON = {"content-type": "application/json"}
TASK = "rerank/generic"
WRONG: tuple[Any, ...] = (
    *(None, True, -1, 0.5, 1e300, "", "7", "\x00", "\ud800", [[]], [None], [1]),
    *({}, {"": {}}, [{"text": 1}], {"\ud800": 1}),
)


@pytest.fixture
def ranker(tiny_llama_path: Path) -> Iterator[Ranker]:
    with open_ranker(TASK, engine="fake", model=str(tiny_llama_path)) as ranker:
        yield ranker


def app_for(ranker: Ranker) -> Starlette:
    return make_app(hosted_of(ranker, names=(TASK,)), SHAPES)


def good_body(shape: HttpShape[Any]) -> dict[str, Any]:
    """One that is answered, with every field that the API has."""
    fields = shape.body.model_json_schema(by_alias=False)["properties"]
    texts = ["A lamp", "A shoe"]
    candidates = [{"item_id": text, "item": {"text": text}} for text in texts]
    known = {
        "request": {"query": "lamp", "candidates": candidates},
        "pairs": [{"query": "lamp", "item": {"text": text}} for text in texts],
        **{name: texts for name in ("documents", "texts", "text_2")},
        **{name: "lamp" for name in ("query", "text_1")},
        **{name: TASK for name in ("task", "model")},
    }
    return {name: value for name, value in known.items() if name in fields}


def mutated(value: Any) -> Iterator[Any]:
    """The value with each of its parts, however deep, missing, wrong or beside one more."""
    yield from WRONG
    if isinstance(value, dict):
        yield {**value, "unheard of": 1}
        for name, inside in value.items():
            yield {other: kept for other, kept in value.items() if other != name}
            yield from ({**value, name: changed} for changed in mutated(inside))
    elif isinstance(value, list):
        yield [*value, *value]
        yield from ([changed, *value[1:]] for changed in mutated(value[0]))


@pytest.mark.long
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.paths[0])
def test_wrong_types_anywhere_are_refused_in_the_words_of_the_api(
    shape: HttpShape[Any], ranker: Ranker
) -> None:
    app, path = app_for(ranker), shape.paths[0]
    described = document(SHAPES, (TASK,))
    responses = {
        int(status): jsonschema.Draft202012Validator(
            {
                **response["content"]["application/json"]["schema"],
                "components": described["components"],
            }
        )
        for status, response in described["paths"][path]["post"]["responses"].items()
    }
    statuses: Counter[int] = Counter()

    async def run() -> None:
        async with client(app) as http:
            good = good_body(shape)
            assert (await http.post(path, json=good)).status_code == 200
            for name in shape.body.model_fields:
                bodies = (
                    [{**good, name: changed} for changed in mutated(good[name])]
                    if name in good
                    else [{**good, name: changed} for changed in WRONG]
                )
                for body in bodies:
                    answer = await http.post(path, content=json.dumps(body), headers=JSON)
                    statuses[answer.status_code] += 1
                    where = f"{body} -> {answer.status_code} {answer.text}"
                    assert answer.status_code < 500, where
                    responses[answer.status_code].validate(answer.json())

    asyncio.run(run())
    assert statuses[shape.invalid] > statuses[200] > 0


NOT_SAID = {
    "/v1/rank": "templates want fields",
    "/v1/score": "templates want fields",
    "/v2/rerank": "relevant_spans is not served",
    "/cohere/v1/rerank": "rank_fields name fields of documents",
    "/score": "two lists are of one length",
}
"""APIs, by their first path, at which a body may be refused for what a schema cannot say."""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_schemathesis_finds_nothing(ranker: Ranker, mode: str) -> None:
    import hypothesis
    import schemathesis
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_asgi("/openapi.json", app_for(ranker))
    modes = [GenerationMode(mode)]
    tried: Counter[str] = Counter()
    others = {path for shape in SHAPES for path in shape.paths[1:]}  # the same under another name
    more = {path for shape in SHAPES if shape.paths[0] in NOT_SAID for path in shape.paths}

    def check(case: schemathesis.Case[Any]) -> None:
        tried[case.path] += 1
        deadline = str(case.headers.get("X-Deadline-Ms", ""))
        if deadline.isdigit() and 0 < int(deadline) < 10**9:
            case.headers["X-Deadline-Ms"] = "60000"  # shorter ones are a matter of luck
        excluded: list[Any] = [positive_data_acceptance] if case.path in more else []
        case.call_and_validate(excluded_checks=excluded)

    for result in schema.get_all_operations():
        operation = result.ok()  # type: ignore[union-attr]
        if operation.path in others:
            continue
        for case in schema.iter_coverage_cases(
            operation, generation_modes=modes, generation_config=schema.config.generation
        ):
            check(case)
        if operation.method == "post":
            fuzzed = hypothesis.given(operation.as_strategy(generation_mode=modes[0]))(check)
            hypothesis.settings(
                max_examples=30,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(hypothesis.HealthCheck),
            )(fuzzed)()
    assert {path for path in tried if tried[path] > 30} == {shape.paths[0] for shape in SHAPES}
