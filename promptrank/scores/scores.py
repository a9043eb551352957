"""Scores: many rankings in Arrow columns, in memory or from a file, with their origin."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from promptrank.basics.arrays import Codes, Floats
from promptrank.errors import DataError
from promptrank.schema.question_columns import logprob_column
from promptrank.schema.task import Task
from promptrank.scores.columns import KEY
from promptrank.scores.origin import Origin

Key = tuple[str, str]
"""Ids of a request and of one of its candidates."""

FUSION = "fusion"
"""The one step of a trace that is part of the ranker itself."""

LEAST_MASS = 0.5
"""Where a question's answers hold less than this together, the model would rather say others."""


class Scores:
    """What one ranker says; see `promptrank.scores.columns` for the columns.

    Whatever ranks makes them, and whatever measures takes them.

    Attributes:
        table: the columns; ``request_id``, ``candidate_id`` and ``score`` at least.
        origin: where they come from.
    """

    def __init__(self, table: pa.Table, origin: Origin) -> None:
        self.table, self.origin = table, origin

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def has(self, column: str) -> bool:
        """Whether there is such a column."""
        return column in self.table.column_names

    @cached_property
    def keys(self) -> list[Key]:
        """The key of each row."""
        requests, candidates = (self.table.column(name).to_pylist() for name in KEY)
        return list(zip(requests, candidates, strict=True))

    @cached_property
    def index(self) -> dict[Key, int]:
        """Key -> row."""
        return {key: row for row, key in enumerate(self.keys)}

    def rows(self, keys: Iterable[Key]) -> Codes:
        """The row of each key; -1 where a candidate has no score here."""
        index = self.index
        return np.fromiter((index.get(key, -1) for key in keys), dtype=np.int64)

    def numbers(self, column: str) -> Floats:
        """(rows,) of a column of numbers; NaN where it is null or where there is none."""
        if not self.has(column):
            return np.full(len(self), np.nan)
        values = self.table.column(column).cast(pa.float64()).fill_null(np.nan)
        numbers: Floats = values.to_numpy()
        return numbers

    def at(self, column: str, rows: Codes) -> Floats:
        """A column's numbers at these rows; NaN at -1."""
        values = np.append(self.numbers(column), np.nan)
        taken: Floats = values[rows]
        return taken

    def logprobs(self, task: Task, question: str) -> Floats:
        """(rows, answers) natural-log probabilities of a question's answers, in the task's order.

        Raises:
            DataError: scores that hold no answers, such as those of a baseline.
        """
        names = [logprob_column(question, answer) for answer in task.questions[question].answers]
        for name in names:
            if not self.has(name):
                raise DataError(
                    f"scores of {self.origin.ranker}: no column {name}; they hold no answers to "
                    f"{question}, which are needed here"
                )
        columns: Floats = np.column_stack([self.numbers(name) for name in names])
        return columns

    def before_steps(self, task: Task) -> "Scores":
        """The same candidates by the method's own scores, as if no step had run."""
        columns = {name: self.table.column(name) for name in self.table.column_names}
        columns["score"] = columns["method_score"]
        single = next(iter(task.questions)) if len(task.questions) == 1 else None
        nulls = pa.nulls(len(self), pa.float64())
        columns["probability"] = columns[f"{single}_probability"] if single is not None else nulls
        origin = replace(self.origin, fusion=None, fusion_digest=None)
        return Scores(pa.table(columns), origin)

    def before_policy(self) -> "Scores":
        """The same candidates by the ranker's scores, as if no policy step had run.

        What a filter took out is there as well: a policy's order is not a ranker's.
        """
        # By the traces: a log of several origins has none of its own.
        if not self.has("changes") or not self._stepped() - {FUSION}:
            return self
        columns = {name: self.table.column(name) for name in self.table.column_names}
        now = columns["score"].to_pylist()
        traces = columns["changes"].to_pylist()
        own = [
            next((c["score"] for c in trace or () if c["step"] != FUSION), score)
            for score, trace in zip(now, traces, strict=True)
        ]
        columns["score"] = pa.array(own, pa.float64())
        # Places and draws are those of the policy.
        for name in ("rank", "propensity"):
            if name in columns:
                columns[name] = pa.nulls(len(self), columns[name].type)
        return Scores(pa.table(columns), replace(self.origin, policy=None))

    def _stepped(self) -> set[str]:
        """Names of the steps that are in any trace."""
        traces = self.table.column("changes").combine_chunks().flatten()
        return set(pc.unique(pc.struct_field(traces, "step")).to_pylist())


def scores_of(
    keys: Sequence[Key],
    scores: Sequence[float | None],
    probabilities: Sequence[float | None] | None,
    origin: Origin,
) -> Scores:
    """Scores of what says no more of a candidate than a number and, perhaps, a probability."""
    columns = {
        "request_id": pa.array([request for request, _ in keys], pa.string()),
        "candidate_id": pa.array([candidate for _, candidate in keys], pa.string()),
        "score": pa.array(scores, pa.float64(), from_pandas=True),
    }
    if probabilities is not None:
        columns["probability"] = pa.array(probabilities, pa.float64(), from_pandas=True)
    return Scores(pa.table(columns), origin)


def cuts_of(scores: Scores) -> dict[str, int]:
    """What prompts lost on the way to these scores, by name of the cut; empty if nobody counted."""
    if not scores.has("events_dropped"):
        return {}
    requests = scores.table.column("request_id").to_pylist()
    dropped = dict(zip(requests, scores.table.column("events_dropped").to_pylist(), strict=True))
    shortened = sum(1 for names in scores.table.column("fields_shortened").to_pylist() if names)
    return {
        "events dropped": sum(count or 0 for count in dropped.values()),
        "candidates with shortened fields": shortened,
    }


def label_mass_of(scores: Scores, task: Task) -> dict[str, float]:
    """Mean probability that a question's answers hold together; only of questions that have it."""
    columns = {name: scores.numbers(f"{name}_label_mass") for name in task.questions}
    masses = {name: values[~np.isnan(values)] for name, values in columns.items()}
    return {name: float(values.mean()) for name, values in masses.items() if len(values)}


def thin_answers(masses: Mapping[str, float]) -> list[str]:
    """A warning for each question whose answers hold less than `LEAST_MASS` together.

    Args:
        masses: question -> mean label mass, as of `label_mass_of`.
    """
    return [
        f"the answers to {name} hold {mass:.0%} of the model's probability: most of the time it "
        "would write something else, and scores are the noise of rare tokens; look at a prompt "
        "(promptrank render), at what the answers say, or train an adapter"
        for name, mass in masses.items()
        if mass < LEAST_MASS
    ]
