"""Checks of a task's policy steps: fields that nothing supplies, and what never comes about."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from promptrank.basics.hints import near
from promptrank.basics.plurals import counted
from promptrank.policy.conditions import CandidateExpression, Condition
from promptrank.policy.policy_step import PolicyRun
from promptrank.prompt.field_expression import shortened
from promptrank.records import Request
from promptrank.workspace.policies import open_policy
from promptrank.workspace.tasks import OpenTask
from promptrank.workspace.validated import Validated

if TYPE_CHECKING:
    from promptrank.tables.supplied import Supplied


def check_fields(opened: OpenTask, supplied: "Supplied", validated: Validated) -> None:
    """Tell of fields in expressions that no table supplies.

    Raises:
        TaskError: an expression that cannot be read.
    """
    for step in open_policy(opened):
        for expression in step.expressions:
            validated.problems += _unsupplied(expression, supplied)


def _unsupplied(expression: CandidateExpression, supplied: "Supplied") -> Iterator[str]:
    for root, name in expression.paths:
        known = supplied.fields.get("item" if root == "source" else root, {})
        if name not in known:
            hint = near(name, sorted(known))
            yield f"{expression.where}: nothing supplies {root}.{name}; {hint}"


def policy_doubts(policy: Sequence[PolicyRun], requests: Sequence[Request]) -> Iterator[str]:
    """Expressions that make no difference in a sample, each with its place in the file."""
    count = sum(len(request.candidates) for request in requests)
    of = f"{counted(count, 'candidate')} of the sample"
    for step in policy if count else ():
        for expression in step.expressions:
            where, text = expression.where, shortened(expression.text)
            values = [
                value
                for request in requests
                for value in expression.values(request, request.candidates)
            ]
            if all(value is None for value in values):
                why = f": {expression.problem}" if expression.problem else ""
                yield f"{where}: {text} has no value for any of {of}{why}"
                continue
            if not isinstance(expression, Condition):
                continue
            held = sum(map(expression.truth, values))
            odd = next((v for v in values if isinstance(v, str | list | tuple | dict)), None)
            if not held and odd is not None:
                yield (
                    f"{where}: {text} is {shortened(repr(odd))}, which is neither true nor false; "
                    "compare it, such as == 'yes'"
                )
            elif not held or held == count:
                yield f"{where}: {text} holds for {'none' if not held else 'all'} of {of}"
