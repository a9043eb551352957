"""Judgements to take away: as JSON, as CSV for a spreadsheet, and as a page to read."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from promptrank import __version__
from promptrank.basics.scratch import scratch
from promptrank.basics.spreadsheets import write_cells
from promptrank.evaluation.labeller_agreement import labeller_agreements
from promptrank.requests.judged_labels import judged_labels
from promptrank.requests.judgement_file import read_judgements
from promptrank.requests.judgement_rows import Judgement, standing
from promptrank.workbench.drawing import STATIC, environment

KINDS: Mapping[str, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "html": "text/html; charset=utf-8",
}
"""Ending -> media type."""
EQUAL = "equal"
"""In the column ``answer`` of a pair: both fit alike."""
COLUMNS = (
    "time",
    "labeller",
    "kind",
    "request_id",
    "subject_id",
    "candidate_id",
    "other_id",
    "question",
    "answer",
    "preferred",
    "comment",
    "by",
)
"""Of the CSV; ``other_id`` is the second candidate of a pair, ``preferred`` the chosen one."""


def exported(task: str, path: Path, kind: str) -> bytes:
    """What holds of a judgements file: nothing that was undone, the last word of each labeller.

    Raises:
        DataError: a file that is none.
    """
    held = standing(read_judgements(path))
    rows = sorted((*held.answers, *held.preferences), key=lambda row: row.time)
    told = [dict(zip(COLUMNS, _cells(row), strict=True)) for row in rows]
    if kind == "json":
        agreed = [
            {
                "labellers": each.labellers,
                "question": each.question,
                "both": each.both,
                "same": each.same,
                "kappa": each.kappa,
            }
            for each in labeller_agreements(held)
        ]
        made: dict[str, Any] = {"task": task, "judgements": told, "agreement": agreed}
        return json.dumps(made, indent=1, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if kind == "csv":
        with scratch() as folder:
            write_cells(folder / "judgements.csv", COLUMNS, map(_cells, rows))
            return (folder / "judgements.csv").read_bytes()
    style = (STATIC / "export.css").read_text(encoding="utf-8")
    return (
        environment()
        .get_template("exported/judgements.html.jinja")
        .render(
            task=task,
            rows=told,
            labels=judged_labels(held),
            agreements=list(labeller_agreements(held)),
            style=Markup(style),
            digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
            version=__version__,
        )
        .encode("utf-8", "backslashreplace")
    )


def _cells(row: Judgement) -> list[str]:
    return list(_texts(row))


def _texts(row: Judgement) -> Iterator[str]:
    yield datetime.fromtimestamp(row.time, UTC).isoformat(timespec="seconds")
    yield from (row.labeller, row.kind, row.request_id, row.subject_id)
    yield from (row.candidate_ids[0], row.candidate_ids[1] if len(row.candidate_ids) > 1 else "")
    alike = row.kind == "preference" and row.preferred is None
    yield from (row.question, EQUAL if alike else row.answer, row.preferred or "")
    yield from (row.comment, row.by)
