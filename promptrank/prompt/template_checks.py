"""Checks of a template that need no data: its blocks, what stands outside them, its names."""

import math
from collections.abc import Iterator, Mapping, Sequence

from jinja2 import nodes

from promptrank.basics.hints import near_names
from promptrank.prompt import analysis
from promptrank.prompt.metered_nodes import SLOT
from promptrank.prompt.sandbox import PromptEnvironment

_ITEM = frozenset({"item", "stats", "context"})
_SUBJECT = frozenset({"member", "query", "source", "now"})

GIVEN: Mapping[str, frozenset[str]] = {
    "instruction": _SUBJECT,
    "subject": _SUBJECT,
    "item": frozenset({"item"}),
    "event": _ITEM | {"event"},
    "candidate": _ITEM,
    "question": _ITEM | _SUBJECT | {"question"},
}
"""Block -> its variables; ``vars`` (the task's constants) is everywhere."""

SLOT_BLOCKS = ("event", "candidate", "question")
_OUTSIDE = (nodes.Block, nodes.Extends, nodes.FromImport, nodes.Import, nodes.Macro)
_BUFFERED = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock)


MOST_BRACKETS = 25
"""Brackets inside each other in an expression; Jinja's parser takes a dozen calls for each."""

MOST_DEPTH = 100
"""Tags and expressions inside each other. Far from Python's limit, which moves with the caller."""


def brackets(environment: PromptEnvironment, source: str) -> int:
    """How deep a file's brackets are nested."""
    if sum(map(source.count, "([{")) <= MOST_BRACKETS:
        return 0
    now = most = 0
    for _, kind, text in environment.lex(source):
        if kind == "operator":
            now += (text in ("(", "[", "{")) - (text in (")", "]", "}"))
            most = max(most, now)
    return most


def depth(tree: nodes.Template) -> int:
    """How deep a file's tags and expressions are nested."""
    level = 0
    here: list[nodes.Node] = list(tree.body)
    while here:
        level += 1
        here = [child for node in here for child in node.iter_child_nodes()]
    return level


def check_files(
    chain: Sequence[str], trees: analysis.Trees, environment: PromptEnvironment
) -> list[str]:
    """Problems of a template and all its files, each ``file:line: what; what to do``."""
    problems = [p for file, tree in trees.items() for p in _everywhere(file, tree, file in chain)]
    problems += [p for file, tree in trees.items() for p in _macros(file, tree, environment)]
    for file in chain:
        problems += _outside(file, trees[file])
    blocks = {
        node.name for file in chain for node in trees[file].body if isinstance(node, nodes.Block)
    }
    problems += [
        f"{chain[0]}: no block {name}; add {{% block {name} %}}...{{% endblock %}}"
        for name in ("candidate", "question")
        if name not in blocks
    ]
    if problems:
        return problems
    top = set().union(*(analysis.top_names(trees[file]) for file in chain))
    for place, file in enumerate(chain):
        for block in trees[file].find_all(nodes.Block):
            problems += _block(block, file, trees, top, environment, blocks, chain[place + 1 :])
    return problems


def _everywhere(file: str, tree: nodes.Template, blocks_allowed: bool) -> Iterator[str]:
    for node in analysis.parts(tree):
        at = f"{file}:{node.lineno}"
        if isinstance(node, nodes.Const) and _is_infinite(node.value):
            yield f"{at}: a number of this file is too large; write a smaller one"
        if isinstance(node, nodes.Import | nodes.FromImport) and node.with_context:
            yield f"{at}: import with context is not offered; hand macros what they need"
        elif isinstance(node, nodes.For) and node.recursive:
            yield f"{at}: recursive loops are not offered; write nested loops"
        elif isinstance(node, nodes.ScopedEvalContextModifier | nodes.EvalContextModifier):
            yield f"{at}: autoescape is not offered; prompts are plain text"
        elif isinstance(node, nodes.Name) and node.name == "self":
            yield f"{at}: of self only {{{{ self.item() }}}} by itself, unfiltered, is offered"
        elif isinstance(node, nodes.Block) and (not blocks_allowed or node not in tree.body):
            yield f"{at}: block {node.name} must stand at the top level, not inside something else"
        elif isinstance(node, nodes.Block) and node.name not in GIVEN:
            names = near_names(node.name, GIVEN)
            more = f"; did you mean {names[0]}?" if names else ""
            yield f"{at}: no block is called {node.name}; blocks: {', '.join(GIVEN)}{more}"
    yield from _slots(file, tree, None, False)


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and math.isinf(value)


def _slots(file: str, node: nodes.Node, block: str | None, direct: bool) -> Iterator[str]:
    """`self.item()` outside the three blocks, or where its text would be changed or kept."""
    for child in node.iter_child_nodes():
        inside = child.name if isinstance(child, nodes.Block) else block
        inside = None if isinstance(child, _BUFFERED) else inside
        misplaced = block not in SLOT_BLOCKS or not isinstance(node, nodes.Output)
        if isinstance(child, nodes.Name) and child.name == SLOT and misplaced:
            yield (
                f"{file}:{child.lineno}: {{{{ self.item() }}}} goes into the blocks "
                f"{', '.join(SLOT_BLOCKS)} only, unfiltered and outside macros and set"
            )
        yield from _slots(file, child, inside, direct)


def _macros(file: str, tree: nodes.Template, environment: PromptEnvironment) -> Iterator[str]:
    """Macros and template-level ``set`` see constants and each other, never a row."""
    known = analysis.top_names(tree) | {"vars"}
    given = frozenset().union(*GIVEN.values())
    for node in tree.body:
        if not isinstance(node, nodes.Macro | nodes.Assign | nodes.AssignBlock):
            continue
        what = f"macro {node.name}" if isinstance(node, nodes.Macro) else "set"
        for name in sorted(analysis.free_names([node], environment) - known):
            advice = "make it an argument" if what != "set" else "set it inside a block"
            yield f"{file}:{node.lineno}: {what} uses {name!r}, which it cannot see; {advice}"
    for name in sorted(analysis.top_names(tree) & (given | {"vars"})):
        yield f"{file}: {name!r} is given to blocks and cannot be defined; choose another name"


def _outside(file: str, tree: nodes.Template) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, nodes.Output):
            if all(isinstance(n, nodes.TemplateData) and not n.data.strip() for n in node.nodes):
                continue
        elif isinstance(node, (*_OUTSIDE, nodes.Assign, nodes.AssignBlock)):
            continue
        yield (
            f"{file}:{node.lineno}: this stands outside the blocks and would never be in a prompt; "
            "move it into a block"
        )


def _block(
    block: nodes.Block,
    file: str,
    trees: analysis.Trees,
    top: set[str],
    environment: PromptEnvironment,
    blocks: set[str],
    parents: Sequence[str],
) -> Iterator[str]:
    use = analysis.use_of([block], trees, [file], top)
    given = GIVEN[block.name]
    for name in sorted(use.names - given - {"vars", "super"}):
        names = near_names(name, sorted(given))
        more = f"; did you mean {names[0]}?" if names else ""
        uses = (n.lineno for n in block.find_all(nodes.Name) if n.name == name)
        at = f"{file}:{next(uses, block.lineno)}: block {block.name}"
        yield f"{at}: no variable {name!r}; it has {', '.join(sorted(given | {'vars'}))}{more}"
    at = f"{file}:{block.lineno}: block {block.name}"
    if use.slot and "item" not in blocks:
        yield f"{at}: self.item() needs a block item"
    if "super" in use.names and any(
        isinstance(n, nodes.Name) and n.name == SLOT
        for parent in parents
        for other in trees[parent].find_all(nodes.Block)
        if other.name == block.name
        for n in analysis.parts(other)
    ):
        # super() joins the parent's pieces, and the place of the item would be lost.
        yield f"{at}: super() of a block that holds self.item() is not offered; write it out"
