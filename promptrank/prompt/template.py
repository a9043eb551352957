"""Templates: loaded with all they extend and import, checked whole, rendered block by block."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType, MappingProxyType
from typing import Any

import jinja2
from jinja2 import nodes

from promptrank.basics.hints import near_names
from promptrank.errors import RowError, TemplateError
from promptrank.prompt import analysis
from promptrank.prompt.metered_nodes import SLOT
from promptrank.prompt.printing import MAX_TEXT, TooLong
from promptrank.prompt.sandbox import Absent, PromptEnvironment
from promptrank.prompt.template_checks import (
    GIVEN,
    MOST_BRACKETS,
    MOST_DEPTH,
    brackets,
    check_files,
    depth,
)
from promptrank.prompt.template_faults import row_error

NOTHING: Mapping[str, str] = MappingProxyType({})
SLOT_TEXT = "\x00item\x00"
"""Stands for the item's own fragment among rendered pieces; known by identity, not by content."""


@dataclass(frozen=True)
class Template:
    """A template's source and what its blocks use.

    Attributes:
        name: as the task gives it.
        sources: file -> text: the template itself and all that it extends, imports and includes.
        uses: block -> what it uses; only blocks that exist.
        files: block -> the file that defines it.
        digest: SHA-256 over ``sources``.
        codes: file -> what it was compiled to, so that what was checked is what runs.
        left_out: blocks that print nothing, though they are there.
    """

    name: str
    sources: Mapping[str, str]
    uses: Mapping[str, analysis.Use]
    files: Mapping[str, str]
    digest: str
    codes: Mapping[str, CodeType] = field(repr=False, compare=False)
    left_out: frozenset[str] = frozenset()

    def bind(self, constants: Mapping[str, Any]) -> "Renderer":
        """Compiles the template with the task's constants (``vars``)."""
        return Renderer(self, constants)

    def without(self, blocks: frozenset[str]) -> "Template":
        """The same template, of which these blocks print nothing."""
        names = "\0".join(sorted(blocks))
        digest = hashlib.sha256(f"{self.digest} without {names}".encode()).hexdigest()
        return replace(self, left_out=blocks, digest=digest)


def load_template(
    name: str, search_paths: Sequence[str | Path], drafts: Mapping[str, str] = NOTHING
) -> Template:
    """Reads a template and checks all that can be known without data.

    ``search_paths`` are folders of templates, first one first; a file's parent or macros may come
    from another folder than the file itself. Every problem found is in one `TemplateError`.

    Args:
        drafts: file -> text that stands in for it, whether or not there is such a file.
    """
    files = jinja2.FileSystemLoader([str(p) for p in search_paths], encoding="utf-8-sig")
    loader = jinja2.ChoiceLoader([jinja2.DictLoader(drafts), files])
    environment = PromptEnvironment(loader=loader)
    sources: dict[str, str] = {}
    trees: dict[str, nodes.Template] = {}
    codes: dict[str, CodeType] = {}
    try:
        _read(name, environment, sources, trees, codes, ())
        return _checked(name, environment, sources, trees, codes)
    except RecursionError:
        raise TemplateError(f"template {name}: nested too deeply; write it flatter") from None


def _checked(
    name: str,
    environment: PromptEnvironment,
    sources: dict[str, str],
    trees: dict[str, nodes.Template],
    codes: dict[str, CodeType],
) -> Template:
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
    return Template(name, sources, uses, files, digest.hexdigest(), codes)


def _read(
    name: str,
    environment: PromptEnvironment,
    sources: dict[str, str],
    trees: dict[str, nodes.Template],
    codes: dict[str, CodeType],
    inside: tuple[tuple[str, int], ...],
) -> None:
    """Reads and parses a file and all that it refers to; ``inside``: the places that led here."""
    if name in trees:
        return
    assert environment.loader is not None
    try:
        source, path, _ = environment.loader.get_source(environment, name)
        sources[name] = source
        if brackets(environment, source) > MOST_BRACKETS:
            raise RecursionError
        trees[name] = environment._parse(source, name, path)
        if depth(trees[name]) > MOST_DEPTH:
            raise RecursionError
        codes[name] = environment.compile(source, name, path)
    except jinja2.TemplateNotFound:
        by = ":".join(map(str, inside[-1])) if inside else None
        raise TemplateError(_not_found(name, environment, by)) from None
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(f"template {name}:{error.lineno}: {error.message}") from None
    except UnicodeDecodeError as error:
        raise TemplateError(
            f"template {name}: not UTF-8 ({error.reason}); save it as UTF-8"
        ) from None
    except (RecursionError, MemoryError):
        raise TemplateError(f"template {name}: nested too deeply; write it flatter") from None
    except SyntaxError as error:
        # What Jinja makes of it is Python, which has limits of its own (20 loops in each other).
        raise TemplateError(
            f"template {name}: it cannot be compiled ({error.msg}); write it flatter, with fewer "
            "loops inside each other"
        ) from None
    except (ValueError, OverflowError) as error:
        why = "a number has more than 4,300 digits" if "4300 digits" in str(error) else str(error)
        raise TemplateError(f"template {name}: it cannot be read ({why})") from None
    for node in analysis.references(trees[name]):
        target = analysis.target(node)
        at = f"template {name}:{node.lineno}"
        if target is None:
            raise TemplateError(
                f"{at}: the file to extend, import or include must be written out, not computed"
            )
        if target == name or target in (file for file, _ in inside):
            verb = "includes" if isinstance(node, nodes.Include) else "imports"
            verb = "extends" if isinstance(node, nodes.Extends) else verb
            raise TemplateError(
                f"{at}: {verb} {target}, which leads back to it without end; take one of them out"
            )
        _read(target, environment, sources, trees, codes, (*inside, (name, node.lineno)))


def _not_found(name: str, environment: PromptEnvironment, by: str | None) -> str:
    assert isinstance(environment.loader, jinja2.ChoiceLoader)
    _, loader = environment.loader.loaders
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
        chain.append(target)
    return chain


class _Compiled(jinja2.BaseLoader):
    """Files as `load_template` compiled them."""

    def __init__(self, codes: Mapping[str, CodeType]) -> None:
        self._codes = codes

    def load(self, environment: jinja2.Environment, name: str, globals: Any = None) -> Any:
        return environment.template_class.from_code(environment, self._codes[name], globals or {})


class Renderer:
    """Compiled blocks of a template. Not for use by several threads at once.

    Jinja renders whole templates; blocks alone would lack macros, imports and the blocks they
    override. So the template is run once with every block replaced by nothing, which leaves its
    macros in the context, and each block is then called with a context that shares them.
    """

    def __init__(self, template: Template, constants: Mapping[str, Any]) -> None:
        self.template = template
        environment = PromptEnvironment(loader=_Compiled(template.codes))
        environment.globals["vars"] = MappingProxyType(dict(constants))
        self._environment = environment
        for name in template.sources:  # now, so that no row pays for what the next finds made
            environment.get_template(name)
            environment.refill()
        compiled = environment.get_template(template.name)
        base = compiled.new_context({SLOT: SLOT_TEXT})
        own = {block: list(base.blocks.get(block, ())) for block in template.uses}
        base.blocks = {block: [_nothing, *own[block]] for block in own}
        try:
            for _ in compiled.root_render_func(base):
                pass
        except Exception as error:
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
        environment.refill()
        try:
            pieces = list(function(context))
        except Exception as error:
            raise self._error(block, values, error) from None
        if sum(map(len, pieces)) > MAX_TEXT:
            raise self._error(block, values, TooLong(f"more than {MAX_TEXT:,} characters"))
        return pieces

    def _error(self, block: str, values: Mapping[str, Any], error: Exception) -> RowError:
        paths = self.template.uses[block].paths
        return row_error(self.template.files[block], block, paths, values, error)


def _nothing(context: Any) -> Any:
    return iter(())


def absent(hint: str) -> Absent:
    """A variable that the request does not have: false, and else an error that says ``hint``."""
    return Absent(hint)
