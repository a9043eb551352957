"""A ranking as flat rows: the columns of a scores file.

One row per scored candidate: ``request_id, subject_id, split, time, candidate_id, item_id, rank,
score, partial``, then per question ``<q>_score, <q>_probability, <q>_label_mass, <q>_argmax`` and
``<q>_logprob_<answer>``, then what was cut: ``events_given, events_kept, events_dropped`` (for the
budget), ``events_failed`` and ``fields_shortened`` (names; of prefix and candidate together).
"""

from collections.abc import Iterator
from typing import Any

from promptrank.ranking.loop import Ranking
from promptrank.schema.task import Task

_EVENTS = ("given", "kept", "dropped", "failed")
_TEXT, _NUMBER, _COUNT, _FLAG = "string", "double", "int32", "bool"


def row_types(task: Task) -> dict[str, str]:
    """Column -> Arrow type name, in the order of the columns."""
    types = {
        "request_id": _TEXT,
        "subject_id": _TEXT,
        "split": _TEXT,
        "time": _NUMBER,
        "candidate_id": _TEXT,
        "item_id": _TEXT,
        "rank": _COUNT,
        "score": _NUMBER,
        "partial": _FLAG,
    }
    for name, question in task.questions.items():
        types |= {f"{name}_score": _NUMBER, f"{name}_probability": _NUMBER}
        types |= {f"{name}_label_mass": _NUMBER, f"{name}_argmax": _TEXT}
        types |= {f"{name}_logprob_{answer}": _NUMBER for answer in question.answers}
    types |= {f"events_{what}": _COUNT for what in _EVENTS}
    return {**types, "fields_shortened": _TEXT}


def ranking_rows(ranking: Ranking) -> Iterator[dict[str, Any]]:
    """The rows of one ranking, best candidate first."""
    request = ranking.request
    cuts = ranking.cuts
    shortened = [*cuts.fields, *cuts.event_fields]
    for scored in ranking.scored:
        row: dict[str, Any] = {
            "request_id": ranking.request_id,
            "subject_id": ranking.subject_id,
            "split": request.split if request is not None else None,
            "time": request.time if request is not None else None,
            "candidate_id": scored.candidate_id,
            "item_id": scored.item_id,
            "rank": scored.rank,
            "score": scored.score,
            "partial": ranking.partial,
        }
        for name, answered in scored.questions.items():
            row[f"{name}_score"] = answered.score
            row[f"{name}_probability"] = answered.probability
            row[f"{name}_label_mass"] = answered.label_mass
            row[f"{name}_argmax"] = answered.argmax
            row |= {f"{name}_logprob_{a}": lp for a, lp in answered.logprobs.items()}
        row |= {f"events_{what}": getattr(cuts, f"events_{what}") for what in _EVENTS}
        row["fields_shortened"] = " ".join([*shortened, *scored.shortened])
        yield row
