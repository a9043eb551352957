"""Expressions over a candidate's fields, to slice by: ``item.year >= 1990``, ``member.age // 10``.

They are Jinja's, as in templates, in the same sandbox: strict, without reach, bounded in work.
"""

from collections.abc import Collection, Mapping
from typing import Any

from promptrank.basics.hints import near
from promptrank.errors import InputError

_SHOWN = 60  # characters of an expression in a message


def shortened(text: str) -> str:
    """An expression as messages show it."""
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


class FieldExpression:
    """An expression whose names are fields; called with a candidate's fields, it has a value.

    Attributes:
        problem: why it had no value the last time that it had none.
    """

    def __init__(self, text: str, fields: Mapping[str, Collection[str]] | None = None) -> None:
        """Read an expression.

        Args:
            fields: what there is under ``item``, ``member`` and so on; None where only the
                grammar is to be checked.

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
                f"--slice {short}: no expression over fields, such as 'item.year >= 1990': {error}"
            ) from None
        if fields is None:
            return
        for name in tree.find_all(nodes.Name):
            if name.name not in fields:
                raise InputError(f"--slice {short}: {name.name}: {near(name.name, fields)}")
        for part in tree.find_all(nodes.Getattr):
            if isinstance(part.node, nodes.Name) and part.attr not in fields[part.node.name]:
                hint = near(part.attr, sorted(fields[part.node.name]))
                raise InputError(
                    f"--slice {short}: no candidate has {part.node.name}.{part.attr}; {hint}"
                )

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
