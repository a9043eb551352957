"""A YAML file into a `Task`, with every problem of the file reported at once."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from promptrank.basics.hints import near_names
from promptrank.errors import TaskError
from promptrank.schema.problem_words import problem_words
from promptrank.schema.task import Task
from promptrank.schema.yaml_values import MAX_BYTES, yaml_value

_MAX_PARTS = 50
_EXAMPLE = "domain: movies"


def read_yaml(path: Path, *, example: str = _EXAMPLE) -> dict[str, Any]:
    """The file's mapping.

    Args:
        example: of a first line.

    Raises:
        TaskError: it is no YAML mapping; with line and column.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise TaskError(where, [f"cannot be read ({error.strerror})"]) from None
    return yaml_mapping(raw, where, example=example)


def yaml_mapping(raw: bytes, where: str, *, example: str = _EXAMPLE) -> dict[str, Any]:
    """The mapping in a file's bytes, or in those of a text that may become one.

    Raises:
        TaskError: it is no YAML mapping; with line and column.
    """
    if len(raw) > MAX_BYTES:
        raise TaskError(where, [f"such a file has at most {MAX_BYTES:,} bytes; this one has more"])
    try:
        content = yaml_value(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TaskError(
            where, [f"line {line}: not UTF-8 at byte {error.start}; save it as UTF-8"]
        ) from None
    except ValueError as error:
        raise TaskError(where, [f"not YAML: {error}"]) from None
    if not isinstance(content, dict):
        raise TaskError(where, [f"expected keys and values, such as `{example}`"])
    return content


def _model_at(
    location: tuple[int | str, ...], root: type[BaseModel] = Task
) -> type[BaseModel] | None:
    """The model that the parent of ``location`` is an instance of, to name its keys."""
    model: Any = root
    for part in location[:-1]:
        if isinstance(part, int):  # an element of a list
            continue
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


def _near(location: tuple[int | str, ...], root: type[BaseModel]) -> str:
    model = _model_at(location, root)
    if model is None:
        return "remove it"
    keys = [f.alias or n for n, f in model.model_fields.items()]
    names = near_names(str(location[-1]), keys)
    return f"did you mean {names[0]!r}?" if names else f"known keys: {', '.join(sorted(keys))}"


def _short(text: str) -> str:
    return text if len(text) < 60 else f"{text[:57]}..."


def problems_of(error: ValidationError, root: type[BaseModel] = Task) -> list[str]:
    """Each problem of a file as ``key.path: what; next``.

    Args:
        root: what the file was read as.
    """
    problems = []
    for problem in error.errors(include_url=False):
        parts = [_short(str(p)) for p in problem["loc"]]
        where = ".".join(p for p in parts if "[" not in p)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; {_near(problem['loc'], root)}"
        elif problem["type"] == "missing":
            message = "is missing"
        elif problem["type"] not in ("value_error", "assertion_error"):
            message = problem_words(problem, _short(repr(problem["input"])))
        problems += [f"{where}: {line}" if where else line for line in message.split("\n")]
    return list(dict.fromkeys(problems))


def parse_task(values: dict[str, Any], where: str) -> Task:
    """A task from plain values; TaskError lists every problem, each as ``key.path: what; next``."""
    try:
        return Task.model_validate(values)
    except ValidationError as error:
        raise TaskError(where, problems_of(error)) from None


def override(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Values with ``--set a.b=c`` applied; each c is read as YAML, so ``null`` and ``3`` work."""
    result: dict[str, Any] = {**values}
    for setting in settings:
        path, equals, text = setting.partition("=")
        if not equals or not path:
            raise TaskError(
                "--set", [f"{_short(setting)!r}: expected KEY=VALUE, such as budget.tokens=512"]
            )
        *parents, last = path.split(".")
        if len(parents) >= _MAX_PARTS:
            raise TaskError(
                "--set", [f"{_short(setting)!r}: a key of more than {_MAX_PARTS} parts"]
            )
        try:
            value = yaml_value(text)
        except ValueError as error:
            raise TaskError(
                "--set", [f"{_short(setting)!r}: the value is not YAML: {error}"]
            ) from None
        at = result
        for parent in parents:
            inner = at.get(parent)
            at[parent] = dict(inner) if isinstance(inner, dict) else {}
            at = at[parent]
        at[last] = value
    return result


def load_task(path: Path, settings: list[str] | None = None) -> Task:
    """The task in a YAML file, ``--set`` overrides applied.

    Raises:
        TaskError: every problem of the file; of the overrides, where the file has none.
    """
    values = read_yaml(path)
    if settings:
        values, written = override(values, settings), values
        try:
            return parse_task(values, "--set")
        except TaskError:
            parse_task(written, str(path))
            raise
    return parse_task(values, str(path))
