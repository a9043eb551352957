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
from promptrank.workspace.fusions import FUSED, WITHOUT, fusion_of, unfused
from promptrank.workspace.named import parse_named
from promptrank.workspace.obscurable import check_obscurable
from promptrank.workspace.rankers import STUDENT, named_by, open_named, open_ranker
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report


RRF = "rrf"
_RIVALS = ("student", "adapter", "base", "baseline", "scores", RRF)


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
            (those of `promptrank.baselines.listing` that are not always there), ``scores:FILE``,
            or ``rrf:decoder+bm25``: rankers of the comparison, baselines too, fused by their ranks.
        obscure: fields, such as ``item.title``, whose texts the ranker also sees made up: a control
            that tells ranking from remembering. The report says what share of its lift survives.
        slices: compare again by ``history`` (events that the request brings) or ``item_events``
            (events of the item before the request).
        draws: bootstrap draws of whole subjects, for 95% intervals.
        out: where to write the report as JSON; scores go beside it (``<stem>.scores.parquet``, and
            ``<stem>.obscured.scores.parquet``).

    Raises:
        InputError: whatever in the input keeps it from ranking, such as an ``obscure`` of a field
            that is not there, that holds no texts, or that the template does not print.
    """
    from promptrank.evaluation.report import write_report
    from promptrank.evaluation.slices import check_slicings, slicings_of
    from promptrank.workspace.measuring import measured_on

    compute = Compute(threads, device, dtype)
    opened = open_task(task, project=project, settings=settings)
    named_all = [parse_named(text, _RIVALS) for text in vs]
    rivals = [who for who in named_all if who.kind not in (RRF, "baseline")]
    cheap = [who.name for who in named_all if who.kind == "baseline"]
    baseline = baseline_engine(opened, engine, model, adapter)
    wanted = wanted_baselines(cheap, engine)
    by_ranks = [who.name for who in named_all if who.kind == RRF]
    slicings = slicings_of(slices)
    obscuring = Obscuring(obscure) if obscure else None
    if obscuring is not None and scores is not None:
        raise InputError("--obscure ranks anew, with made-up texts; leave --scores out")
    if out is not None:
        check_output(out, (".json",), [requests, scores])
    given_scores = None
    if scores is not None:
        given_scores = open_scores(opened, scores, say, allow_changed=allow_changed)
    if by_ranks:
        first = given_scores.origin.ranker if given_scores is not None else named_by(engine, opened)
        fused = [FUSED, WITHOUT] if opened.task.fused else []
        check_by_ranks(by_ranks, [first, *fused, *map(str, rivals), *wanted.names])
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
        check_slicings(slicings, on.sample)
        check_made(by_ranks, on.baselines, on.sample)
        if obscuring is not None:
            fields = engine.startswith(STUDENT) or baseline is not None
            check_obscurable(opened, obscuring, on.sample, student=fields)
        hidden: Scores | None = None
        if given_scores is not None and scores is not None:
            own, errors = given_scores, reasons_beside(Path(scores)) or on.set_aside()
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
                if obscuring is not None:
                    say(f"ranking with made-up texts in {', '.join(obscuring.fields)}")
                    hidden, _ = on.scores(ranker, obscured_kept, say, progress, obscuring)
                facts = {
                    "notes": [*ranker.info.notes, *ranker.notes()],
                    "label_mass": label_mass_of(own, opened.task),
                }
        reference = own.origin.ranker
        compared = {reference: own}
        pairs = []
        if opened.task.fused:
            fusion = fusion_of(own)
            compared = {reference: own.before_steps(opened.task), FUSED: own}
            compared[WITHOUT] = without_decoder(fusion.fusion, on.sample, WITHOUT)
            # Only what a fusion gains over the same fusion without the decoder is the decoder's.
            pairs = [(FUSED, WITHOUT)]
        control = None
        if hidden is not None:
            control = f"{reference}, obscured", reference
            compared[control[0]] = hidden.before_steps(opened.task) if opened.task.fused else hidden
        decoder = "packed" if baseline or engine.startswith(STUDENT) else engine
        for who in rivals:
            if who.kind == "scores":
                named = open_scores(unfused(opened), who.name, say, allow_changed=True)
            else:
                say(f"ranking with {who}")
                with open_named(
                    unfused(opened), who, engine=decoder, compute=compute, **given
                ) as ranker:
                    named, _ = on.scores(ranker, None, say, progress)
            compared[str(who)] = named
        report = on.report(
            "eval",
            compared,
            reference=reference,
            draws=draws,
            pairs=pairs,
            control=control,
            slicings=slicings,
            by_ranks=by_ranks,
            say=say,
        )
        report = replace(
            report,
            cuts=cuts_of(own),
            errors=errors,
            provenance={**report.provenance, **facts},
        )
        if out is not None:
            write_report(report, Path(out))
    return report
