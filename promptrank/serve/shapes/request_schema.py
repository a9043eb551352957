"""JSON schema of a request, for the OpenAPI document; `request_from_dict` is what reads one."""

from typing import Any

Schema = dict[str, Any]

_FIELDS: Schema = {"type": ["object", "null"], "description": "Values by name."}
_TEXT: Schema = {"type": ["string", "integer", "null"]}
_NUMBER: Schema = {"type": ["number", "null"]}
_OUTCOMES: Schema = {
    "type": ["object", "null"],
    "description": "Answers by question.",
    "additionalProperties": _TEXT,
}
_ITEM: dict[str, Schema] = {
    "item_id": _TEXT,
    "item": {"type": ["object", "null"], "description": "The item's fields."},
    "context": _FIELDS,
    "stats": _FIELDS,
    "outcomes": _OUTCOMES,
}
_CANDIDATE: Schema = {
    "type": "object",
    "properties": {
        "candidate_id": _TEXT,
        **_ITEM,
        "position": _NUMBER,
        "propensity": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
        "weight": {"type": ["number", "null"], "minimum": 0},
        "logged_score": _NUMBER,
        "baseline": {"type": ["object", "null"], "additionalProperties": _NUMBER},
        "label_source": _TEXT,
    },
    "anyOf": [{"required": ["item"]}, {"required": ["item_id"]}],
    "additionalProperties": False,
}
_EVENT: Schema = {
    "type": "object",
    "properties": {**_ITEM, "action": _TEXT, "time": _NUMBER},
    "anyOf": [{"required": ["item"]}, {"required": ["item_id"]}],
    "additionalProperties": False,
}
_ABOUT: dict[str, Schema] = {
    "request_id": _TEXT,
    "time": {**_NUMBER, "description": "Unix seconds; events are before it."},
    "split": _TEXT,
    "member_id": _TEXT,
    "member": _FIELDS,
    "query_id": _TEXT,
    "query": {"type": ["string", "object", "null"], "description": "Text, or values by name."},
    "source_id": _TEXT,
    "source": _FIELDS,
    "history": {"type": ["array", "null"], "items": _EVENT},
    "meta": _FIELDS,
}

REQUEST: Schema = {
    "type": "object",
    "properties": {**_ABOUT, "candidates": {"type": "array", "items": _CANDIDATE, "minItems": 1}},
    "required": ["candidates"],
    "additionalProperties": False,
}
PAIR: Schema = {
    "type": "object",
    "properties": {
        **_ABOUT,
        **{n: _ITEM[n] for n in ("item_id", "item", "context", "stats")},
        "candidate_id": _TEXT,
    },
    "anyOf": [{"required": ["item"]}, {"required": ["item_id"]}],
    "additionalProperties": False,
}
