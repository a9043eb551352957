"""The task reference in docs/reference/tasks.md, made from the models so that it stays current."""

import re
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from promptrank.basics.files import write_text
from promptrank.schema.task import Task

START, END = "<!-- reference: made by `make fix` from the models -->", "<!-- end of reference -->"


def reference() -> str:
    """Markdown: one section per model, one row per key, in the order they are met."""
    models: list[type[BaseModel]] = [Task]
    for model in models:
        for info in model.model_fields.values():
            models += [m for m in _models(info.annotation) if m not in models]
    return "\n".join(_section(model) for model in models)


def update(page: Path, *, write: bool) -> bool:
    """True where the page already held the current reference; writes it there if asked to."""
    text = page.read_text(encoding="utf-8")
    before, _, old = text.partition(START)
    _, _, after = old.partition(END)
    new = f"{before}{START}\n\n{reference()}\n{END}{after}"
    if new != text and write:
        write_text(page, new)
    return new == text


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for inner in get_args(annotation) for m in _models(inner)]


def _section(model: type[BaseModel]) -> str:
    doc = re.sub(r"\s+", " ", (model.__doc__ or "").replace("``", "`")).strip()
    rows = [f"### {model.__name__}", "", doc, "", "| key | is | default | |", "|---|---|---|---|"]
    for name, info in model.model_fields.items():
        about = re.sub(r"\s+", " ", (info.description or "").replace("|", "\\|"))
        rows.append(
            f"| `{info.alias or name}` | {_type(info.annotation)} | {_default(info)} | {about} |"
        )
    return "\n".join([*rows, ""])


def _type(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(a) for a in inner if a is not type(None))
    if origin is list:
        return f"list of {_type(inner[0])}"
    if origin is dict:
        return f"names to {_type(inner[1])}"
    words = {str: "text", int: "count", float: "number", bool: "true or false"}
    return words.get(annotation, "any value")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "**required**"
    value = info.get_default(call_default_factory=True) if info.default_factory else info.default
    if value is None or value is PydanticUndefined or value in ({}, [], ""):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_defaults=True, by_alias=True)
    return f"`{value}`"


if __name__ == "__main__":
    update(Path("docs/reference/tasks.md"), write=True)
