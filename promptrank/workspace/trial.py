"""A trial run: a sample of a task's requests ranked by the very path of `rank`, without a model.

What would end a run, or set all of its rows aside, shows here, where `validate` can say it.
"""

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.errors import ErrorRow, InputError
from promptrank.workspace.request_files import error_rows

if TYPE_CHECKING:
    from promptrank.ranking.ranker import Ranker
    from promptrank.requests.source import RequestFile
    from promptrank.schema.task import Task

REQUESTS = 3
"""So many are ranked: the fake engine takes a moment for each token."""

_MOST_OUTCOMES = 4096


def try_ranking(ranker: "Ranker", file: "RequestFile", folder: Path) -> tuple[int, list[ErrorRow]]:
    """Ranks a few requests into a file.

    Returns:
        How many candidates got a score, and the rows that only ranking set aside.

    Raises:
        InputError: what would end a run.
    """
    from promptrank.requests.source import Sample
    from promptrank.runs.scored_file import score_into
    from promptrank.scores.read import read_scores

    sample = Sample(file, None, REQUESTS)
    if not sample.ids:
        return 0, []
    ranked = score_into(folder / "scores.parquet", ranker, sample, {}, with_text=True)
    read_scores(ranked.path, ranker.task, ranker.origin.task or "")
    rows = [row for row in error_rows(ranked.errors_path) if row.stage == "engine"]
    return ranked.candidates, rows


def gain_problems(task: "Task") -> Iterator[str]:
    """Outcomes for which the task's score is no number, so that `eval` could not measure."""
    from promptrank.evaluation.gains import gain_of
    from promptrank.records import EMPTY, Candidate, Item

    try:
        gain, _ = gain_of(task)
        nothing = Item("", EMPTY)
        outcomes = product(*(question.answers for question in task.questions.values()))
        for answers in islice(outcomes, _MOST_OUTCOMES):
            gain(Candidate("", nothing, outcomes=dict(zip(task.questions, answers, strict=True))))
    except InputError as error:
        yield f"{error}; eval, train and distill would refuse the task"
