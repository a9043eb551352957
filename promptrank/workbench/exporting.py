"""A comparison as a file: JSON for programs, CSV for spreadsheets, HTML for people."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace

from starlette.responses import Response

from promptrank.basics.spreadsheets import guarded
from promptrank.errors import DataError
from promptrank.evaluation.example_requests import examples_of
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.report import Report
from promptrank.requests.source import Sample
from promptrank.workbench.beside_saved import EDIT, SAVED
from promptrank.workbench.kept_runs import Kept, Looked
from promptrank.workbench.prompts_apart import stood

KINDS_OF_EXPORT = ("json", "csv", "html")
_COLUMNS = (
    "request_id",
    "subject_id",
    "candidate_id",
    "item_id",
    "label",
    "saved_rank",
    "edit_rank",
    "saved_score",
    "edit_score",
    "saved_probability",
    "edit_probability",
)
_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8", "html": "text/html"}


def exported(kept: Kept, looked: Looked, kind: str) -> Response:
    """A run as a file to download.

    Raises:
        DataError: nothing is ranked yet, or for ``html`` nothing could be measured.
    """
    if looked.seen is None:
        raise DataError("nothing is ranked yet; come again in a moment")
    text = {"json": _json, "csv": _csv, "html": _html}[kind](kept, looked)
    words = re.sub(r"[^A-Za-z0-9-]+", "-", looked.run.title).strip("-").lower() or "run"
    name = f"{words}-{looked.run.run_id}.{kind}"
    return Response(
        text.encode("utf-8", "backslashreplace"),
        media_type=_TYPES[kind],
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def _json(kept: Kept, looked: Looked) -> str:
    seen = looked.seen
    assert seen is not None
    made = {
        "run": asdict(looked.run),
        "report": json.loads(seen.report.to_json()) if seen.report is not None else None,
        "requests": [asdict(change) for change in seen.changes],
        "candidates": [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(kept, looked)],
    }
    return json.dumps(made, indent=1, ensure_ascii=False)


def _csv(kept: Kept, looked: Looked) -> str:
    """With a byte-order mark, without which spreadsheets guess, and no text that they would run."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in _rows(kept, looked):
        writer.writerow([guarded(v) if isinstance(v, str) else v for v in row])
    return "\ufeff" + text.getvalue()


def _html(kept: Kept, looked: Looked) -> str:
    from promptrank.evaluation.page.page import page

    seen = looked.seen
    assert seen is not None
    if seen.report is None:
        raise DataError(f"there is no report: {seen.reason}")
    return page(with_examples(kept, looked, seen.report))


def with_examples(kept: Kept, looked: Looked, report: Report) -> Report:
    """The report with requests on which the two differ most, by their ids alone."""
    run = looked.run
    file, store = kept.file_of(run), kept.holding(run.run_id)
    gain, relevant_at = gain_of(file.task)
    ids = set(run.request_ids)
    scores = {
        SAVED: store.rankings.scores(run.saved_key, run.request_ids),
        EDIT: store.rankings.scores(run.edit_key, run.request_ids),
    }
    sample = Sample(file, ids=ids)
    examples = examples_of(sample, ids, scores, gain_of=gain, relevant_at=relevant_at)
    return replace(report, examples=examples)


def _rows(kept: Kept, looked: Looked) -> Iterator[tuple[str | int | float | None, ...]]:
    """A row for each candidate of the requests that both have ranked."""
    run, seen = looked.run, looked.seen
    assert seen is not None
    file, store = kept.file_of(run), kept.holding(run.run_id)
    ranked = {change.request_id for change in seen.changes}
    ids = [name for name in run.request_ids if name in ranked]
    saved = store.rankings.scores(run.saved_key, ids)
    edit = store.rankings.scores(run.edit_key, ids)
    for request in Sample(file, ids=ranked):
        items = {c.candidate_id: c.item.item_id for c in request.candidates}
        for each in stood(file.task, request, saved, edit):
            yield (
                request.request_id,
                request.subject.subject_id,
                each.candidate_id,
                items[each.candidate_id],
                each.label,
                each.saved.rank,
                each.edit.rank,
                each.saved.score,
                each.edit.score,
                each.saved.probability,
                each.edit.probability,
            )
