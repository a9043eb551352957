"""``validate``: everything that can be known about a task before anything is scored."""

from pathlib import Path

from promptrank.basics.telling import Say, silent
from promptrank.workspace.task_checks import check_task
from promptrank.workspace.tasks import OpenTask, open_task
from promptrank.workspace.validated import Validated


def validate(
    task: str | OpenTask,
    *,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    leaks: bool = False,
    requests: str | Path | None = None,
    say: Say = silent,
) -> Validated:
    """Check a task's file, template, tables and answers, and render its first requests.

    Only the model's tokenizer and config are used. One problem does not hide those behind it,
    except where a check needs what failed.

    Args:
        leaks: also learn from each field alone, on all requests, and warn of those that tell the
            label better than they should (`promptrank.evaluation.leaks`).
        requests: a request file, all of which is read too: rows that would be set aside, and
            propensities that are missing, with counts and the first of each.

    Raises:
        TaskError: the task file itself cannot be read; the message holds all its problems.
    """
    opened = open_task(task, project=project, settings=settings)
    return check_task(opened, model, requests, say, leaks=leaks)
