"""``fuse``: fit the layer over the decoder's log-odds and a task's declared numbers."""

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from promptrank.adapters.shelf import adapter_digest
from promptrank.api.evaluate import gain_of
from promptrank.api.fusions import fingerprints, model_digest, new_place, unfused
from promptrank.api.manifest import versions
from promptrank.api.outputs import check_output
from promptrank.api.rank import Progress, no_progress, rank_file
from promptrank.api.ranker import STUDENT, Ranker, open_ranker
from promptrank.api.requests import RequestFile, read, request_file
from promptrank.api.scores import read_logprobs
from promptrank.api.tasks import OpenTask, Say, open_task, silent
from promptrank.errors import InputError, RowError, TaskError
from promptrank.fusion.fitting import FusionRows, fit_fusion
from promptrank.fusion.layers import (
    DECODER,
    FittedFusion,
    FittedOn,
    decoder_values,
    field_values,
    write_fusion,
)

PART: Literal["valid"] = "valid"


@dataclass(frozen=True, slots=True)
class Fused:
    """What `fuse` wrote, and where."""

    path: Path
    fusion: FittedFusion


def fuse(
    task: str | OpenTask,
    *,
    requests: str | Path | None = None,
    limit: int | None = None,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    out: str | Path | None = None,
    allow_changed: bool = False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Fused:
    """Score the validation part with the decoder and fit a task's fusion on it.

    The file holds two layers fitted on the same rows, with the decoder and without it. A run that
    was stopped goes on where it was.

    Args:
        requests: a request file; the task's own tables where left out. Its ``valid`` part is used.
        limit: at most this many requests, sampled by a hash of their ids.
        out: the file to write; beside the adapter, or in the project's ``fusions/``, if left out.

    Raises:
        InputError: the task declares no fusion or no validation part, or nothing can be fitted.
    """
    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    _check(opened, engine)
    own = unfused(opened)
    with open_ranker(
        own,
        engine=engine,
        model=model,
        adapter=adapter,
        threads=threads,
        allow_changed=allow_changed,
        say=say,
    ) as ranker:
        path = check_output(out or new_place(opened, ranker.adapter), (".json",), [requests])
        scores = path.with_suffix(".scores.parquet")
        with request_file(own, requests, splits={PART}, say=say) as file:
            ranked = rank_file(ranker, file, scores, {PART}, limit, say, progress)
            if ranked.errors:
                say(f"{ranked.errors:,} rows set aside: {ranked.errors_path}")
            fusion = _fit(opened, ranker, engine, model, file, scores)
    write_fusion(path, fusion)
    # The scores were kept only so that a stopped run could go on.
    for name in (scores, scores.with_name(f"{scores.stem}.config.json")):
        name.unlink(missing_ok=True)
    if not ranked.errors:
        ranked.errors_path.unlink(missing_ok=True)
    return Fused(path, fusion)


def _check(opened: OpenTask, engine: str) -> None:
    task, where = opened.task, str(opened.place.path)
    if engine.startswith(STUDENT):
        raise InputError(
            "a fusion is over a decoder's log-odds; fuse with a decoder, not a student"
        )
    if task.fusion is None:
        raise TaskError(
            where, ["fusion: is missing; name the numbers, such as fusion: {fields: [stats.liked]}"]
        )
    if task.split is None or task.split.valid is None:
        raise TaskError(
            where, ["split.valid: is missing; a fusion is fitted on the validation part"]
        )


def _fit(
    opened: OpenTask,
    ranker: Ranker,
    engine: str,
    model: str | None,
    file: RequestFile,
    scores: Path,
) -> FittedFusion:
    from promptrank.assets import resolve_model
    from promptrank.requests.sampling import file_digest

    task = opened.task
    assert task.fusion is not None, "checked before"
    fields = tuple(task.fusion.fields)
    rows, requests = _rows(opened, file, scores, fields)
    names = [*(f"{DECODER}{name}" for name in task.questions), *fields]
    fused, without = fit_fusion(rows, names)
    folder = resolve_model(model or task.model)
    return FittedFusion(
        task=opened.name,
        fields=fields,
        fused=fused,
        without=without,
        fitted_on=FittedOn(
            PART, file_digest(file.path), requests, len(rows.values), sum(rows.relevant)
        ),
        model=model_digest(engine, folder),
        adapter=adapter_digest(ranker.adapter),
        fingerprints=fingerprints(opened),
        versions=versions(),
        command=("promptrank", *sys.argv[1:]),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _rows(
    opened: OpenTask, file: RequestFile, scores: Path, fields: tuple[str, ...]
) -> tuple[FusionRows, int]:
    """Labelled and scored candidates of the validation part, and of how many requests they are."""
    gain, relevant_at = gain_of(opened.task)
    said = read_logprobs(scores, opened.task)
    rows, requests = FusionRows(), 0
    for request in read(opened, file.path, {PART}, {}):
        before = len(rows.values)
        for candidate in request.candidates:
            worth, found = gain(candidate), said.get((request.request_id, candidate.candidate_id))
            if worth is None or found is None:
                continue
            try:
                numbers = field_values(request, candidate, fields)
            except RowError as error:
                raise InputError(f"request {request.request_id}: {error.message}") from None
            rows.values.append({**decoder_values(opened.task, found), **numbers})
            rows.relevant.append(worth >= relevant_at)
            rows.weight.append(1.0 if candidate.weight is None else candidate.weight)
        requests += len(rows.values) > before
    return rows, requests
