"""Checks of a request file as a whole: what would be set aside of it, and what is missing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Say
from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask
from promptrank.workspace.validated import Validated

SHOWN = 3
"""Examples that are told."""


def check_requests(opened: OpenTask, requests: str | Path, validated: Validated, say: Say) -> None:
    """Read all of a request file, and tell what it has and what is wrong with it.

    Raises:
        DataError: there is no such file, or it is none.
    """
    file = given_file(opened, requests, say)
    lost: list[ErrorRow] = []
    seen = _Labelled()
    for request in file.read(errors=lost.append):
        seen.add(request)
    name = file.path.name
    validated.facts.append(
        f"{name}: {counted(seen.requests, 'request')}, {counted(seen.candidates, 'candidate')}, "
        f"{counted(len(lost), 'row')} set aside"
    )
    validated.warnings += [f"{name}: {line}" for line in (*_set_aside(lost), *seen.lines())]


@dataclass(slots=True)
class _Labelled:
    """What could be read.

    Attributes:
        known, unknown: labelled candidates with a propensity, and without one.
        examples: the first of those without one.
    """

    requests: int = 0
    candidates: int = 0
    known: int = 0
    unknown: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, request: Request) -> None:
        self.requests += 1
        self.candidates += len(request.candidates)
        for candidate in request.candidates:
            if not candidate.outcomes:
                continue
            if candidate.propensity is not None:
                self.known += 1
                continue
            self.unknown += 1
            if len(self.examples) < SHOWN:
                self.examples.append(_named(request.request_id, candidate.candidate_id))

    def lines(self) -> Iterator[str]:
        """Warnings, one sentence each."""
        if self.known and self.unknown:
            labelled = counted(self.known + self.unknown, "labelled candidate")
            yield (
                f"{self.unknown:,} of {labelled} without a propensity, such as "
                f"{', '.join(self.examples)}: they count as not shown, and off-policy estimates "
                "do not use them"
            )


def _set_aside(lost: list[ErrorRow]) -> Iterator[str]:
    """A line for each kind of fault: how many, and the first ones."""
    kinds: dict[tuple[str, str], list[ErrorRow]] = {}
    for row in lost:
        kinds.setdefault((row.reason, row.message.partition(":")[0]), []).append(row)
    for (reason, _), rows in kinds.items():
        each = [f"{_named(r.request_id, r.candidate_id)} ({r.message})" for r in rows[:SHOWN]]
        yield f"{counted(len(rows), 'row')} set aside ({reason}), such as {'; '.join(each)}"


def _named(request: str | None, candidate: str | None) -> str:
    of = f"request {request}" if request is not None else "a request without an id"
    return of if candidate is None else f"candidate {candidate} of {of}"
