"""Scores files, read back: final scores, the decoder's own, and log-probs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptrank.errors import DataError
from promptrank.fusion.layers import sigmoid
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task

Key = tuple[str, str]  # request, candidate
_KEY = ("request_id", "candidate_id")


def read_scores(
    path: Path, task: Task
) -> tuple[dict[Key, float], dict[Key, float] | None, dict[str, int]]:
    """Scores and probabilities by (request, candidate), and what was cut, from a scores file.

    A combined score of several questions is no probability, so there is none then. A fused score
    is a log-odds, and its sigmoid the probability.

    Raises:
        DataError: no file, or not one that `rank` wrote for this task.
    """
    names = ["request_id", "candidate_id", "score", "events_dropped", "fields_shortened"]
    single = next(iter(task.questions)) if len(task.questions) == 1 else None
    if single is not None:
        names.append(f"{single}_probability")
    columns = _read(path, names)
    keys = list(zip(columns["request_id"], columns["candidate_id"], strict=True))
    scores = dict(zip(keys, columns["score"], strict=True))
    chances = dict(zip(keys, columns[names[-1]], strict=True)) if single is not None else None
    if task.fused:
        chances = {key: sigmoid(score) for key, score in scores.items()}
    requests = [request for request, _ in keys]
    dropped = dict(zip(requests, columns["events_dropped"], strict=True))
    shortened = sum(1 for names in columns["fields_shortened"] if names)
    cuts = {"events dropped": sum(dropped.values()), "candidates with shortened fields": shortened}
    return scores, chances, cuts


def read_decoder(path: Path, task: Task) -> tuple[dict[Key, float], dict[Key, float] | None]:
    """The decoder's own scores and probabilities from a fused scores file, as if nothing was fused.

    Raises:
        DataError: not a scores file of this task.
    """
    names = list(task.questions)
    columns = [f"{name}_score" for name in names]
    single = f"{names[0]}_probability" if len(names) == 1 else None
    combine = compile_expression(task.score_expression)
    scores: dict[Key, float] = {}
    chances: dict[Key, float] = {}
    for key, row in _rows(path, [*columns, *([single] if single else [])]):
        scores[key] = combine({name: row[f"{name}_score"] for name in names})
        if single is not None:
            chances[key] = row[single]
    return scores, chances if single is not None else None


def read_logprobs(path: Path, task: Task) -> dict[Key, dict[str, dict[str, float]]]:
    """(request, candidate) -> question -> answer -> log-prob, from a scores file."""
    columns = {
        (name, answer): f"{name}_logprob_{answer}"
        for name, question in task.questions.items()
        for answer in question.answers
    }
    found: dict[Key, dict[str, dict[str, float]]] = {}
    for key, row in _rows(path, list(columns.values())):
        said: dict[str, dict[str, float]] = {name: {} for name in task.questions}
        for (name, answer), column in columns.items():
            said[name][answer] = row[column]
        found[key] = said
    return found


def _rows(path: Path, names: list[str]) -> Iterator[tuple[Key, dict[str, Any]]]:
    columns = _read(path, [*_KEY, *names])
    keys = zip(columns["request_id"], columns["candidate_id"], strict=True)
    for i, key in enumerate(keys):
        yield key, {name: columns[name][i] for name in names}


def _read(path: Path, names: list[str]) -> dict[str, list[Any]]:
    """Columns of a parquet or JSONL file."""
    import pyarrow.parquet as pq
    from pyarrow import ArrowException, json

    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path, columns=names)
        else:
            table = json.read_json(path).select(names)
    except (OSError, ArrowException, KeyError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a scores file of this task: {first}") from None
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns
