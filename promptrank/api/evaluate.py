"""``evaluate``: a ranker beside others and cheap baselines on the same candidates."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.compute import Compute
from promptrank.errors import InputError
from promptrank.fusion.scored import without_decoder
from promptrank.requests.obscure import Obscuring
from promptrank.runs.outputs import check_output, taken
from promptrank.runs.scoring import reasons_beside
from promptrank.runtime.runtime import Runtime
from promptrank.scores.scores import Scores, cuts_of, label_mass_of
from promptrank.workspace.baselines import (
    baseline_engine,
    baseline_ranker,
    check_by_ranks,
    check_made,
    wanted_baselines,
)
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.fusions import FUSED, WITHOUT, fusion_of, unfused
from promptrank.workspace.named import parse_named
from promptrank.workspace.obscurable import check_obscurable
from promptrank.workspace.rankers import STUDENT, open_ranker, ranker_name
from promptrank.workspace.rivals import (
    LOGGED,
    check_logged,
    check_templates,
    open_rival,
    scores_files,
)
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.prompt.encode import Encoder


RRF = "rrf"
_RIVALS = ("student", "adapter", "base", "baseline", "template", LOGGED, "scores", RRF)
_TO_BEAT = ("adapter", "base", "template")
"""Kinds of rivals that a decoder has to beat before it ships."""


def evaluate(
    task: str | OpenTask,
    *,
    requests: str | Path | None = None,
    scores: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    engine: str = "packed",
    model: str | None = None,
    adapter: str | Path | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    threads: int | None = None,
    device: str = "auto",
    dtype: str | None = None,
    allow_changed: bool = False,
    vs: Sequence[str] = (),
    obscure: Sequence[str] = (),
    slices: Sequence[str] = (),
    draws: int = 1000,
    with_text: bool = False,
    clip: float | None = None,
    require: Sequence[str] = (),
    out: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> "Report":
    """Rank one part of a task's requests and compare with baselines learned from ``train``.

    Args:
        requests: a request file with all parts; the task's own tables where left out.
        scores: a scores file of these requests, made by any ranker; then nothing is scored.
        split: the part to evaluate; ``test`` where the task declares a split, else everything.
        limit: at most this many of its requests, sampled by a hash of their ids; baselines still
            learn from all of ``train``.
        allow_changed: take ``scores`` of other prompts than the task words today.
        vs: further rankers on the same candidates, each with its paired difference:
            ``student:NAME``, ``adapter:NAME``, ``base``, ``baseline:NAME`` or ``baseline:all``
            (those of `promptrank.baselines.listing` that are not always there), ``template:FILE``
            (the same decoder and adapter with another template), ``logged`` (the log's own scores),
            ``scores:FILE``, or ``rrf:decoder+bm25``: rankers of the comparison, baselines too,
            fused by their ranks.
        obscure: fields, such as ``item.title``, whose texts the ranker also sees made up: a control
            that tells ranking from remembering. The report says what share of its lift survives.
        slices: compare again by ``history`` (events that the request brings), ``item_events``
            (events of the item before the request), ``position``, ``subject_seen``, ``item_seen``,
            ``days_after_training``, or a field such as ``item.brand``.
        draws: bootstrap draws of whole subjects, for 95% intervals.
        clip: where the log has propensities, weights of the off-policy estimates above this count
            as this; that biases them.
        require: what the ranker must reach, such as ``auc >= base + 0.01`` or
            ``ndcg@10[history=1-2] >= baseline:best clear``
            (`promptrank.evaluation.requirements`); whether it does is in ``Report.requirements``.
        with_text: the report's example requests have prompts and texts too, not ids alone.
        out: where to write the report: ``.json``, or ``.html`` for a page to read, which has the
            JSON beside it. Scores go beside it (``<stem>.scores.parquet``, and
            ``<stem>.obscured.scores.parquet``).

    Raises:
        InputError: whatever in the input keeps it from ranking, such as an ``obscure`` of a field
            that is not there, that holds no texts, or that the template does not print; or a
            requirement that names no metric, ranker or slice.
    """
    from promptrank.evaluation.page.page import ENDINGS, write_as
    from promptrank.evaluation.requirements import (
        check_rankers,
        check_slices,
        metrics_needed,
        parse_requirements,
        results_of,
        slicings_needed,
    )
    from promptrank.evaluation.slices import check_names, fit_slicings
    from promptrank.evaluation.verdict import verdict_of
    from promptrank.workspace.example_texts import told_examples
    from promptrank.workspace.measuring import measured_on

    compute = Compute(threads, device, dtype)
    opened = open_task(task, project=project, settings=settings)
    named_all = [parse_named(text, _RIVALS) for text in vs]
    rivals = [who for who in named_all if who.kind not in (RRF, "baseline")]
    cheap = [who.name for who in named_all if who.kind == "baseline"]
    baseline = baseline_engine(opened, engine, model, adapter)
    wanted = wanted_baselines(cheap, engine)
    by_ranks = [who.name for who in named_all if who.kind == RRF]
    requirements = parse_requirements(require)
    slices = slicings_needed(slices, requirements)
    check_names(slices)
    if clip is not None and not clip > 0:
        raise InputError(f"--clip {clip:g}: give a weight above 0, or leave it out")
    obscuring = Obscuring(obscure) if obscure else None
    if obscuring is not None and scores is not None:
        raise InputError("--obscure ranks anew, with made-up texts; leave --scores out")
    student = engine.startswith(STUDENT)
    if any(who.kind == "template" for who in rivals) and (student or scores is not None):
        raise InputError(
            "--vs template: ranks by the same decoder as the ranker beside it; leave --scores and "
            "students out"
        )
    notes = check_templates(opened, rivals, adapter, say)
    if out is not None:
        check_output(out, ENDINGS, [requests, scores])
    given_scores = None
    reference = ranker_name(opened, engine)
    if scores is not None:
        given_scores = open_scores(opened, scores, say, allow_changed=allow_changed)
        reference = given_scores.origin.ranker
    if by_ranks:
        fused = [FUSED, WITHOUT] if opened.task.fused else []
        check_by_ranks(by_ranks, [reference, *fused, *map(str, rivals), *wanted.names])
    facts: dict[str, Any] = {}
    kept = Path(out).with_suffix(".scores.parquet") if out is not None and scores is None else None
    obscured_kept = None
    if kept is not None and obscuring is not None:
        obscured_kept = kept.with_name(f"{Path(kept.stem).stem}.obscured.scores.parquet")
    with (
        taken(out, "eval"),
        taken(kept, "eval"),
        taken(obscured_kept, "eval"),
        measured_on(opened, requests, split, limit, say, wanted) as on,
        Runtime() as runtime,
    ):
        given: dict[str, Any] = {"model": model, "runtime": runtime, "say": say}
        slicings = fit_slicings(slices, on.sample, on.seen)
        check_slices(requirements, slicings)
        check_made(by_ranks, on.baselines, on.sample)
        if obscuring is not None:
            fields = student or baseline is not None
            check_obscurable(opened, obscuring, on.sample, student=fields)
        if any(who.kind == LOGGED for who in rivals):
            check_logged(on.sample)
        files = scores_files(unfused(opened), rivals, on.sample, say)
        judged = FUSED if opened.task.fused else reference
        if any(requirement.ranker is not None for requirement in requirements):
            baselines = on.baseline_names()
            named = [reference, *map(str, named_all), *baselines]
            named += [FUSED, WITHOUT] if opened.task.fused else []
            check_rankers(requirements, judged, named, baselines)
        hidden: Scores | None = None
        encoder: Encoder | None = None
        if given_scores is not None and scores is not None:
            own, errors = given_scores, reasons_beside(Path(scores)) or on.set_aside()
            if with_text:
                encoder = encoder_of(opened, model, say)
        else:
            # A changed template is worth a look here, and what it costs is what one looks for.
            with (
                baseline_ranker(opened, baseline, on.baselines)
                if baseline is not None
                else open_ranker(
                    opened,
                    engine=engine,
                    adapter=adapter,
                    allow_changed=True,
                    **asdict(compute),
                    **given,
                )
            ) as ranker:
                own, errors = on.scores(ranker, kept, say, progress)
                encoder = ranker.encoder
                if obscuring is not None:
                    say(f"ranking with made-up texts in {', '.join(obscuring.fields)}")
                    hidden, _ = on.scores(ranker, obscured_kept, say, progress, obscuring)
                facts = {
                    "notes": [*ranker.info.notes, *ranker.notes()],
                    "label_mass": label_mass_of(own, opened.task),
                }
        compared = {reference: own}
        pairs = []
        if opened.task.fused:
            fusion = fusion_of(own)
            compared = {reference: own.before_steps(opened.task), FUSED: own}
            if fusion.fusion.fields:
                compared[WITHOUT] = without_decoder(fusion.fusion, on.sample, WITHOUT)
                # Only what a fusion gains over the same without the decoder is the decoder's.
                pairs = [(FUSED, WITHOUT)]
        control = None
        if hidden is not None:
            control = f"{reference}, obscured", reference
            compared[control[0]] = hidden.before_steps(opened.task) if opened.task.fused else hidden
        decoder = "packed" if baseline or student else engine
        for who in rivals:
            if who.kind == LOGGED:
                continue  # the log's scores stand in every report that has some
            if who in files:
                compared[str(who)] = files[who]
                continue
            say(f"ranking with {who}")
            with open_rival(
                unfused(opened), who, decoder, adapter, compute=compute, **given
            ) as ranker:
                compared[str(who)], _ = on.scores(ranker, None, say, progress)
        report = on.report(
            "eval",
            compared,
            reference=reference,
            metrics=metrics_needed(opened.task.metrics, requirements),
            draws=draws,
            pairs=pairs,
            control=control,
            judged=judged,
            slicings=slicings,
            by_ranks=by_ranks,
            examples=True,
            clip=clip,
            say=say,
        )
        if with_text:
            told = told_examples(opened, report.examples, on.sample, encoder)
            report = replace(report, examples=told)
        report = replace(
            report,
            cuts=cuts_of(own),
            errors=errors,
            notes=(*report.notes, *notes),
            provenance={**report.provenance, **facts},
        )
        report = replace(report, requirements=tuple(results_of(report, requirements)))
        is_decoder = not reference.startswith(STUDENT)
        also = [str(who) for who in rivals if who.kind in _TO_BEAT and is_decoder]
        report = replace(report, verdict=verdict_of(report, also))
        if out is not None:
            write_as(report, Path(out))
    return report
