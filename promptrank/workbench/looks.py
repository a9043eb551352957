"""What a run on a sample tells while it goes on: where it is, and what has been ranked so far."""

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
from promptrank.workbench.versions import DONE, FAILED, STOPPED


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is.

    Attributes:
        doing: ``opening``, ``ranking``, ``waiting`` (for real requests), ``measuring``, or a state
            of `promptrank.workbench.versions` where it has ended.
        done, total: requests that both have ranked, and of the sample.
        reused: rankings that were there already.
        seconds: since it began, or that it took.
        left: seconds that it will take yet, by its pace so far; None where nobody knows.
        message: what went wrong; empty where nothing did.
    """

    doing: str
    done: int
    total: int
    reused: int
    seconds: float
    left: float | None
    message: str = ""

    @property
    def left_told(self) -> str:
        """``about 40 s left``, ``about 6 min left``; empty where nobody knows, or nothing is."""
        if self.left is None or self.done >= self.total:
            return ""
        left = int(self.left) + 1
        return f"about {left} s left" if left < 100 else f"about {round(left / 60)} min left"

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.doing in (DONE, STOPPED, FAILED)


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
