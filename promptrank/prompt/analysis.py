"""What a template uses, read from its syntax tree: variables and their fields, per block.

Two views. `names` are the variables a block may look up in any way; caching rests on them, so they
are never too few. `paths` (``item.title``, ``event.age``) follow attributes through macros and
imports as far as the tree shows them; ``validate`` compares them with the fields of the tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jinja2 import meta, nodes

from promptrank.errors import TemplateError
from promptrank.prompt.metered_nodes import SLOT
from promptrank.prompt.sandbox import PromptEnvironment

Trees = Mapping[str, nodes.Template]

MOST_PARTS = 100_000
"""Expressions and tags of a block with all that its macros and includes unfold to."""


@dataclass(frozen=True)
class Use:
    """What one block uses.

    Attributes:
        names: variables looked up, without macros, imports and template-level ``set``.
        paths: the same with the fields that are visible in the tree; a bare ``item`` where all of
            it is handed on to something that the tree does not show.
        slot: whether it holds ``{{ self.item() }}``.
    """

    names: frozenset[str]
    paths: frozenset[str]
    slot: bool


def parts(node: nodes.Node) -> Iterator[nodes.Node]:
    """The node and everything below it."""
    yield node
    for child in node.iter_child_nodes():
        yield from parts(child)


def target(node: nodes.Node) -> str | None:
    """The file that an extends, import or include names; None for a computed name."""
    name = getattr(node, "template", None)
    return name.value if isinstance(name, nodes.Const) and isinstance(name.value, str) else None


def references(tree: nodes.Node) -> Iterator[nodes.Node]:
    """Extends, imports and includes."""
    kinds = (nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)
    return (node for node in parts(tree) if isinstance(node, kinds))


def top_names(tree: nodes.Template) -> set[str]:
    """Names that a file makes outside its blocks: macros, imports, ``set``."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, nodes.Macro):
            names.add(node.name)
        elif isinstance(node, nodes.Import):
            names.add(node.target)
        elif isinstance(node, nodes.FromImport):
            names |= {n if isinstance(n, str) else n[1] for n in node.names}
        elif isinstance(node, nodes.Assign | nodes.AssignBlock):
            names |= {n.name for n in parts(node.target) if isinstance(n, nodes.Name)}
    return names


def free_names(body: Sequence[nodes.Node], environment: PromptEnvironment) -> set[str]:
    """Names that these nodes look up from outside themselves."""
    tree = nodes.Template(list(body), lineno=1)
    tree.set_environment(environment)
    return meta.find_undeclared_variables(tree)


def use_of(chain: Sequence[nodes.Block], trees: Trees, files: Sequence[str], top: set[str]) -> Use:
    """What a block uses; ``chain`` is the block and those it overrides, ``files`` their files."""
    names: set[str] = set()
    paths: set[str] = set()
    left = [MOST_PARTS]
    for block, file in zip(chain, files, strict=True):
        walker = _Paths(trees, file, left=left)
        walker.bodies(block.body, {})
        paths |= walker.paths
        environment = block.environment
        assert isinstance(environment, PromptEnvironment)
        names |= free_names(block.body, environment)
        for file_of in _included(block, trees, {}):
            names |= free_names(trees[file_of].body, environment)
        if "super" not in {n.name for n in parts(block) if isinstance(n, nodes.Name)}:
            break
    return Use(
        frozenset(names - top - {SLOT}),
        frozenset(p for p in paths if p.partition(".")[0] in names - top - {"super"}),
        SLOT in names,
    )


def _included(tree: nodes.Node, trees: Trees, included: dict[str, None]) -> dict[str, None]:
    """The files that are included, by what is included too, each once."""
    for node in references(tree):
        name = target(node)
        if isinstance(node, nodes.Include) and name is not None and name not in included:
            included[name] = None
            _included(trees[name], trees, included)
    return included


@dataclass
class _Paths:
    """Walks expressions and follows macros; ``bound`` maps a local name to a path, or to None."""

    trees: Trees
    file: str
    paths: set[str] = field(default_factory=set)
    inside: tuple[str, ...] = ()
    left: list[int] = field(default_factory=lambda: [MOST_PARTS])

    def bodies(self, body: Sequence[nodes.Node], bound: Mapping[str, str | None]) -> None:
        local = dict(bound)
        for node in body:
            self.visit(node, local)

    def visit(self, node: nodes.Node, bound: dict[str, str | None]) -> None:
        self.left[0] -= 1
        if self.left[0] < 0:
            raise TemplateError(
                f"template {self.file}:{node.lineno}: the macros and includes of a block unfold to "
                f"more than {MOST_PARTS:,} parts; write it shorter"
            )
        if isinstance(node, nodes.For):
            self.visit(node.iter, bound)
            inner = dict(bound) | {"loop": None} | _locals(node.target)
            for part in (*node.body, *([node.test] if node.test else [])):
                self.visit(part, inner)
            self.bodies(node.else_, bound)
        elif isinstance(node, nodes.With):
            for value in node.values:
                self.visit(value, bound)
            inner = dict(bound)
            for place in node.targets:
                inner |= _locals(place)
            self.bodies(node.body, inner)
        elif isinstance(node, nodes.Assign | nodes.AssignBlock):
            for child in node.iter_child_nodes(exclude=("target",)):
                self.visit(child, bound)
            bound |= _locals(node.target)
        elif isinstance(node, nodes.Macro | nodes.CallBlock):
            inner = dict(bound) | {n.name: None for n in node.args} | dict.fromkeys(_MACRO)
            self.bodies(node.body, inner)
            if isinstance(node, nodes.CallBlock):
                self.visit(node.call, bound)
        elif isinstance(node, nodes.Call):
            self.call(node, bound)
        elif isinstance(node, nodes.Include):
            file = target(node)
            if file is not None and file not in self.inside:
                walker = _Paths(self.trees, file, self.paths, (*self.inside, file), self.left)
                walker.bodies(self.trees[file].body, bound)
        elif (path := self.path(node, bound)) is not None:
            self.paths.add(path)
        elif not isinstance(node, nodes.Name):
            for child in node.iter_child_nodes():
                self.visit(child, bound)

    def path(self, node: nodes.Node, bound: Mapping[str, str | None]) -> str | None:
        """``item.title`` for an attribute or constant subscript of a variable; no deeper."""
        if isinstance(node, nodes.Name):
            if node.name == SLOT:
                return None
            return bound.get(node.name, node.name)
        name: object = None
        if isinstance(node, nodes.Getattr):
            name = node.attr
        elif isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
            name = node.arg.value
        if not isinstance(name, str) or not isinstance(node, nodes.Getattr | nodes.Getitem):
            return None
        base = self.path(node.node, bound)
        return base if base is None or "." in base else f"{base}.{name}"

    def call(self, node: nodes.Call, bound: dict[str, str | None]) -> None:
        macro, file = self.macro(node.node)
        if macro is None or macro.name in self.inside or node.dyn_args or node.dyn_kwargs:
            for child in node.iter_child_nodes():
                self.visit(child, bound)
            return
        given: dict[str, nodes.Expr] = dict(
            zip((a.name for a in macro.args), node.args, strict=False)
        )
        given |= {k.key: k.value for k in node.kwargs}
        inner: dict[str, str | None] = dict.fromkeys((*_MACRO, *(a.name for a in macro.args)))
        for name, expression in given.items():
            inner[name] = self.path(expression, bound)
        for expression in (*node.args, *(k.value for k in node.kwargs)):
            if self.path(expression, bound) is None:
                self.visit(expression, bound)
            elif expression not in given.values() or not _declared(macro, given, expression):
                self.paths.add(str(self.path(expression, bound)))
        walker = _Paths(self.trees, file, self.paths, (*self.inside, macro.name), self.left)
        walker.bodies(macro.body, inner)

    def macro(self, node: nodes.Node) -> tuple[nodes.Macro | None, str]:
        """The macro that is called, if the tree shows it, and its file."""
        tree = self.trees.get(self.file)
        for top in tree.body if tree is not None else ():
            if isinstance(node, nodes.Name):
                if isinstance(top, nodes.Macro) and top.name == node.name:
                    return top, self.file
                if isinstance(top, nodes.FromImport):
                    for given in top.names:
                        name, alias = (given, given) if isinstance(given, str) else given
                        if alias == node.name:
                            return self.named(target(top), name)
            elif (
                isinstance(node, nodes.Getattr)
                and isinstance(top, nodes.Import)
                and isinstance(node.node, nodes.Name)
                and node.node.name == top.target
            ):
                return self.named(target(top), node.attr)
        return None, self.file

    def named(self, file: str | None, name: str) -> tuple[nodes.Macro | None, str]:
        tree = self.trees.get(file or "")
        for node in tree.body if tree is not None else ():
            if isinstance(node, nodes.Macro) and node.name == name:
                return node, file or ""
        return None, self.file


_MACRO = ("varargs", "kwargs", "caller")


def _declared(macro: nodes.Macro, given: Mapping[str, nodes.Expr], expression: nodes.Expr) -> bool:
    declared = {a.name for a in macro.args}
    return any(name in declared for name, value in given.items() if value is expression)


def _locals(node: nodes.Node) -> dict[str, str | None]:
    return {n.name: None for n in parts(node) if isinstance(n, nodes.Name)}
