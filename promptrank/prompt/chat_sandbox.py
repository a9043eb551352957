"""The Jinja environment of models' chat templates: what transformers gives them, paid for.

A chat template comes with a model folder and is a program like any other template. transformers
runs it without bounds; here it runs in the same language (its filters, tests, globals and tags)
under the budget of `promptrank.prompt.metered`. Not offered is what draws at random, tells an
object's address, or makes texts of any size: no chat template needs it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import jinja2
from jinja2 import Undefined, nodes
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.ext import Extension
from jinja2.filters import FILTERS

from promptrank.prompt.filters import costing
from promptrank.prompt.metered import MeteredEnvironment
from promptrank.prompt.printing import MAX_TEXT

_WITHOUT = ("pprint", "random", "striptags", "urlize", "wordwrap", "xmlattr")
_GROWING = ("batch", "center", "indent", "join", "replace", "slice", "truncate")
_OF_TEXTS = (
    "capitalize casefold count endswith find format index isalnum isalpha isdecimal isdigit "
    "islower isnumeric isspace istitle isupper join lower lstrip partition removeprefix "
    "removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines startswith strip "
    "swapcase title upper"
)
_METHODS: Mapping[type, frozenset[str]] = {
    str: frozenset(_OF_TEXTS.split()),
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    list: frozenset(("copy", "count", "index")),
    tuple: frozenset(("count", "index")),
}
_ADDRESS = re.compile(r" at 0x[0-9a-f]+>", re.IGNORECASE)
_WIDE = re.compile(r"\d{4}|\*|\{[^{}]*\{")


class _Generation(Extension):
    """``{% generation %}``, which marks what an assistant writes: here its body and no more."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Any) -> nodes.Node:
        """The body as a block that is called, so that its variables stay inside."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class ChatEnvironment(MeteredEnvironment):
    """See the module's docstring."""

    def __init__(self, day: datetime) -> None:
        """Take the day that a template which asks for the date is told."""
        filters = {name: costing(f, 8) for name, f in FILTERS.items() if name not in _WITHOUT}
        filters |= {name: _grown(self, filters[name]) for name in _GROWING}
        filters |= {"tojson": costing(_to_json, 8), "format": _formatted}
        super().__init__(filters, extensions=[_Generation, "jinja2.ext.loopcontrols"])
        self.globals.pop("lipsum")
        self.globals |= {"raise_exception": _raise, "strftime_now": day.strftime}

    def printed(self, value: Any, name: str) -> Any:
        """The value itself, where what Python writes of it is always the same."""
        if type(value) is str:
            return value
        self.pay(8 * self.weight(value))
        left = [value]
        while left:
            part = left.pop()
            if isinstance(part, Mapping):
                left += [*part.keys(), *part.values()]
            elif isinstance(part, list | tuple):
                left += part
            elif not isinstance(part, str | int | float | Undefined) and part is not None:
                raise TemplateRuntimeError(f"{name} is a {type(part).__name__}, which is no text")
        return value

    def put_together(self, values: Iterable[Any], names: Iterable[str] = ()) -> str:
        """``a ~ b``, as Jinja does it."""
        pairs = zip(values, names, strict=True)
        return self._concat([str(self.printed(value, name)) for value, name in pairs])

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As the sandbox does, without the methods that no budget could bound."""
        return self._offered(obj, attribute, super().getattr(obj, attribute))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As the sandbox does, without the methods that no budget could bound."""
        self.pay(self.weight(argument))
        return self._offered(obj, argument, super().getitem(obj, argument))

    def _offered(self, obj: Any, name: Any, value: Any) -> Any:
        if isinstance(value, BuiltinFunctionType | MethodType | FunctionType):
            kinds = [names for kind, names in _METHODS.items() if isinstance(obj, kind)]
            if isinstance(obj, int | float | type) or (kinds and name not in kinds[0]):
                return self.undefined(
                    f"{name!r} of a {type(obj).__name__} is not offered to chat templates",
                    obj=obj,
                    name=name,
                    exc=SecurityError,
                )
        return value

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls something, and pays for what it will make."""
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if name == "format":
            owner = getattr(getattr(__obj, "__wrapped__", None), "__self__", "")
            _check_format(owner)
            __self.pay(8 * __self.weight([owner, *args, *kwargs.values()]))
        elif isinstance(owner, str) and name in ("join", "replace"):
            __self.pay_growth(owner, *args, *kwargs.values())
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Also ``%`` of a text, without widths of more than three digits."""
        if operator == "%" and isinstance(left, str):
            _check_format(left)
            self.pay(8 * self.weight([left, right]))
            return self.pay_for(left % right)
        return super().call_binop(context, operator, left, right)

    def pay_growth(self, first: Any, *others: Any) -> None:
        """Pays for a text that may be as many times as large as the others say."""
        times = 1
        for other in others:
            if isinstance(other, int):
                times *= max(abs(other), 1)
            else:
                times *= max(self.weight(other), 1)
        self.pay(self.weight(first) * min(times, self.units + 1))


def render_chat(source: str, values: Mapping[str, Any], day: datetime) -> str:
    """A chat template's text.

    Raises:
        jinja2.TemplateError: it fails, or would run too long.
        Exception: whatever else an expression of it raises.
    """
    environment = ChatEnvironment(day)
    template = environment.from_string(source)
    environment.refill()
    text = str(template.render(values))
    if _ADDRESS.search(text):  # through a text, which `printed` takes as it is
        raise TemplateRuntimeError("it writes an object's address, which differs from run to run")
    return text


def _raise(message: Any) -> None:
    raise jinja2.TemplateError(str(message))


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """As transformers does it, which escapes nothing."""
    if indent is not None and (type(indent) is not int or indent > 16):
        raise TemplateRuntimeError("tojson: expected an indent of at most 16")
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _formatted(value: Any, *args: Any, **kwargs: Any) -> str:
    _check_format(value)
    return str(FILTERS["format"](value, *args, **kwargs))


def _check_format(text: Any) -> None:
    if not isinstance(text, str) or _WIDE.search(text) or len(text) > MAX_TEXT:
        raise TemplateRuntimeError("format: widths of more than three digits are not offered")


def _grown(environment: ChatEnvironment, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter whose text grows with its arguments."""
    mark = getattr(function, "jinja_pass_arg", None)

    def grown(*values: Any, **options: Any) -> Any:
        mine = values if mark is None else values[1:]
        environment.pay_growth(*mine, *options.values())
        return function(*values, **options)

    if mark is not None:
        grown.jinja_pass_arg = mark  # type: ignore[attr-defined]
    return grown
