"""A Jinja environment in which work and memory are paid for before they are spent.

A template is a program: without bounds one line runs for hours or fills the memory. Here every
block has a budget of *units*, about as many characters, and whatever costs more than its own place
in the template draws on it first: rounds of loops and calls, long bodies of loops and macros, texts
and lists that are made, compared, sorted, searched, sliced or hashed. What nothing can bound
beforehand is not offered. So a template ends within a second or so, on any machine at the same
place, and honest ones never notice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

from jinja2 import Undefined, nodes
from jinja2.exceptions import TemplateRuntimeError
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from promptrank.prompt.bounded_operations import MEMBER, NUMBERS, bounded_operation
from promptrank.prompt.bounded_tests import COMPARISONS, LARGEST, bounded_tests, small
from promptrank.prompt.metered_nodes import PRINT, Unfolded, rewrite
from promptrank.prompt.printing import MAX_TEXT, TooLong

STEP = 1000
"""Units of one loop round or call, and of a thousand characters."""

MAX_STEPS = 20_000
"""Loop rounds and calls that one block may take."""

MAX_UNITS = MAX_STEPS * STEP
MADE = 64
"""Units of a member of a list that is new, which may hold a new text."""

MOST_DEPTH = 50
"""Macros that may be called from each other, so that Python's own limit is never met."""


_SCOPES = frozenset(("_block_vars", "_loop_vars"))  # what Jinja itself adds to every call


class MeteredEnvironment(ImmutableSandboxedEnvironment):
    """See the module's docstring. Not for use by several threads at once: it counts.

    Attributes:
        units: what is left of the budget; `refill` before a render.
    """

    code_generator_class = Unfolded
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "**", "%"))

    def __init__(self, filters: Mapping[str, Callable[..., Any]], **options: Any) -> None:
        super().__init__(
            autoescape=False,
            # A tag on its own line leaves no line behind.
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            auto_reload=False,
            **options,
        )
        self.units = MAX_UNITS
        self._depth = 0
        self._sizes: dict[str | None, int] = {}
        self.concat = self._concat  # type: ignore[method-assign]
        self.filters = {name: self._paid(function) for name, function in filters.items()}
        self.filters |= {
            "!steps": self._rounds,
            "!pay": self.pay,
            "!key": self._key,
            "!slice": self._slice,
            "!compare": self._compare,
            "!join": self.put_together,
            PRINT: self.printed,
        }
        self.tests = TESTS | dict(bounded_tests(self._compare))

    # -- the budget --------------------------------------------------------------------------

    def refill(self) -> None:
        """A full budget, for the next render."""
        self.units = MAX_UNITS

    def pay(self, units: int) -> None:
        """Takes units from the budget of what is being rendered."""
        self.units -= units
        if self.units < 0:
            raise TemplateRuntimeError(
                f"more than {MAX_STEPS:,} loop rounds and calls, or as much other work, in one "
                "block; loop over less"
            )

    def weight(self, value: Any) -> int:
        """Units of looking at all of a value; stops counting where the budget would end."""
        kind = type(value)
        if kind is str:
            return len(value)
        if kind is int or kind is float or kind is bool or value is None:
            return 1
        if kind is list and len(value) < 100:  # most often, and quickly told
            total = MEMBER * (1 + len(value))
            left = []
            for part in value:
                kind = type(part)
                if kind is str:
                    total += len(part)
                elif kind is int or kind is float:
                    total += MEMBER
                elif part is not None:
                    left.append(part)
            if not left:
                return total
        else:
            total, left = 0, [value]
        enough = self.units
        while left and total <= enough:
            part = left.pop()
            if isinstance(part, str | bytes):
                total += len(part)
            elif isinstance(part, list | tuple | set | frozenset):
                total += MEMBER * (1 + len(part))
                left += part
            elif isinstance(part, Undefined):
                total += 1
            elif isinstance(part, Mapping):
                total += 2 * MEMBER * (1 + len(part))
                left += part.keys()
                left += part.values()
            else:
                sized = isinstance(part, Sized) and not isinstance(part, LoopContext)
                total += MEMBER * (1 + len(part)) if sized else MEMBER
        return total

    def pay_for(self, made: Any) -> Any:
        """What was made, paid for; what would be made bit by bit becomes a list."""
        kind = type(made)
        if kind is float:
            return made
        if kind is str:
            self.pay(len(made))
            return made
        if kind is int:
            if not -LARGEST < made < LARGEST:
                small(made)
            return made
        if isinstance(made, Iterator) and not isinstance(made, LoopContext):
            made = list(islice(made, self.units // MADE + 1))
        if isinstance(made, list | tuple):
            self.pay(MADE * len(made))
        elif isinstance(made, str | bytes):
            self.pay(len(made))
        elif isinstance(made, dict):
            self.pay(2 * MADE * len(made))
        return made

    # -- what templates say ------------------------------------------------------------------

    def put_together(self, values: Iterable[Any], names: Iterable[str] = ()) -> str:
        """``a ~ b``; ``names`` are the expressions as they are written."""
        raise NotImplementedError

    def printed(self, value: Any, name: str) -> Any:
        """``{{ value }}``; ``name`` is the expression as it is written."""
        raise NotImplementedError

    def _concat(self, pieces: Iterable[str]) -> str:
        if type(pieces) is list and len(pieces) <= self.units:
            texts = pieces
        else:
            texts = list(islice(pieces, self.units + 1))
        length = sum(map(len, texts))
        if length > MAX_TEXT:
            raise TooLong(f"a text of {length:,} characters; the limit is {MAX_TEXT:,}")
        self.pay(length)
        return "".join(texts)

    def _rounds(self, values: Iterable[Any], size: int = 0) -> list[Any]:
        """The values of a loop as a list, its rounds paid for in advance."""
        rounds = list(islice(values, self.units // STEP + 1))
        self.pay((STEP + size) * len(rounds) + STEP)
        return rounds

    def _key(self, key: Any) -> Any:
        """A key of a dict, whose hash looks at all of it."""
        self.pay(self.weight(key))
        return key

    def _slice(self, value: Any, *bounds: Any) -> Any:
        part = slice(*bounds)
        if isinstance(value, str | list | tuple | range):
            self.pay(MEMBER * len(range(*part.indices(len(value)))))
        return value[part]

    def _compare(self, left: Any, operators: Iterable[str], *others: Any) -> Any:
        """``a < b <= c``, as Python does it."""
        result: Any = True
        for name, right in zip(operators, others, strict=True):
            self._pay_comparison(name, left, right)
            result = COMPARISONS[name](left, right)
            if not result:
                return result
            left = right
        return result

    def _pay_comparison(self, name: str, left: Any, right: Any) -> None:
        if name not in ("in", "notin"):
            cost = self.weight(left)
            if cost > MEMBER:
                self.pay(min(cost, self.weight(right)))
        elif isinstance(right, str):
            self.pay(4 * len(right) + self.weight(left))
        elif isinstance(right, Mapping):
            self.pay(self.weight(left))
        elif not isinstance(right, range) or not isinstance(left, int):
            self.pay(self.weight(right))

    def _paid(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that pays for what it looks at and for what it makes."""
        mark = getattr(function, "jinja_pass_arg", None)
        factor = getattr(function, "units", 1)

        def charge(value: Any, others: tuple[Any, ...], options: Mapping[str, Any]) -> None:
            units = factor * self.weight(value)
            if others or options:
                units += sum(map(self.weight, (*others, *options.values())))
            self.pay(units)

        def paid(value: Any, *others: Any, **options: Any) -> Any:
            if type(value) not in NUMBERS or others or options or self.units < factor:
                charge(value, others, options)
            else:  # most often, and quickly told
                self.units -= factor
            return self.pay_for(function(value, *others, **options))

        def paid_behind(passed: Any, value: Any, *others: Any, **options: Any) -> Any:
            charge(value, others, options)
            return self.pay_for(function(passed, value, *others, **options))

        if mark is None:
            return paid
        paid_behind.jinja_pass_arg = mark  # type: ignore[attr-defined]
        return paid_behind

    def call_filter(self, name: str, *others: Any, **options: Any) -> Any:
        """A filter by a name that was computed, as `map` does."""
        if name.startswith("!"):
            raise TemplateRuntimeError(f"No filter named {name!r}.")
        return super().call_filter(name, *others, **options)

    def get_template(self, name: Any, *others: Any, **options: Any) -> Any:
        """A file that is included, imported or extended: its size is paid for."""
        template = super().get_template(name, *others, **options)
        self.pay(STEP + self._sizes.get(template.name, 0))
        return template

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls something, and counts it."""
        __self.pay(STEP + MEMBER * len(args))
        if isinstance(__obj, Macro):
            __self._depth += 1
            try:
                if __self._depth > MOST_DEPTH:
                    raise TemplateRuntimeError(
                        f"macros call each other more than {MOST_DEPTH} deep; write it flatter"
                    )
                if _plain_call(__context, __obj, args, kwargs):
                    return __obj._func(*args)
                return super().call(__context, __obj, *args, **kwargs)
            finally:
                __self._depth -= 1
        if isinstance(__obj, LoopContext) and args:
            args = (__self._rounds(args[0]), *args[1:])
        owner = getattr(__obj, "__self__", None)
        __self.pay(4 * __self.weight(owner))
        for value in (*args, *kwargs.values()):
            __self.pay(__self.weight(value))
            if isinstance(value, str) and isinstance(owner, str) and len(value) > 8:
                # Each character is looked for among those that strip() takes away.
                __self.pay(len(value) * len(owner) // 8)
        return __self.pay_for(super().call(__context, __obj, *args, **kwargs))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """``+ - * / // ** %`` within bounds that are checked before memory is taken."""
        if units := bounded_operation(operator, left, right):
            self.pay(units)
        return self.binop_table[operator](left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        self._sizes[name] = rewrite(tree)
        tree.set_environment(self)
        return tree


def _plain_call(
    context: Context, macro: Macro, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bool:
    """Whether every parameter has its argument by place: the macro's function may be called itself.

    Most calls are such, and sorting out their arguments costs more than what most macros do.
    """
    return (
        len(args) == len(macro.arguments)
        and not (macro.catch_kwargs or macro.catch_varargs or macro.caller)
        and kwargs.keys() <= _SCOPES
        and not context.eval_ctx.autoescape
        and type(macro) is Macro
    )
