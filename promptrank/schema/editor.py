"""The JSON Schema of task files, for editors that complete and check YAML as it is typed."""

from typing import Any

from promptrank.schema.task import Task

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema of a task file as people write it, short forms included.

    It knows keys and types. What needs the whole file or the tables, `promptrank validate` checks.
    """
    schema = Task.model_json_schema(by_alias=True)
    parts = schema["$defs"]
    # What models accept and turn into something else, pydantic's schema does not show.
    parts["Ref"] = {
        "description": "A column that names a row; short: a table's name, or a column's.",
        "anyOf": [{"type": "string"}, parts["Ref"]],
    }
    say = parts["Answer"]["properties"]["say"]
    word: Schema = {"type": ["string", "number"]}
    parts["Answer"]["properties"]["say"] = {
        "description": say["description"],
        "anyOf": [word, {"type": "array", "minItems": 1, "items": word}],
    }
    return {"$schema": DIALECT, **_tidy(schema), "title": "promptrank task"}


def _tidy(value: Any) -> Any:
    """Without titles, which only repeat keys, and bounds of numbers that are written as text."""
    if isinstance(value, list):
        return [_tidy(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    text = value.get("type") == "string"
    return {
        key: _tidy(inner)
        for key, inner in value.items()
        if not (key == "title" and isinstance(inner, str)) and not (key == "ge" and text)
    }
