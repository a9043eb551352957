"""A look at what two versions have ranked so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from promptrank.errors import InputError
from promptrank.evaluation.bootstrap import DRAWS
from promptrank.evaluation.report import Report
from promptrank.records import Request
from promptrank.requests.source import RequestFile
from promptrank.scores.scores import Scores
from promptrank.workbench.beside_saved import (
    EDIT,
    SAVED,
    RequestChange,
    changes_of,
    report_of_edit,
)


@dataclass(frozen=True, slots=True)
class Look:
    """What was measured when somebody last looked.

    Attributes:
        report: None where nothing could be measured, and ``reason`` says why.
        changes: by request, the largest regression first.
        requests: that both had ranked.
        final: whether these are all requests that will be ranked, on all draws.
    """

    report: Report | None
    changes: tuple[RequestChange, ...]
    requests: int
    final: bool
    reason: str = ""


def measured(
    file: RequestFile,
    requests: Sequence[Request],
    saved: Scores,
    edit: Scores,
    *,
    draws: int = DRAWS,
    final: bool = True,
) -> Look:
    """What two versions reached on those of the requests that both have ranked.

    Args:
        requests: in the order of the file: draws of subjects go by it, here and in `eval`.
    """
    task = file.task
    both = {key[0] for key in saved.keys} & {key[0] for key in edit.keys}
    ranked = [request for request in requests if request.request_id in both]
    report, reason = None, ""
    try:
        report = report_of_edit(task, ranked, {SAVED: saved, EDIT: edit}, draws=draws)
    except InputError as error:
        reason = str(error)
    changes = tuple(changes_of(task, ranked, saved, edit))
    return Look(report, changes, len(ranked), final, reason)
