"""Score expressions: arithmetic over questions, such as ``0.8*apply + 0.2*view``.

Parsed with Python's own parser and limited to numbers, names, ``+ - * /``, ``min`` and ``max``;
nothing else can be written, so nothing else can run.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_FUNCTIONS: dict[str, Callable[..., float]] = {"min": min, "max": max}
_ALLOWED = "numbers, question names, + - * / ( ), min() and max()"


def _parse(text: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"cannot read {text!r}; allowed: {_ALLOWED}") from None


def _names(node: ast.expr, text: str) -> set[str]:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float()):
            return set()
        case ast.Name(id=name):
            return {name}
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=inner):
            return _names(inner, text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _names(left, text) | _names(right, text)
        case ast.Call(func=ast.Name(id="min" | "max"), args=args, keywords=[]) if args:
            return set().union(*(_names(a, text) for a in args))
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in {text!r}; allowed: {_ALLOWED}")


def names_in(text: str) -> set[str]:
    """The names an expression uses; ValueError where it uses anything that is not allowed."""
    return _names(_parse(text), text)


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=value):
            return float(value)  # type: ignore[arg-type]
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=op, operand=inner):
            operand = _value(inner, values)
            return -operand if isinstance(op, ast.USub) else operand
        case ast.BinOp(left=left, op=op, right=right):
            return float(_OPERATORS[type(op)](_value(left, values), _value(right, values)))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _FUNCTIONS[name](*(_value(a, values) for a in args))
    raise AssertionError(f"names_in lets nothing else through: {ast.dump(node)}")


def compile_expression(text: str) -> Callable[[Mapping[str, float]], float]:
    """A function from values by name to the expression's value.

    Raises:
        ValueError: on construction, where the text is not an allowed expression.
        ZeroDivisionError: on a call, where the expression divides by zero.
    """
    node = _parse(text)
    _names(node, text)
    return lambda values: _value(node, values)
