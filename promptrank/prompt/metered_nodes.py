"""A template's syntax tree with every costly expression sent through the meter.

Jinja compiles comparisons, slices, dicts and ``~`` to Python's own; here they become filters whose
names no template can write (`promptrank.prompt.metered`).
"""

from typing import Any

from jinja2 import nodes
from jinja2.compiler import CodeGenerator

SLOT = "_promptrank_item"
"""Name of the variable that ``{{ self.item() }}`` is turned into."""

PRINT = "!print"
"""The filter through which everything goes that is written."""

NODE = 50
"""Units of one node of a body that is longer than its round or call has paid for."""

_FREE = 20  # nodes that the round or the call itself pays for
_BODIES = (nodes.For, nodes.Macro, nodes.CallBlock)


class Unfolded(CodeGenerator):
    """A compiler that leaves all work to the render, where it is counted."""

    def _output_child_to_const(self, node: Any, frame: Any, finalize: Any) -> str:
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible()
        return super()._output_child_to_const(node, frame, finalize)


def rewrite(tree: nodes.Template) -> int:
    """Changes the tree in place, and says what running its top level costs, in units."""
    size = _sizes(tree)
    _Rewriting().children(tree)
    return NODE * size


def _sizes(node: nodes.Node) -> int:
    """Nodes that run when this one runs once; long bodies are made to pay for themselves."""
    count = 1
    for child in node.iter_child_nodes():
        size = _sizes(child)
        if not isinstance(child, _BODIES):
            count += size
        else:
            count += 1
            if size > _FREE:
                pay = nodes.Filter(
                    nodes.Const(NODE * size), "!pay", [], [], None, None, lineno=child.lineno
                )
                child.body.insert(0, nodes.ExprStmt(pay, lineno=child.lineno))
            if isinstance(child, nodes.For):
                test = 0 if child.test is None else NODE * _sizes(child.test)
                given = [nodes.Const(test)] if test > NODE * _FREE else []
                child.iter = _filter(child.iter, "!steps", *given)
    return count


class _Rewriting:
    def children(self, node: nodes.Node) -> None:
        output = isinstance(node, nodes.Output)
        for field, value in node.iter_fields():
            if isinstance(value, list):
                setattr(node, field, [self.operand(v, output) for v in value])
            elif isinstance(value, nodes.Node):
                setattr(node, field, self.operand(value, False))

    def operand(self, node: Any, output: bool) -> Any:
        if not isinstance(node, nodes.Node):
            return node
        if output and _is_slot(node):
            return nodes.Name(SLOT, "load", lineno=node.lineno)
        name = _short(node) if output or isinstance(node, nodes.Concat) else ""
        made = self._made(node)
        if output and not isinstance(node, nodes.TemplateData):
            made = _filter(made, PRINT, nodes.Const(name))
        return made

    def _made(self, node: nodes.Node) -> nodes.Node:
        if isinstance(node, nodes.Concat):
            names = nodes.Const(tuple(_short(n) for n in node.nodes))
            self.children(node)
            return _filter(nodes.List(node.nodes, lineno=node.lineno), "!join", names)
        self.children(node)
        if isinstance(node, nodes.Compare) and not _light(node):
            operators = nodes.Const(tuple(operand.op for operand in node.ops))
            return _filter(
                node.expr, "!compare", operators, *(operand.expr for operand in node.ops)
            )
        if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
            bounds = (node.arg.start, node.arg.stop, node.arg.step)
            given = [nodes.Const(None) if bound is None else bound for bound in bounds]
            return _filter(node.node, "!slice", *given)
        if isinstance(node, nodes.Pair) and not isinstance(node.key, nodes.Const):
            node.key = _filter(node.key, "!key")
        return node


def _light(node: nodes.Compare) -> bool:
    """Whether one side of each comparison is written out, so that it costs no more than that."""
    sides = [node.expr, *(operand.expr for operand in node.ops)]
    for place, operand in enumerate(node.ops):
        if operand.op in ("in", "notin"):
            if not _written_out(sides[place + 1]):
                return False
        elif not isinstance(sides[place], nodes.Const) and not isinstance(
            operand.expr, nodes.Const
        ):
            return False
    return True


def _written_out(node: nodes.Node) -> bool:
    if isinstance(node, nodes.List | nodes.Tuple):
        return all(isinstance(n, nodes.Const) for n in node.items)
    return isinstance(node, nodes.Const)


def _filter(node: nodes.Node, name: str, *given: nodes.Node) -> nodes.Filter:
    assert isinstance(node, nodes.Expr)
    arguments = [n for n in given if isinstance(n, nodes.Expr)]
    return nodes.Filter(node, name, arguments, [], None, None, lineno=node.lineno)


def _is_slot(node: nodes.Node) -> bool:
    return (
        isinstance(node, nodes.Call)
        and isinstance(node.node, nodes.Getattr)
        and isinstance(node.node.node, nodes.Name)
        and node.node.node.name == "self"
        and node.node.attr == "item"
        and not (node.args or node.kwargs or node.dyn_args or node.dyn_kwargs)
    )


def _short(node: nodes.Node) -> str:
    text = written(node)
    return text if len(text) <= 60 else text[:57] + "..."


def written(node: nodes.Node | None) -> str:
    """An expression about as the template writes it, for messages."""
    match node:
        case nodes.Name():
            return node.name
        case nodes.Const():
            return repr(node.value)
        case nodes.List():
            return f"[{', '.join(map(written, node.items))}]"
        case nodes.Getattr():
            return f"{written(node.node)}.{node.attr}"
        case nodes.Getitem() if isinstance(node.arg, nodes.Const):
            return f"{written(node.node)}[{written(node.arg)}]"
        case nodes.Filter() if not node.name.startswith("!"):
            return f"{written(node.node)} | {node.name}"
        case nodes.Call():
            return f"{written(node.node)}({', '.join(map(written, node.args))})"
        case nodes.Concat():
            return " ~ ".join(map(written, node.nodes))
        case nodes.BinExpr():
            return f"{written(node.left)} {node.operator} {written(node.right)}"
    return "an expression"
