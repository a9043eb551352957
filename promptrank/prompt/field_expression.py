"""Expressions over a candidate's fields: ``item.year >= 1990``, ``member.age // 10``.

Slices and policy steps go by them. They are Jinja's, as in templates, in the same sandbox: strict,
without reach, bounded in work.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.records import Candidate, Request

NAMESPACES: Mapping[str, Callable[[Request, Candidate], Mapping[str, Any] | None]] = {
    "item": lambda r, c: c.item.fields,
    "member": lambda r, c: r.subject.member,
    "query": lambda r, c: r.subject.query,
    "source": lambda r, c: r.subject.source.fields if r.subject.source is not None else None,
    "context": lambda r, c: c.context,
    "stats": lambda r, c: c.stats,
}
"""What an expression's names stand for."""

_SHOWN = 60  # characters of an expression in a message


def shortened(text: str) -> str:
    """An expression as messages show it."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


class FieldExpression:
    """An expression whose names are fields; called with a candidate's fields, it has a value.

    Not for use by several threads at once.

    Attributes:
        problem: why it had no value the last time that it had none.
        roots: names that it begins with, such as ``item``, in their order.
        paths: the fields that it names: ``item`` and ``year`` of ``item.year``.
        of_paths: whether these alone make its value, as in no ``item["year"]``.
    """

    def __init__(
        self,
        text: str,
        fields: Mapping[str, Collection[str]] | None = None,
        where: str = "--slice",
    ) -> None:
        """Read an expression.

        Args:
            fields: what there is under ``item``, ``member`` and so on; None where only the
                grammar is to be checked.
            where: it stands, for messages.

        Raises:
            InputError: no expression, or it names what is no field.
        """
        from jinja2 import nodes
        from jinja2.exceptions import TemplateSyntaxError

        from promptrank.prompt.sandbox import PromptEnvironment

        self.text, self.problem = text, ""
        short = shortened(text)
        self._environment = PromptEnvironment()
        try:
            tree = self._environment.parse("{{ " + text + " }}")
            self._value = self._environment.compile_expression(text, undefined_to_none=False)
        # Jinja makes Python of it, whose own parser has limits: nesting, digits of a number.
        except (
            TemplateSyntaxError,
            SyntaxError,
            ValueError,
            OverflowError,
            MemoryError,
            RecursionError,
        ) as error:
            raise InputError(
                f"{where} {short}: no expression over fields, such as 'item.year >= 1990': {error}"
            ) from None
        names = [name.name for name in tree.find_all(nodes.Name)]
        paths = [
            (part.node.name, part.attr)
            for part in tree.find_all(nodes.Getattr)
            if isinstance(part.node, nodes.Name)
        ]
        self.roots, self.paths = tuple(dict.fromkeys(names)), tuple(dict.fromkeys(paths))
        self.of_paths = len(names) == len(paths)
        if fields is None:
            return
        for root in self.roots:
            if root not in fields:
                raise InputError(f"{where} {short}: {root}: {near(root, fields)}")
        for root, name in self.paths:
            if name not in fields[root]:
                hint = near(name, sorted(fields[root]))
                raise InputError(f"{where} {short}: no candidate has {root}.{name}; {hint}")

    def __call__(self, fields: Mapping[str, Mapping[str, Any] | None]) -> Any:
        """The value; None where it has none, as where a field that it reckons with is empty."""
        from jinja2.exceptions import TemplateError
        from jinja2.runtime import Undefined

        self._environment.refill()
        try:
            value = self._value(**{root: given or {} for root, given in fields.items()})
        except NameError:  # Jinja writes a number such as 1e400 as Python's `inf`
            self.problem = "it has a number that is too large"
            return None
        except (TemplateError, ArithmeticError, TypeError, ValueError) as error:
            self.problem = str(error)
            return None
        return None if isinstance(value, Undefined) else value
