"""Expressions over the fields of a ranking's candidates, for several threads."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from promptrank.basics.hints import near
from promptrank.errors import InputError
from promptrank.prompt.field_expression import NAMESPACES, FieldExpression, shortened
from promptrank.records import EMPTY, Candidate, Request

_ABSENT = object()
"""The value of a field that a candidate does not have."""


class CandidateExpression:
    """An expression over fields, compiled once; it has a value for each candidate.

    Attributes:
        text: as it is written.
        where: it stands in the task file.
        paths: fields that it names: ``("item", "year")``.
    """

    def __init__(self, text: str, where: str) -> None:
        """Read it.

        Raises:
            InputError: no expression, or one over what is no candidate's; with the place.
        """
        self.text, self.where = text, where
        # A colon, as every problem of a task file has it behind its place.
        self._value = FieldExpression(text, where=f"{where}:")
        for root in self._value.roots:
            if root not in NAMESPACES:
                hint = near(root, NAMESPACES)
                raise InputError(f"{where}: {shortened(text)}: no candidate has {root}; {hint}")
        self.paths = self._value.paths
        self._lock = threading.Lock()  # its sandbox counts work, for one thread at a time

    @property
    def problem(self) -> str:
        """Why it had no value the last time that it had none; empty where nothing tells."""
        return self._value.problem

    def values(self, request: Request, candidates: Iterable[Candidate]) -> list[Any]:
        """The value for each candidate; None where it has none."""
        if [".".join(path) for path in self.paths] == [self.text.strip()]:  # a field, as it is
            ((root, name),) = self.paths
            of = NAMESPACES[root]
            return [(of(request, candidate) or EMPTY).get(name) for candidate in candidates]
        known: dict[Any, Any] = {}
        with self._lock:
            return [self._of(_fields_of(request, candidate), known) for candidate in candidates]

    def _of(self, fields: Mapping[str, Any], known: dict[Any, Any]) -> Any:
        """The value; asked once of candidates that are alike in all that it names."""
        if not self._value.of_paths:
            return self._value(fields)
        named = [(fields[root] or EMPTY).get(name, _ABSENT) for root, name in self.paths]
        key = tuple((type(value), value) for value in named)  # 1 and true are equal, not alike
        try:
            if key not in known:
                known[key] = self._value(fields)
        except TypeError:  # lists and objects
            return self._value(fields)
        return known[key]


class Condition(CandidateExpression):
    """An expression that holds or does not.

    It holds where its value is true, or a number other than 0. Where it has no value, as where a
    field is empty, it does not hold; nor does a text or a list, since the word "no" would be true.
    """

    def holds(self, request: Request, candidates: Iterable[Candidate]) -> list[bool]:
        """For each candidate, whether it holds."""
        return [self.truth(value) for value in self.values(request, candidates)]

    @staticmethod
    def truth(value: Any) -> bool:
        """Whether an expression of this value holds."""
        return isinstance(value, bool | int | float) and bool(value)


def _fields_of(request: Request, candidate: Candidate) -> dict[str, Any]:
    return {root: of(request, candidate) for root, of in NAMESPACES.items()}


def candidates_of(request: Request, names: Iterable[str]) -> Iterator[Candidate]:
    """A request's candidates by their ids, in the order of these."""
    by_name = {candidate.candidate_id: candidate for candidate in request.candidates}
    return (by_name[name] for name in names)
