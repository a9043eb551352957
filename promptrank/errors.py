"""Errors: one tree, and one shape of message (what, where, what next).

    PromptrankError
    ├── InputError          the user's input is at fault: one message, exit code 2
    │   ├── TaskError       a task file
    │   ├── TemplateError   a template
    │   ├── DataError       tables and request files
    │   └── ModelError      a model, tokenizer, adapter or data set that cannot be had
    └── RowError            one row is at fault: caught where rows are looped over, never ends a run

Anything else that escapes is our own bug and ends with exit code 1.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass


class PromptrankError(Exception):
    """Base of every error that promptrank raises on purpose."""


class InputError(PromptrankError):
    """The user's input is at fault; ``str()`` of it is the whole message."""


class TaskError(InputError):
    """One task file with every problem found in it.

    Attributes:
        problems: one line each: ``where: what; what to do``.
    """

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        self.path, self.problems = path, tuple(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in problems))


class TemplateError(InputError):
    """A template that cannot be loaded, or that can never render."""


class DataError(InputError):
    """Tables or request files that cannot be used at all."""


class ModelError(InputError):
    """A model, tokenizer, adapter or data set that cannot be had or used."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A row of the ``errors`` file: what was set aside, and why.

    Attributes:
        request_id: the request, or None where the row has none.
        candidate_id: the candidate, or None where the whole request failed.
        stage: ``data``, ``prompt``, ``engine`` or ``fusion``.
        reason: a stable snake_case word to group by, such as ``item_not_found``.
        message: what, where, what next.
        rows: of the request file, which are lost to ranking by it; 0 where candidates were read,
            or where other error rows tell of them.
    """

    request_id: str | None
    candidate_id: str | None
    stage: str
    reason: str
    message: str
    rows: int = 0

    def as_dict(self) -> dict[str, str | int | None]:
        """The row as plain values; ``rows`` only where there are any."""
        plain = asdict(self)
        return plain if self.rows else {k: v for k, v in plain.items() if k != "rows"}


class RowError(PromptrankError):
    """One row cannot be used; whoever loops over rows turns it into an `ErrorRow`."""

    def __init__(self, reason: str, message: str) -> None:
        self.reason, self.message = reason, message
        super().__init__(message)

    def row(
        self, stage: str, request_id: str | None, candidate_id: str | None = None, rows: int = 0
    ) -> ErrorRow:
        """This error as a row of the ``errors`` file."""
        return ErrorRow(request_id, candidate_id, stage, self.reason, self.message, rows)
