"""The OpenAPI document, written from the fields of the shapes."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from promptrank import __version__
from promptrank.serve.shape import HttpShape

_REF = "#/components/schemas/{model}"
_TEXT = {"description": "Its text format.", "content": {"text/plain": {}}}
_STATE = {
    "type": "object",
    "properties": {"state": {"enum": ["loading", "ready", "draining"]}},
    "required": ["state"],
}


def document(shapes: Sequence[HttpShape[Any]], tasks: Sequence[str]) -> dict[str, Any]:
    """OpenAPI 3.1 of everything that is served.

    Args:
        tasks: names that are served, for the description.
    """
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {
        "/health": {"get": _get("Whether the process is up, and its state.", _STATE, {})},
        "/ready": {"get": _get("200 when requests may come, else 503.", _STATE, {"503": _STATE})},
        "/v1/tasks": {"get": _get("The tasks that are served.", {"type": "object"}, {})},
        "/metrics": {"get": {"summary": "For Prometheus.", "responses": {"200": _TEXT}}},
        "/openapi.json": {"get": _get("This document.", {"type": "object"}, {})},
    }
    for shape in shapes:
        body = _schema(TypeAdapter(shape.body), schemas, "validation")
        answer = _schema(TypeAdapter(shape.answer_type), schemas, "serialization")
        fault: dict[str, Any] = {"description": "Why there is none."}
        if shape.error_type is not None:
            error = _schema(TypeAdapter(shape.error_type), schemas, "serialization")
            fault["content"] = _json(error)
        for path in shape.paths:
            paths[path] = {
                "post": {
                    "summary": shape.summary,
                    "tags": [shape.name],
                    "requestBody": {"required": True, "content": _json(body)},
                    "responses": {
                        "200": {"description": "The answer.", "content": _json(answer)},
                        "default": fault,
                    },
                }
            }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "promptrank",
            "version": __version__,
            "description": f"Ranks candidates of the tasks {', '.join(tasks)}.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _schema(adapter: TypeAdapter[Any], schemas: dict[str, Any], mode: Any) -> dict[str, Any]:
    schema = adapter.json_schema(mode=mode, ref_template=_REF, schema_generator=GenerateJsonSchema)
    schemas.update(schema.pop("$defs", {}))
    if "title" in schema and schema.get("type") == "object":
        schemas[schema["title"]] = schema
        return {"$ref": _REF.format(model=schema["title"])}
    return schema


def _get(summary: str, schema: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    responses = {"200": {"description": "The answer.", "content": _json(schema)}}
    for status, other in others.items():
        responses[status] = {"description": "Not now.", "content": _json(other)}
    return {"summary": summary, "responses": responses}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
