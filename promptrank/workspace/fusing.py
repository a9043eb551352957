"""Fitting a task's fusion on scores of its validation part."""

import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Say, silent
from promptrank.errors import InputError, TaskError
from promptrank.fusion.layers import FittedFusion, FittedOn
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import Sample
from promptrank.runs.manifest import manifest, versions
from promptrank.scores.read import read_scores
from promptrank.workspace.fusions import FUSED, WITHOUT, fingerprints, model_digest
from promptrank.workspace.rankers import STUDENT
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.scores.scores import Scores

PART: Literal["valid"] = "valid"


@dataclass(frozen=True, slots=True)
class Fused:
    """What `fuse` wrote, and where.

    Attributes:
        report: decoder, fused, and (with fields) fused without the decoder, on the rows they were
            fitted on.
    """

    path: Path
    fusion: FittedFusion
    report: "Report"


def check_fusable(opened: OpenTask, engine: str) -> None:
    """InputError where a task or an engine cannot be fused."""
    task, where = opened.task, str(opened.place.path)
    if engine.startswith(STUDENT):
        raise InputError(
            "a fusion is over a decoder's log-odds; fuse with a decoder, not a student"
        )
    if task.fusion is None:
        raise TaskError(
            where, ["fusion: is missing; name the numbers, such as fusion: {fields: [stats.liked]}"]
        )
    if task.split is None or not task.split.validates:
        raise TaskError(
            where, ["split.valid: is missing; a fusion is fitted on the validation part"]
        )


def fit_task_fusion(
    opened: OpenTask,
    ranker: Ranker,
    engine: str,
    model: str | None,
    sample: Sample,
    path: Path,
    say: Say = silent,
) -> Fused:
    """Fit on labelled candidates of a sample.

    Args:
        path: scores of the sample, by ``ranker``.
    """
    from promptrank.assets import resolve_model
    from promptrank.evaluation.gains import gain_of
    from promptrank.fusion.calibrating import (
        Knots,
        NoOrder,
        calibrate_nothing,
        check_rate,
        fit_calibration,
        rate_alone,
    )
    from promptrank.fusion.fitting import fit_fusion, names_of, rows_of

    task = opened.task
    assert task.fusion is not None, "checked before"
    fields, scores = tuple(task.fusion.fields), read_scores(path, ranker.task, opened.name)
    by = task.fusion.by
    knots: Knots = ()
    rows, used = rows_of(task, sample, scores, fields, *gain_of(task))
    if by == "logistic":
        fused, without = fit_fusion(rows, names_of(task, fields))
    else:
        for request in sample:
            check_rate(request)
        question = next(iter(task.questions))
        try:
            fused, without, knots = fit_calibration(rows, question, by)
        except NoOrder:
            if engine != "fake":
                raise
            # Its numbers rise with the labels by luck alone, and nothing else can use the file.
            (fused, knots), without = calibrate_nothing(rows, question, by), rate_alone(rows)
            say(
                "the fake engine knows nothing of the labels, so there is nothing to calibrate: "
                "the flattest calibration is written, to see that everything else fits together"
            )
    digest = scores.origin.requests or ""
    if (labels := sample.file.labels_stamp()) is not None:
        digest = json_digest([digest, labels])
    fusion = FittedFusion(
        task=opened.name,
        fields=fields,
        fused=fused,
        without=without,
        fitted_on=FittedOn(PART, digest, used, len(rows.values), sum(rows.relevant)),
        model=model_digest(engine, resolve_model(model or task.model)),
        adapter=ranker.origin.adapter_digest,
        fingerprints=fingerprints(opened),
        versions=versions(),
        command=("promptrank", *sys.argv[1:]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        by=by,
        knots=knots,
    )
    return Fused(path, fusion, _report(opened, ranker, fusion, sample, scores))


def _report(
    opened: OpenTask, ranker: Ranker, fusion: FittedFusion, sample: Sample, scores: "Scores"
) -> "Report":
    from promptrank.evaluation.compare import compare
    from promptrank.fusion.scored import fused_scores, without_decoder

    compared = {
        ranker.origin.ranker: scores,
        FUSED: fused_scores(fusion, opened.task, sample, scores, FUSED),
    }
    pairs = []
    if fusion.fields:
        compared[WITHOUT] = without_decoder(fusion, sample, WITHOUT)
        pairs = [(FUSED, WITHOUT)]
    report = compare(opened.task, sample, compared, pairs=pairs)
    note = "these are the rows that the fusion was fitted on; `promptrank eval` judges it on others"
    return replace(
        report,
        notes=(*report.notes, note),
        provenance=manifest("fuse", opened.task, opened.name),
    )
