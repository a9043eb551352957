"""Templates: loaded with all they extend and import, checked whole, rendered block by block."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jinja2
from jinja2 import nodes

from promptrank.basics.hints import near_names
from promptrank.errors import RowError, TemplateError
from promptrank.prompt import analysis
from promptrank.prompt.filters import MAX_TEXT, NotPlain, NotText, TooLong, text_of
from promptrank.prompt.sandbox import MAX_STEPS, SLOT, Absent, PromptEnvironment
from promptrank.prompt.template_checks import GIVEN, check_files

SLOT_TEXT = "\x00item\x00"
"""Stands for the item's own fragment among rendered pieces; known by identity, not by content."""

_FAULTS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True)
class Template:
    """A template's source and what its blocks use.

    Attributes:
        name: as the task gives it.
        sources: file -> text: the template itself and all that it extends, imports and includes.
        uses: block -> what it uses; only blocks that exist.
        files: block -> the file that defines it.
        digest: SHA-256 over ``sources``.
    """

    name: str
    sources: Mapping[str, str]
    uses: Mapping[str, analysis.Use]
    files: Mapping[str, str]
    digest: str

    def bind(self, constants: Mapping[str, Any]) -> "Renderer":
        """Compiles the template with the task's constants (``vars``)."""
        return Renderer(self, constants)


def load_template(name: str, search_paths: Sequence[str | Path]) -> Template:
    """Reads a template and checks all that can be known without data.

    ``search_paths`` are folders of templates, first one first; a file's parent or macros may come
    from another folder than the file itself. Every problem found is in one `TemplateError`.
    """
    loader = jinja2.FileSystemLoader([str(p) for p in search_paths], encoding="utf-8-sig")
    environment = PromptEnvironment(loader=loader)
    sources: dict[str, str] = {}
    trees: dict[str, nodes.Template] = {}
    _read(name, environment, sources, trees, None)
    chain = _chain(name, trees)
    problems = check_files(chain, trees, environment)
    if problems:
        raise TemplateError("\n".join(f"template {p}" for p in problems))
    top = set().union(*(analysis.top_names(trees[file]) for file in chain))
    uses, files = {}, {}
    for block in GIVEN:
        overriding = [
            (node, file)
            for file in chain
            for node in trees[file].body
            if isinstance(node, nodes.Block) and node.name == block
        ]
        if overriding:
            nodes_of, files_of = zip(*overriding, strict=True)
            uses[block] = analysis.use_of(nodes_of, trees, files_of, top)
            files[block] = files_of[0]
    digest = hashlib.sha256()
    for file, source in sorted(sources.items()):
        digest.update(f"{file}\0{len(source)}\0{source}\0".encode("utf-8", "surrogatepass"))
    return Template(name, sources, uses, files, digest.hexdigest())


def _read(
    name: str,
    environment: PromptEnvironment,
    sources: dict[str, str],
    trees: dict[str, nodes.Template],
    by: str | None,
) -> None:
    """Reads and parses a file and all that it refers to."""
    if name in trees:
        return
    assert environment.loader is not None
    try:
        source, path, _ = environment.loader.get_source(environment, name)
        sources[name] = source
        trees[name] = environment._parse(source, name, path)
        environment.compile(source, name, path)
    except jinja2.TemplateNotFound:
        raise TemplateError(_not_found(name, environment, by)) from None
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {name}:{error.lineno}: {error.message}") from None
    except UnicodeDecodeError as error:
        raise TemplateError(
            f"template {name}: not UTF-8 ({error.reason}); save it as UTF-8"
        ) from None
    except RecursionError:
        raise TemplateError(f"template {name}: nested too deeply; write it flatter") from None
    for node in analysis.references(trees[name]):
        target = analysis.target(node)
        if target is None:
            raise TemplateError(
                f"template {name}:{node.lineno}: the file to extend, import or include must be "
                "written out, not computed"
            )
        _read(target, environment, sources, trees, f"{name}:{node.lineno}")


def _not_found(name: str, environment: PromptEnvironment, by: str | None) -> str:
    loader = environment.loader
    assert isinstance(loader, jinja2.FileSystemLoader)
    names = near_names(name, environment.list_templates(), 3)
    message = f"template {name}: not found"
    message += f" (wanted by {by})" if by else ""
    message += f" in {', '.join(loader.searchpath) or 'no folder'}"
    return message + (f"; did you mean {' or '.join(names)}?" if names else "")


def _chain(name: str, trees: Mapping[str, nodes.Template]) -> list[str]:
    """The file, what it extends, what that extends, and so on."""
    chain = [name]
    while (parent := trees[chain[-1]].find(nodes.Extends)) is not None:
        target = analysis.target(parent)
        assert target is not None, "checked by _read"
        if target in chain:
            raise TemplateError(f"template {chain[-1]}: extends {target}, which extends it")
        chain.append(target)
    return chain


class Renderer:
    """Compiled blocks of a template. Not for use by several threads at once.

    Jinja renders whole templates; blocks alone would lack macros, imports and the blocks they
    override. So the template is run once with every block replaced by nothing, which leaves its
    macros in the context, and each block is then called with a context that shares them.
    """

    def __init__(self, template: Template, constants: Mapping[str, Any]) -> None:
        self.template = template
        environment = PromptEnvironment(loader=jinja2.DictLoader(dict(template.sources)))
        environment.globals["vars"] = MappingProxyType(dict(constants))
        self._environment = environment
        compiled = environment.get_template(template.name)
        base = compiled.new_context({SLOT: SLOT_TEXT})
        own = {block: list(base.blocks.get(block, ())) for block in template.uses}
        base.blocks = {block: [_nothing, *own[block]] for block in own}
        try:
            for _ in compiled.root_render_func(base):
                pass
        except _FAULTS as error:
            raise TemplateError(f"template {template.name}: {error}") from None
        blocks = {block: functions[1:] for block, functions in base.blocks.items()}
        self._calls = {}
        for block, functions in blocks.items():
            context = compiled.new_context({SLOT: SLOT_TEXT})
            context.vars = base.vars
            context.blocks = blocks
            context.parent = dict(context.parent)
            self._calls[block] = (functions[0], context, context.parent)

    def render(self, block: str, values: Mapping[str, Any]) -> list[str]:
        """The block's text in pieces; the piece that *is* `SLOT_TEXT` stands for the item.

        ``values`` must name the same variables on every call of a block. Faults are `RowError`:
        ``undefined``, ``null``, ``too_long_text`` or ``template``.
        """
        function, context, variables = self._calls[block]
        variables.update(values)
        environment = self._environment
        environment.steps = MAX_STEPS
        try:
            pieces = list(function(context))
        except _FAULTS as error:
            raise self._fault(block, values, error) from None
        if sum(map(len, pieces)) > MAX_TEXT:
            raise self._fault(block, values, TooLong(f"more than {MAX_TEXT:,} characters"))
        return pieces

    def _fault(self, block: str, values: Mapping[str, Any], error: Exception) -> RowError:
        where = f"template {self.template.files[block]}, block {block}"
        if isinstance(error, NotText):
            name = self._null(block, values)
            what = f"{name or 'an expression'} is {error}"
            if isinstance(error, NotPlain):
                return RowError("not_plain", f"{where}: {what}")
            name = name or "x"
            return RowError(
                "null",
                f"{where}: {what}; guard it: {{% if {name} is not none %}}...{{% endif %}}, or "
                f'{{{{ {name} or "unknown" }}}}',
            )
        if isinstance(error, TooLong):
            return RowError("too_long_text", f"{where}: {error}; shorten the field in the data")
        if isinstance(error, jinja2.UndefinedError):
            return RowError("undefined", f"{where}: {error.message}")
        if isinstance(error, RecursionError):
            return RowError("template", f"{where}: a macro calls itself without end")
        return RowError("template", f"{where}: {error}")

    def _null(self, block: str, values: Mapping[str, Any]) -> str | None:
        """The first path of the block whose value cannot be written out."""
        for path in sorted(self.template.uses[block].paths):
            root, _, name = path.partition(".")
            value = values.get(root, "")
            if name:
                value = value.get(name, "") if isinstance(value, Mapping) else ""
            try:
                if not isinstance(value, Absent):
                    text_of(value)
            except NotText:
                return path
        return None


def _nothing(context: Any) -> Any:
    return iter(())


def absent(hint: str) -> Absent:
    """A variable that the request does not have: false, and else an error that says ``hint``."""
    return Absent(hint)
