"""The OpenAPI document, written from the fields of the shapes."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from promptrank import __version__
from promptrank.serve.shape import HttpShape
from promptrank.serve.shapes.our_fields import ErrorBody

_REF = "#/components/schemas/{model}"
_STATE = {
    "type": "object",
    "properties": {"state": {"enum": ["loading", "ready", "restarting", "draining"]}},
    "required": ["state"],
}
_ANYWHERE = (401, 421, 500)
_REFUSALS = {
    400: "No JSON object, or (Voyage, vLLM) something wrong in it.",
    401: "No key that fits.",
    404: "No such task.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "Not called application/json.",
    421: "A host name that is not this machine's.",
    422: "Something wrong in the body, or in a header.",
    429: "Too many wait.",
    500: "A fault of the server or of the model.",
    503: "Loading or draining, or the engine is gone.",
    504: "No answer by the deadline.",
}
_ID = {"X-Request-Id": {"description": "Of this call.", "schema": {"type": "string"}}}
_AFTER = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
_DEADLINE = {
    "name": "X-Deadline-Ms",
    "in": "header",
    "description": "Milliseconds from when it arrives in which the answer is of use.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
}


def document(shapes: Sequence[HttpShape[Any]], tasks: Sequence[str]) -> dict[str, Any]:
    """OpenAPI 3.1 of everything that is served.

    Args:
        tasks: names that are served, of which a body names one.
    """
    schemas: dict[str, Any] = {}
    ours = _schema(TypeAdapter(ErrorBody), schemas, "serialization")
    plain, text = {"type": "object"}, {"text/plain": {"schema": {"type": "string"}}}
    state = _json(_STATE)
    paths: dict[str, Any] = {
        "/health": _get("Whether the process is up, and its state.", state, ours),
        "/ready": _get("200 when requests may come, else 503.", state, ours, {503: state}),
        "/v1/tasks": _get("The tasks that are served.", _json(plain), ours, {503: _json(ours)}),
        "/metrics": _get("For Prometheus.", text, ours),
        "/openapi.json": _get("This document.", _json(plain), ours),
    }
    for shape in shapes:
        body = _schema(TypeAdapter(shape.body), schemas, "validation")
        answer = _schema(TypeAdapter(shape.answer_type), schemas, "serialization")
        error = _json(_schema(TypeAdapter(shape.error_type), schemas, "serialization"))
        refused = [status for status in _REFUSALS if status != 422 or shape.invalid == 422]
        for path in shape.paths:
            paths[path] = {
                "post": {
                    "summary": shape.summary,
                    "tags": [shape.name],
                    "parameters": [_DEADLINE],
                    "requestBody": {"required": True, "content": _json(body)},
                    "responses": _answered(_json(answer)) | _refused(refused, error),
                }
            }
    _name_tasks(schemas, tasks)
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


def _name_tasks(schemas: dict[str, Any], tasks: Sequence[str]) -> None:
    """In bodies, a task is one of these; null is another part of the same field."""
    for schema in schemas.values():
        if not schema["title"].endswith("Body"):
            continue
        for name in ("task", "model"):
            field = schema.get("properties", {}).get(name, {})
            for part in (field, *field.get("anyOf", ())):
                if part.get("type") == "string":
                    part["enum"] = list(tasks)


def _schema(adapter: TypeAdapter[Any], schemas: dict[str, Any], mode: Any) -> dict[str, Any]:
    schema = adapter.json_schema(mode=mode, ref_template=_REF, schema_generator=GenerateJsonSchema)
    schemas.update(schema.pop("$defs", {}))
    if "title" in schema and schema.get("type") == "object":
        schemas[schema["title"]] = schema
        return {"$ref": _REF.format(model=schema["title"])}
    return schema


def _get(
    summary: str, content: Any, error: Any, others: dict[int, Any] | None = None
) -> dict[str, Any]:
    responses = _answered(content) | _refused(_ANYWHERE, _json(error))
    for status, other in (others or {}).items():
        responses |= _refused([status], other)
    return {"get": {"summary": summary, "responses": responses}}


def _answered(content: Any) -> dict[str, Any]:
    return {"200": {"description": "The answer.", "headers": _ID, "content": content}}


def _refused(statuses: Iterable[int], content: Any) -> dict[str, Any]:
    return {
        str(status): {
            "description": _REFUSALS[status],
            "headers": _ID | (_AFTER if status in (429, 503) else {}),
            "content": content,
        }
        for status in statuses
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
