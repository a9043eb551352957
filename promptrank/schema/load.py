"""A YAML file into a `Task`, with every problem of the file reported at once."""

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from promptrank.basics.hints import near_names
from promptrank.errors import TaskError
from promptrank.schema.task import Task

_MAX_BYTES = 1_000_000


class _Loader(yaml.SafeLoader):
    """YAML 1.2's booleans (so that ``say: Yes`` is a word), and no repeated keys."""


# YAML 1.1 reads yes, no, on and off as booleans: exactly the words that answers are made of.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        # Labels such as 5 are keys too; a task file knows only names, so keys are strings.
        key = str(loader.construct_object(key_node, deep=True))
        if key in mapping:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {key!r} stands twice", key_node.start_mark
            )
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's mapping; TaskError with line and column where it is no YAML mapping."""
    where = str(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TaskError(where, [f"cannot be read ({error.strerror})"]) from None
    if len(raw) > _MAX_BYTES:
        raise TaskError(where, [f"{len(raw):,} bytes; a task file has at most {_MAX_BYTES:,}"])
    try:
        content = yaml.load(raw.decode("utf-8-sig"), _Loader)
    except UnicodeDecodeError as error:
        raise TaskError(where, [f"not UTF-8 at byte {error.start}; save it as UTF-8"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise TaskError(where, [f"{place}{error.problem or error.context}"]) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise TaskError(where, [f"not YAML: {error}"]) from None
    if not isinstance(content, dict):
        raise TaskError(where, ["expected keys and values, such as `domain: movies`"])
    return content


def _model_at(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    """The model that the parent of ``location`` is an instance of, to name its keys."""
    model: Any = Task
    for part in location[:-1]:
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields = {f.alias or n: f for n, f in model.model_fields.items()}
            if part not in fields:
                return None
            model = fields[str(part)].annotation
        nested = _find_model(model)
        # Stepping through dict[str, Answer] keeps the annotation until its key has been passed.
        model = nested if nested is not None else model
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None


def _find_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        model = _find_model(inner)
        if model is not None:
            return model
    return None


def _near(location: tuple[int | str, ...]) -> str:
    model = _model_at(location)
    if model is None:
        return "remove it"
    keys = [f.alias or n for n, f in model.model_fields.items()]
    names = near_names(str(location[-1]), keys)
    return f"did you mean {names[0]!r}?" if names else f"known keys: {', '.join(sorted(keys))}"


def _problems(error: ValidationError) -> list[str]:
    problems = []
    for problem in error.errors(include_url=False):
        parts = [str(p) for p in problem["loc"]]
        where = ".".join(p for p in parts if "[" not in p)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; {_near(problem['loc'])}"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] not in ("value_error", "assertion_error"):
            given = repr(problem["input"])
            message += f", got {given if len(given) < 60 else given[:57] + '...'}"
        problems += [f"{where}: {line}" if where else line for line in message.split("\n")]
    return list(dict.fromkeys(problems))


def parse_task(values: dict[str, Any], where: str) -> Task:
    """A task from plain values; TaskError lists every problem, each as ``key.path: what; next``."""
    try:
        return Task.model_validate(values)
    except ValidationError as error:
        raise TaskError(where, _problems(error)) from None


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Values with ``--set a.b=c`` applied; each c is read as YAML, so ``null`` and ``3`` work."""
    result: dict[str, Any] = {**values}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise TaskError(
                "--set", [f"{setting!r}: expected KEY=VALUE, such as budget.tokens=512"]
            )
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError:
            raise TaskError("--set", [f"{setting!r}: the value is not YAML"]) from None
        at = result
        *parents, last = path.split(".")
        for parent in parents:
            inner = at.get(parent)
            at[parent] = dict(inner) if isinstance(inner, dict) else {}
            at = at[parent]
        at[last] = value
    return result


def load_task(path: Path, settings: list[str] | None = None) -> Task:
    """The task in a YAML file, ``--set`` overrides applied."""
    return parse_task(override(read_yaml(path), settings or []), str(path))
