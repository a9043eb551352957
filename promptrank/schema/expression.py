"""Score expressions: arithmetic over questions, such as ``0.8*apply + 0.2*view``.

A language of its own, so that any question's name can be written, Python's words among them:
numbers, names, ``+ - * / ( )``, and ``min`` and ``max`` of one value or several where a bracket
follows. Nothing else can be written, so nothing else can run.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping

Value = Callable[[Mapping[str, float]], float]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))|(?P<name>[a-z][a-z0-9_]*(?!\w))"
    r"|(?P<sign>[-+*/(),]))",
    re.ASCII,
)
_SUMS = {"+": operator.add, "-": operator.sub}
_PRODUCTS = {"*": operator.mul, "/": operator.truediv}
_FUNCTIONS: Mapping[str, Callable[[list[float]], float]] = {"min": min, "max": max}
_ALLOWED = "numbers, question names, + - * / ( ), min() and max()"
_MOST_DEPTH = 50
_LONGEST = 10_000


class _Reader:
    """Reads an expression from left to right; `names` are those it has met."""

    def __init__(self, text: str) -> None:
        self._text, self._place, self._depth = text, 0, 0
        self.names: set[str] = set()
        if len(text) > _LONGEST:
            raise ValueError(f"an expression has at most {_LONGEST:,} characters")
        self._next()

    def whole(self) -> Value:
        """The expression up to the end of the text."""
        value = self._sum()
        if self._kind:
            raise self._error()
        return value

    def _next(self) -> None:
        self._start = self._place
        match = _TOKEN.match(self._text, self._place)
        if match is None:
            if self._text[self._place :].strip():
                raise self._error()
            self._kind, self._token = "", ""
            return
        self._place = match.end()
        self._kind = match.lastgroup or ""
        self._token = match.group(self._kind)

    def _error(self) -> ValueError:
        here = self._text[self._start :].strip()
        what = f"{here[:30]!r} is not allowed there" if here else "it ends too early"
        shown = self._text if len(self._text) <= 200 else self._text[:200] + "..."
        return ValueError(f"cannot read {shown!r}: {what}; allowed: {_ALLOWED}")

    def _take(self, sign: str) -> None:
        if self._kind != "sign" or self._token != sign:
            raise self._error()
        self._next()

    def _chain(self, part: Callable[[], Value], signs: Mapping[str, Callable[..., float]]) -> Value:
        first, others = part(), []
        while self._kind == "sign" and self._token in signs:
            combine = signs[self._token]
            self._next()
            others.append((combine, part()))
        if not others:
            return first

        def value(given: Mapping[str, float]) -> float:
            total = first(given)
            for combine, other in others:
                total = combine(total, other(given))
            return total

        return value

    def _sum(self) -> Value:
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError(f"brackets more than {_MOST_DEPTH} deep; write it flatter")
        value = self._chain(lambda: self._chain(self._signed, _PRODUCTS), _SUMS)
        self._depth -= 1
        return value

    def _signed(self) -> Value:
        negative = False
        while self._kind == "sign" and self._token in "+-":
            negative ^= self._token == "-"
            self._next()
        value = self._one()
        return (lambda given: -value(given)) if negative else value

    def _one(self) -> Value:
        kind, token = self._kind, self._token
        if kind == "number":
            number = float(token)
            if math.isinf(number):
                raise ValueError(f"{token[:30]} is too large; write a number below 1e308")
            self._next()
            return lambda given: number
        if kind == "name":
            self._next()
            if token in _FUNCTIONS and (self._kind, self._token) == ("sign", "("):
                return self._call(_FUNCTIONS[token])
            self.names.add(token)
            return lambda given: given[token]
        self._take("(")
        value = self._sum()
        self._take(")")
        return value

    def _call(self, function: Callable[[list[float]], float]) -> Value:
        self._take("(")
        values = [self._sum()]
        while (self._kind, self._token) == ("sign", ","):
            self._next()
            values.append(self._sum())
        self._take(")")
        return lambda given: function([value(given) for value in values])


def names_in(text: str) -> set[str]:
    """The names an expression uses; ValueError where it uses anything that is not allowed."""
    reader = _Reader(text)
    reader.whole()
    return reader.names


def compile_expression(text: str) -> Callable[[Mapping[str, float]], float]:
    """A function from values by name to the expression's value.

    Raises:
        ValueError: on construction, where the text is not an allowed expression.
        ZeroDivisionError: on a call, where the expression divides by zero.
    """
    value = _Reader(text).whole()
    return lambda given: float(value(given))
