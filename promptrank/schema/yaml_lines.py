"""Where in a task file's text something stands: the line of a key, and that of a problem."""

import re
from collections.abc import Iterator, Mapping

import yaml

from promptrank.schema.yaml_values import MAX_BYTES, composed

_AT = re.compile(r"(?:not YAML: )?line (\d+)[,:]")


def key_lines(text: str) -> dict[str, int]:
    """Dotted path of every key and place in a list -> the line it stands in, counted from 1.

    Nothing for a text that is no YAML; its error has a line of its own.
    """
    if len(text) > MAX_BYTES:
        return {}
    try:
        root = composed(text)
    except (yaml.YAMLError, ValueError, OverflowError):
        return {}
    return dict(_lines(root, "")) if root is not None else {}


def problem_line(problem: str, lines: Mapping[str, int]) -> int | None:
    """The line that a problem of a task file is about; None where it is about the whole file.

    Args:
        problem: as `TaskError.problems` has it: ``key.path: what``, or a line of what is no YAML.
        lines: of `key_lines`.
    """
    if at := _AT.match(problem):
        return int(at[1])
    path = problem.partition(": ")[0]
    while path:
        if path in lines:
            return lines[path]
        path = path.rpartition(".")[0]  # what is missing stands in the line of what it is of
    return None


def _lines(node: yaml.Node, at: str) -> Iterator[tuple[str, int]]:
    pairs: list[tuple[str, int, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        pairs = [
            (str(key.value), key.start_mark.line + 1, value)
            for key, value in node.value
            if isinstance(key, yaml.ScalarNode)
        ]
    elif isinstance(node, yaml.SequenceNode):
        pairs = [(str(i), each.start_mark.line + 1, each) for i, each in enumerate(node.value)]
    for name, line, value in pairs:
        path = f"{at}.{name}" if at else name
        yield path, line
        yield from _lines(value, path)
