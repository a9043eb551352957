"""Rankings as columns of scores."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from promptrank.ranking.ranking import Ranking, Scored
from promptrank.schema.question_columns import logprob_column
from promptrank.scores.columns import EVENTS


def columns_of(rankings: Iterable[Ranking], schema: pa.Schema) -> pa.RecordBatch:
    """One row per scored candidate, best first within each ranking; last, what steps took out.

    Args:
        schema: of the task's scores, from `promptrank.scores.columns.schema_of`.
    """
    columns: dict[str, list[Any]] = {name: [] for name in schema.names}
    adding = {name: column.append for name, column in columns.items()}
    for ranking in rankings:
        rows = (*ranking.scored, *ranking.removed)
        shared = {
            "request_id": ranking.request_id,
            "subject_id": ranking.subject_id,
            "split": ranking.request.split,
            "time": ranking.request.time,
            "partial": ranking.partial,
        }
        shared |= {f"events_{what}": getattr(ranking.cuts, f"events_{what}") for what in EVENTS}
        for name, value in shared.items():
            columns[name] += [value] * len(rows)
        shortened = " ".join([*ranking.cuts.fields, *ranking.cuts.event_fields])
        for scored in rows:
            _add(scored, shortened, adding)
        if ranking.removed:
            columns["rank"][-len(ranking.removed) :] = [None] * len(ranking.removed)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _add(scored: Scored, shortened: str, adding: Mapping[str, Callable[[Any], None]]) -> None:
    """Adds what is of one candidate alone to its columns."""
    adding["candidate_id"](scored.candidate_id)
    adding["item_id"](scored.item_id)
    adding["rank"](scored.rank)
    adding["score"](scored.score)
    adding["probability"](scored.probability)
    adding["method_score"](scored.method_score)
    adding["propensity"](scored.propensity)
    adding["changes"]([asdict(change) for change in scored.changes] if scored.changes else [])
    own = " ".join(scored.shortened)
    adding["fields_shortened"](f"{shortened} {own}" if shortened and own else shortened or own)
    adding["prompt_tokens"](scored.prompt_tokens)
    for name, answered in scored.questions.items():
        if f"{name}_score" not in adding:  # a schema without answers
            continue
        adding[f"{name}_score"](answered.score)
        adding[f"{name}_probability"](answered.probability)
        adding[f"{name}_label_mass"](answered.label_mass)
        adding[f"{name}_argmax"](answered.argmax)
        for answer, logprob in answered.logprobs.items():
            adding[logprob_column(name, answer)](logprob)
