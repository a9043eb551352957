"""The Jinja environment of prompts: strict, without reach, and bounded in work and size.

Differences from a plain sandbox, each because of a failure seen:

* ``item.title`` looks up fields and nothing else, so fields named ``items`` or ``get`` work, and no
  method of a mapping can be reached;
* null, NaN and containers are never written out as words;
* loops and calls draw on a budget of steps, texts on a cap of characters: an endless template ends;
* ``{{ self.item() }}`` becomes a slot, where the item's own fragment is spliced in as ids.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, time, timedelta
from itertools import islice
from typing import Any

from jinja2 import StrictUndefined, nodes, pass_environment
from jinja2.exceptions import SecurityError, TemplateRuntimeError
from jinja2.runtime import BlockReference, Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from promptrank.prompt.filters import MAX_TEXT, TooLong, all_filters, join_texts, text_of

MAX_STEPS = 20_000
"""Loop rounds and calls that one block may take."""

SLOT = "_promptrank_item"
"""Name of the variable that ``{{ self.item() }}`` is turned into."""

_OF_TEXTS = (
    "upper lower title capitalize strip lstrip rstrip split startswith endswith removeprefix "
    "removesuffix isdigit isupper islower count find"
)
_OF_DATES = (
    "year month day hour minute second weekday isoweekday isoformat date days seconds total_seconds"
)
_STR_METHODS = frozenset(_OF_TEXTS.split())
_DATE_NAMES = frozenset(_OF_DATES.split())
_RUNTIME = (LoopContext, Macro, BlockReference, Namespace)


class Absent(StrictUndefined):
    """What the request does not have: false in a condition, an error in any other use."""

    __slots__ = ()

    def __bool__(self) -> bool:  # type: ignore[override]
        return False


class Undefined(StrictUndefined):
    """An undefined name whose message says what there is instead."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        obj = self._undefined_obj
        if not self._undefined_hint and isinstance(obj, Mapping):
            given = ", ".join(map(str, islice(obj, 20))) or "none"
            return f"no field {self._undefined_name!r}; fields: {given}"
        return super()._undefined_message


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """See the module's docstring. Not for use by several threads at once: it counts steps."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(
            undefined=Undefined,
            finalize=text_of,
            autoescape=False,
            # A tag on its own line leaves no line behind.
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            auto_reload=False,
            **options,
        )
        self.steps = MAX_STEPS
        self.concat = join_texts  # type: ignore[method-assign]
        filters = all_filters() | {"_join": join_texts}
        self.filters = {n: self._paid(f) for n, f in filters.items()} | {"_steps": _count_steps}
        self.globals = {k: self.globals[k] for k in ("range", "dict", "namespace")}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _rewrite(tree)
        tree.set_environment(self)
        return tree

    def spend(self, steps: int) -> None:
        """Takes steps from the budget of the block that is being rendered."""
        self.steps -= steps
        if self.steps < 0:
            raise TemplateRuntimeError(
                f"more than {MAX_STEPS:,} loop rounds and calls in one block; loop over less"
            )

    def _paid(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that pays for long texts, which cost time at every step."""
        mark = getattr(function, "jinja_pass_arg", None)
        place = 0 if mark is None else 1

        def paid(*values: Any, **options: Any) -> Any:
            if type(values[place]) is str and len(values[place]) > 1000:
                self.spend(len(values[place]) // 1000)
            return function(*values, **options)

        if mark is not None:
            paid.jinja_pass_arg = mark  # type: ignore[attr-defined]
        return paid

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Fields of a mapping; a few methods of texts and dates; what Jinja's own objects offer."""
        kind = type(obj)
        if kind is dict or isinstance(obj, Mapping):
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if isinstance(obj, StrictUndefined):
            return obj._fail_with_undefined_error()
        if kind is str and attribute in _STR_METHODS:
            return getattr(obj, attribute)
        if isinstance(obj, date | time | timedelta) and attribute in _DATE_NAMES:
            return getattr(obj, attribute)
        if isinstance(obj, _RUNTIME) or kind.__name__ == "TemplateModule":
            return super().getattr(obj, attribute)
        return self.undefined(
            f"{attribute!r} of a {kind.__name__} cannot be used in a template",
            obj=obj,
            name=attribute,
            exc=SecurityError,
        )

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An element, never an attribute."""
        if isinstance(obj, StrictUndefined):
            return obj._fail_with_undefined_error()
        if isinstance(obj, Mapping | list | tuple | str | range):
            try:
                return obj[argument]
            except (TypeError, LookupError):
                pass
        return self.undefined(obj=obj, name=argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls something, and counts it."""
        __self.spend(1 + _size(getattr(__obj, "__self__", 0)) // 1000)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``+ * ** %`` within bounds that are checked before memory is taken."""
        numbers = all(isinstance(x, int | float) for x in (left, right))
        if operator == "%" and not numbers:
            raise TypeError("% divides numbers only; put texts together with ~")
        if operator == "**" and (not numbers or abs(right) > 64 or abs(left) > 2**32):
            raise OverflowError("** takes numbers, exponents up to 64")
        if operator == "*" and numbers and max(abs(left), abs(right)) > 2**64:
            raise OverflowError("numbers beyond 2**64 cannot be multiplied")
        if operator in "+*" and not numbers:
            size = _size(left) * _size(right) if operator == "*" else _size(left) + _size(right)
            if size > MAX_TEXT:
                raise TooLong(f"{operator} would make more than {MAX_TEXT:,} characters")
            self.spend(size // 1000)
        return super().call_binop(context, operator, left, right)


def _size(value: Any) -> int:
    if isinstance(value, int):
        return max(int(value), 0)
    return len(value) if isinstance(value, str | list | tuple | bytes) else 1


@pass_environment
def _count_steps(environment: PromptEnvironment, values: Iterable[Any]) -> list[Any]:
    """The values of a loop as a list, its rounds paid for in advance."""
    rounds = list(islice(values, environment.steps + 1))
    environment.spend(len(rounds) + 1)
    return rounds


def _rewrite(tree: nodes.Template) -> None:
    """Counts loops, bounds ``~``, and turns ``{{ self.item() }}`` into a slot."""
    for loop in tree.find_all(nodes.For):
        loop.iter = _filter(loop.iter, "_steps")
    for output in tree.find_all(nodes.Output):
        output.nodes = [
            nodes.Name(SLOT, "load", lineno=n.lineno) if _is_slot(n) else n for n in output.nodes
        ]
    _replace_concat(tree)


def _replace_concat(node: nodes.Node) -> None:
    for field, value in node.iter_fields():
        if isinstance(value, list):
            setattr(node, field, [_bounded(v) for v in value])
        elif isinstance(value, nodes.Node):
            setattr(node, field, _bounded(value))
    for child in node.iter_child_nodes():
        _replace_concat(child)


def _bounded(node: Any) -> Any:
    if not isinstance(node, nodes.Concat):
        return node
    return _filter(nodes.List(node.nodes, lineno=node.lineno), "_join")


def _filter(node: nodes.Node, name: str) -> nodes.Filter:
    assert isinstance(node, nodes.Expr)
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _is_slot(node: nodes.Expr) -> bool:
    return (
        isinstance(node, nodes.Call)
        and isinstance(node.node, nodes.Getattr)
        and isinstance(node.node.node, nodes.Name)
        and node.node.node.name == "self"
        and node.node.attr == "item"
        and not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
    )
