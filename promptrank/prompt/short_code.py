"""How prompts' templates become Python: with short ways for the commonest values.

Most of what templates do is write texts, look up fields, and reckon with decimal numbers. Each is a
call or several, through the sandbox and its meter, which look at what they are given and find
nothing to refuse and nothing to charge. So that look is written out where the value is used, and
only other values make the call:

    (t_1 if type(t_1 := ...) is str else printed(t_1, "item.title"))

What comes out is the same: a short way is taken for values of exactly one type, with which the
operation costs no more than its place in the template, and fails as it does on the long way.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes
from jinja2.compiler import Frame

from promptrank.prompt.metered_nodes import PRINT, Unfolded

_OPERATORS = frozenset(("+", "-", "*", "/", "//", "%"))
_SAFE = 2**53  # what is smaller is far from every bound for whole numbers
_FEW = 4  # members of a list that is written out
_DEEP = 20  # short ways within each other: Python reads so many brackets, and no more

# Of one value: {0} is its name, and {1} what gives it, which has to come first.
_TEXT = "type({0} := {1}) is str"
_FLOAT = "type({0} := {1}) is float"
_NUMBER = _FLOAT + f" or type({{0}}) is int and -{_SAFE} < {{0}} < {_SAFE}"


@dataclass(frozen=True, slots=True)
class _Short:
    """A short way, for parts of an expression that all pass a test.

    Attributes:
        parts: numbers that are written out need no test.
        made: Python for it, of the names of the parts.
        whole: the expression, of other nodes in place of the parts.
    """

    parts: Sequence[nodes.Expr]
    test: str
    made: Callable[[list[str]], str]
    whole: Callable[[list[nodes.Expr]], nodes.Expr]


class ShortCode(Unfolded):
    """See the module's docstring; for an environment that prints texts and looks up fields only."""

    _depth = 0

    def visit_Filter(self, node: nodes.Filter, frame: Frame) -> None:
        """``value | name``."""
        self._written(node, frame, _filter(node))

    def visit_Getattr(self, node: nodes.Getattr, frame: Frame) -> None:
        """``value.name``."""
        self._written(node, frame, _field(node))

    def visit_Test(self, node: nodes.Test, frame: Frame) -> None:
        """``value is name``."""
        looked_up = isinstance(node.node, nodes.Name | nodes.Getattr | nodes.Getitem)
        if node.name != "none" or not looked_up:
            return super().visit_Test(node, frame)
        self.write("(")
        self.visit(node.node, frame)
        self.write(" is None)")

    def _operation(self, node: nodes.BinExpr, frame: Frame) -> None:
        self._written(node, frame, _operation(node))

    visit_Add = visit_Sub = visit_Mul = visit_Div = visit_FloorDiv = visit_Mod = _operation

    def _written(self, node: nodes.Expr, frame: Frame, short: _Short | None) -> None:
        """An expression, with its short way if it has one."""
        if short is None or self._depth == _DEEP or all(map(_is_number, short.parts)):
            return self._at_length(node, frame)
        self._depth += 1
        names = [
            repr(part.as_const()) if _is_number(part) else self.temporary_identifier()
            for part in short.parts
        ]
        named = list(zip(names, short.parts, strict=True))
        self.write(f"({short.made(names)} if ")
        before, behind = short.test.split("{1}")
        for place, (name, part) in enumerate(each for each in named if not _is_number(each[1])):
            # Not `and`: all of them are there then, whichever way it goes.
            self.write(" & (" if place else "(")
            self.write(before.format(name))
            self.visit(part, frame)
            self.write(behind.format(name) + ")")
        self.write(" else ")
        parts = [part if _is_number(part) else _named(name) for name, part in named]
        whole = short.whole(parts).set_lineno(node.lineno)
        self._at_length(whole.set_environment(self.environment), frame)
        self.write(")")
        self._depth -= 1

    def _at_length(self, node: nodes.Node, frame: Frame) -> None:
        getattr(super(), f"visit_{type(node).__name__}")(node, frame)

    # -- what is written ---------------------------------------------------------------------

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        printed = isinstance(node, nodes.Filter) and node.name == PRINT
        plain = not (frame.eval_ctx.volatile or frame.eval_ctx.autoescape or finalize.src)
        if printed and plain:
            self.write("(")  # it is a text: no need for str()
        else:
            super()._output_child_pre(node, frame, finalize)


def _filter(node: nodes.Filter) -> _Short | None:
    value, name, args = node.node, node.name, node.args
    if value is None or node.kwargs or node.dyn_args or node.dyn_kwargs:
        return None

    def whole(parts: list[nodes.Expr]) -> nodes.Expr:
        return nodes.Filter(parts[0], name, args, [], None, None)

    if name == PRINT:
        return _Short([value], _TEXT, lambda names: names[0], whole)
    if name == "round" and (places := _places(args)) is not None:
        test = _FLOAT + " and {0} == {0}"
        return _Short([value], test, lambda names: f"round({names[0]}, {places})", whole)
    if name == "int" and not args:
        test = _FLOAT + f" and -{_SAFE} < {{0}} < {_SAFE}"
        return _Short([value], test, lambda names: f"int({names[0]})", whole)
    listed = value.items if isinstance(value, nodes.List) else []
    if name in ("min", "max") and not args and 2 <= len(listed) <= _FEW:
        return _Short(
            listed,
            _NUMBER,
            lambda names: f"{name}({', '.join(names)})",
            lambda parts: whole([nodes.List(parts)]),
        )
    return None


def _field(node: nodes.Getattr) -> _Short:
    field = repr(node.attr)
    return _Short(
        [node.node],
        f"type({{0}} := {{1}}) is dict and {field} in {{0}}",
        lambda names: f"{names[0]}[{field}]",
        lambda parts: nodes.Getattr(parts[0], node.attr, node.ctx),
    )


def _operation(node: nodes.BinExpr) -> _Short | None:
    """With decimal numbers, of which one may be a number that is written out."""
    if node.operator not in _OPERATORS:
        return None
    return _Short(
        [node.left, node.right],
        _FLOAT,
        f" {node.operator} ".join,
        lambda sides: type(node)(*sides),
    )


def _places(args: Sequence[nodes.Expr]) -> int | None:
    """What a rounding without anything odd is rounded to."""
    if not args:
        return 0
    places = args[0].value if isinstance(args[0], nodes.Const) else None
    return places if len(args) == 1 and type(places) is int and 0 <= places <= 15 else None


def _is_number(node: nodes.Expr) -> bool:
    """Whether it is a number that is written out, and of a usual size."""
    if not isinstance(node, nodes.Const) or type(node.value) not in (int, float):
        return False
    return math.isfinite(node.value) and abs(node.value) < _SAFE


def _named(name: str) -> nodes.Expr:
    """What has this name in the Python that is written."""
    node = object.__new__(nodes.InternalName)  # as Jinja's parser makes them, and nobody else can
    nodes.Node.__init__(node, name)
    return node
