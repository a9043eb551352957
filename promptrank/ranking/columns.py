"""Rankings as columns of scores."""

from collections.abc import Iterable
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
    for ranking in rankings:
        removed = {scored.candidate_id for scored in ranking.removed}
        shortened = [*ranking.cuts.fields, *ranking.cuts.event_fields]
        shared = {
            "request_id": ranking.request_id,
            "subject_id": ranking.subject_id,
            "split": ranking.request.split,
            "time": ranking.request.time,
            "partial": ranking.partial,
        }
        shared |= {f"events_{what}": getattr(ranking.cuts, f"events_{what}") for what in EVENTS}
        for scored in (*ranking.scored, *ranking.removed):
            row = {**shared, **_of_candidate(scored)}
            if scored.candidate_id in removed:
                row["rank"] = None
            row["fields_shortened"] = " ".join([*shortened, *scored.shortened])
            row["prompt_tokens"] = scored.prompt_tokens
            for name, column in columns.items():
                column.append(row[name])
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _of_candidate(scored: Scored) -> dict[str, Any]:
    row: dict[str, Any] = {
        "candidate_id": scored.candidate_id,
        "item_id": scored.item_id,
        "rank": scored.rank,
        "score": scored.score,
        "probability": scored.probability,
        "method_score": scored.method_score,
        "propensity": scored.propensity,
        "changes": [asdict(change) for change in scored.changes],
    }
    for name, answered in scored.questions.items():
        row[f"{name}_score"] = answered.score
        row[f"{name}_probability"] = answered.probability
        row[f"{name}_label_mass"] = answered.label_mass
        row[f"{name}_argmax"] = answered.argmax
        row |= {logprob_column(name, a): logprob for a, logprob in answered.logprobs.items()}
    return row
