"""YAML as plain values, of bounded size, and one sentence with its line for what is not.

The words of YAML 1.2: ``yes`` and ``no``, ``1:30``, ``1_000`` and what begins with a zero (``007``)
are text. Keys are always text. Tags beyond those of plain values are refused.
"""

import math
import re
from typing import Any

import yaml

MAX_BYTES = 300_000
_MAX_DEPTH = 50
_MAX_NODES = 100_000
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
# No "1e5": it is a word as often as a number, and a field that takes numbers reads it as one.
_KINDS = {
    "bool": r"true|false",
    "null": r"~|null|Null|NULL|",
    "int": r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "timestamp": r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"(?:(?:[Tt]|[ ]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]*)?"
    r"(?:[ ]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)?",
    "merge": r"<<",
}


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the words above, and an account of what aliases repeat."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._open = 0
        # Node -> how many values it stands for, aliases written out, and how deep they are.
        self._sizes: dict[int, tuple[int, int]] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._open += 1
        self._check(1, self._open, mark)
        node = super().compose_node(parent, index)
        self._open -= 1
        assert node is not None, "only a document without values has none"
        if alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias within what it names", problem_mark=mark)
        if id(node) not in self._sizes:
            inner = node.value if isinstance(node.value, list) else []
            parts = [
                part for pair in inner for part in (pair if isinstance(pair, tuple) else [pair])
            ]
            sizes = [self._sizes[id(part)] for part in parts]
            size = 1 + sum(size for size, _ in sizes)
            depth = 1 + max((depth for _, depth in sizes), default=0)
            self._sizes[id(node)] = size, depth
        self._check(*self._sizes[id(node)], mark)
        return node

    @staticmethod
    def _check(size: int, depth: int, mark: yaml.Mark) -> None:
        what = ""
        if depth > _MAX_DEPTH:
            what = f"values stand more than {_MAX_DEPTH} deep within each other"
        elif size > _MAX_NODES:
            what = f"more than {_MAX_NODES:,} values, counting what aliases repeat"
        if what:
            raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=True)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            kind = node.tag.removeprefix(_TAG).replace("timestamp", "date")
            why = "" if isinstance(error, KeyError | AttributeError) else f" ({error})"
            raise _wrong(
                node, f"{_short(node.value)} is no {kind}{why}; quote what is text"
            ) from None


def _wrong(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    if _NO_TEXT.search(text):
        raise _wrong(node, f"{_short(text)} holds a character that text cannot have")
    return text


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = loader.construct_scalar(node)
    # Longer than 64 bits in any base: not worth reading.
    number = int(text, 0) if len(text) <= 70 else 1 << 64
    if not -(1 << 63) <= number < 1 << 63:
        raise _wrong(node, f"a whole number of {len(text):,} digits, beyond 64 bits; quote text")
    return number


def _real(loader: _Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node)
    number = float(re.sub(r"^([-+]?)\.(?=[inIN])", r"\1", text))
    if not math.isfinite(number):
        raise _wrong(node, f"{_short(text)} is not a finite number; quote it if it is text")
    return number


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    own = [_key(key) for key, _ in node.value if key.tag != _TAG + "merge"]
    if len(set(own)) < len(own):
        twice = next(key for i, key in enumerate(own) if key in own[:i])
        at = [key for key, _ in node.value if key.value == twice][-1]
        raise _wrong(at, f"key {_short(twice)} stands twice")
    # What `<<` brings comes first, so that the mapping's own keys win.
    loader.flatten_mapping(node)
    return {_key(key): loader.construct_object(value) for key, value in node.value}


def _key(node: yaml.Node) -> str:
    # Labels such as 5 or true are keys too, and mean what is written.
    if not isinstance(node, yaml.ScalarNode):
        raise _wrong(node, "a key is one word or text, not a list or a mapping")
    if _NO_TEXT.search(node.value):
        raise _wrong(node, f"{_short(node.value)} holds a character that text cannot have")
    return str(node.value)


def _unknown(loader: _Loader, node: yaml.Node) -> Any:
    tag = node.tag.replace(_TAG, "!!")
    raise _wrong(node, f"could not determine a constructor for the tag {tag!r}; leave the tag out")


# Nothing of YAML 1.1's own: no binary, no set, no number in base 60.
_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {}
for _kind, _pattern in _KINDS.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(f"^(?:{_pattern})$"), None)
_CONSTRUCTORS: dict[str, Any] = {
    "null": yaml.SafeLoader.construct_yaml_null,
    "bool": yaml.SafeLoader.construct_yaml_bool,
    "timestamp": yaml.SafeLoader.construct_yaml_timestamp,
    "seq": yaml.SafeLoader.construct_sequence,
    "int": _whole,
    "float": _real,
    "str": _text,
    "map": _mapping,
}
for _kind, _make in _CONSTRUCTORS.items():
    _Loader.add_constructor(_TAG + _kind, _make)
_Loader.add_constructor(None, _unknown)


def yaml_value(text: str) -> Any:
    """The one value in a text.

    Raises:
        ValueError: it is no YAML, or more than `MAX_BYTES`; one sentence, with the line.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"{len(text):,} characters; at most {MAX_BYTES:,} are read")
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ValueError(
            f"line {line}: a character that YAML does not allow ({_code(error)})"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise ValueError(_sentence(error)) from None
    except (ValueError, OverflowError) as error:
        # An escape beyond Unicode, found while a text is read.
        line = loader.line + 1 if loader is not None else 1
        raise ValueError(f"line {line}: an escape that names no character ({error})") from None
    finally:
        if loader is not None:
            loader.dispose()


def composed(text: str) -> yaml.Node | None:
    """The nodes of a text, with their places; None for a text without a value.

    Raises:
        YAMLError, ValueError, OverflowError: no YAML within the bounds.
    """
    loader = _Loader(text)
    try:
        node: yaml.Node | None = loader.get_single_node()
        return node
    finally:
        loader.dispose()


def _code(error: yaml.reader.ReaderError) -> str:
    character = error.character
    return f"#x{ord(character) if isinstance(character, str) else character:04x}"


def _sentence(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    what = str(error.problem or error.context)
    if str(error.context).startswith("expected") and error.problem:
        what = f"{error.context}, {error.problem}"
    if "'\\t'" in what:
        what += "; indent with spaces"
    return place + " ".join(what.split())
