"""``evaluate``: a ranker beside others and cheap baselines on the same candidates."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.owner import owned
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.compute import Compute
from promptrank.errors import InputError
from promptrank.ranking.ranker import Ranker
from promptrank.runs.outputs import check_output, same_file, taken
from promptrank.runs.scoring import reasons_beside
from promptrank.runtime.runtime import Runtime
from promptrank.scores.scores import Scores
from promptrank.workspace.baselines import baseline_ranker
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.fusions import unfused
from promptrank.workspace.kept_scores import (
    CacheChoice,
    check_weights_known,
    score_cache,
    tell_use,
)
from promptrank.workspace.named import Named
from promptrank.workspace.policies import open_policy, policy_rows, without_steps
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.rivals import open_rival
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.evaluation.seen import SeenInTraining
    from promptrank.evaluation.slices import Slicing
    from promptrank.requests.source import Sample


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
    cache: CacheChoice = False,
    vs: Sequence[str] = (),
    obscure: Sequence[str] = (),
    probes: Sequence[str] = (),
    slices: Sequence[str] = (),
    draws: int = 1000,
    with_text: bool = False,
    clip: float | None = None,
    require: Sequence[str] = (),
    doubts: str | Path | None = None,
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
        cache: have every decoder answer from the score cache where it can, and add to it what it
            cannot: True for the project's, or a folder.
        vs: further rankers on the same candidates, each with its paired difference:
            ``student:NAME``, ``adapter:NAME``, ``base``, ``baseline:NAME`` or ``baseline:all``
            (those of `promptrank.baselines.listing` that are not always there), ``template:FILE``
            (the same decoder and adapter with another template), ``logged`` (the log's own scores),
            ``scores:FILE``, or ``rrf:decoder+bm25``: rankers of the comparison, baselines too,
            fused by their ranks.
        obscure: fields, such as ``item.title``, whose texts the ranker also sees made up: a control
            that tells ranking from remembering. The report says what share of its lift survives.
        probes: rank again with one thing changed, and tell in ``Report.probes`` what it changes:
            ``instruction``, ``answers``, ``history:shuffled``, ``candidates:shuffled``,
            ``sections``, ``context``, or ``set:KEY=VALUE`` (`promptrank.probes.known.PROBES`).
        slices: compare again by ``history`` (events that the request brings), ``item_events``
            (events of the item before the request), ``position``, ``subject_seen``, ``item_seen``,
            ``days_after_training``, ``label_source``, ``prompt_tokens``, ``cut``, a field such as
            ``item.brand``, or an expression over fields such as ``item.year >= 1990``.
        draws: bootstrap draws of whole subjects, for 95% intervals.
        clip: where the log has propensities, weights of the off-policy estimates above this count
            as this; that biases them.
        require: what the ranker must reach, such as ``auc >= base + 0.01`` or
            ``ndcg@10[history=1-2] >= baseline:best clear``
            (`promptrank.evaluation.requirements`); whether it does is in ``Report.requirements``.
        doubts: where to write the labels that the rankers most agree to doubt, as CSV for a person
            to fill in (`promptrank.evaluation.doubts` says by what measure); the task's key
            ``corrections`` takes it back. None is written where no ranker has a say.
        with_text: the report's example requests have prompts and texts too, not ids alone; so
            do doubts.
        out: where to write the report: ``.json``, or ``.html`` for a page to read, which has the
            JSON beside it. Scores go beside it (``<stem>.scores.parquet``, and
            ``<stem>.obscured.scores.parquet``, and ``<stem>.probe-NAME.scores.parquet``).

    Raises:
        InputError: whatever in the input keeps it from ranking, such as an ``obscure`` of a field
            that is not there, that holds no texts, or that the template does not print; a probe
            that has nothing to change; or a requirement that names no metric, ranker or slice.
            After ``out`` was written: somebody wrote answers into ``doubts`` in the meantime
            (without ``out`` a note says so, since the report would be lost).
    """
    from promptrank.evaluation.page.page import ENDINGS, check_json_beside, write_as
    from promptrank.evaluation.prompt_slices import prompt_slicings
    from promptrank.evaluation.requirements import metrics_needed
    from promptrank.workspace.evaluated import (
        OwnScores,
        concluded,
        ranked,
        rivals_scores,
        scores_beside,
        side_by_side,
    )
    from promptrank.workspace.label_audit import check_doubts, write_doubts
    from promptrank.workspace.measuring import measured_on
    from promptrank.workspace.probing import PlannedEdit, ProbedRanker, rows_of_probes
    from promptrank.workspace.wanted_evaluation import wanted_evaluation
    from promptrank.workspace.wanted_on_requests import check_fitted, planned_on, slicings_on

    check_weights_known(engine, cache)
    compute = Compute(threads, device, dtype)
    declared = open_task(task, project=project, settings=settings)
    policy, opened = open_policy(declared, explore=False), without_steps(declared)
    if out is not None:
        check_output(out, ENDINGS, [requests, scores])
        check_json_beside(Path(out))
    doubtful = check_doubts(doubts) if doubts is not None else None
    wanted = wanted_evaluation(
        opened,
        scores=scores,
        engine=engine,
        model=model,
        adapter=adapter,
        allow_changed=allow_changed,
        vs=vs,
        obscure=obscure,
        probes=probes,
        slices=slices,
        require=require,
        clip=clip,
        say=say,
    )
    kept, kept_obscured = scores_beside(wanted, out)
    for who in wanted.rivals:
        if who.kind == "scores" and any(same_file(who.name, k) for k in (kept, kept_obscured)):
            raise InputError(
                f"--vs {who}: this run writes its own scores there, beside --out; write elsewhere"
            )
    audits: list[str] = []
    refused: list[InputError] = []
    slicings: list[Slicing] = []
    planned: list[PlannedEdit] = []

    def check(sample: "Sample", seen: "SeenInTraining") -> None:
        slicings.extend(slicings_on(wanted, sample, seen, say))
        planned.extend(planned_on(wanted, sample, kept, model, say))

    with (
        taken(out, "eval"),
        # By its whole name: it goes with no other file, and may have a report's stem.
        nullcontext() if doubtful is None else owned(doubtful, "eval"),
        taken(kept, "eval"),
        taken(kept_obscured, "eval"),
        measured_on(opened, requests, split, limit, say, wanted.baselines, check) as on,
        score_cache(opened.project, cache, say) as kept_scores,
        Runtime(cache=kept_scores) as runtime,
    ):
        check_fitted(wanted, on)
        given: dict[str, Any] = {"model": model, "runtime": runtime, "say": say}

        def open_own(worded: OpenTask = opened, say: Say = say) -> AbstractContextManager[Ranker]:
            if wanted.baseline is not None:
                return baseline_ranker(worded, wanted.baseline, on.baselines, on.file)
            # A changed template is worth a look here, and what it costs is what one looks for.
            how = {**asdict(compute), **given, "say": say}
            return open_ranker(worded, engine=engine, adapter=adapter, allow_changed=True, **how)

        if wanted.scores is not None and scores is not None:
            errors = reasons_beside(Path(scores)) or on.set_aside()
            encoder = encoder_of(opened, model, say) if with_text else None
            own = OwnScores(wanted.scores, errors, encoder)
        else:
            own = ranked(wanted, on, open_own, kept, kept_obscured, say, progress)
        slicings += prompt_slicings(wanted.slices, own.scores)
        compared, pairs, control = side_by_side(wanted, on, own)
        by_policy, of_policy = policy_rows(
            policy, on.sample, compared, wanted.judged, wanted.reference
        )
        decoder = "packed" if wanted.baseline or wanted.student else engine

        def open_other(who: Named) -> AbstractContextManager[Ranker]:
            return open_rival(unfused(opened), who, decoder, adapter, compute=compute, **given)

        compared |= by_policy
        compared |= rivals_scores(wanted, on, open_other, wanted.files, say, progress)
        plain = compared[wanted.reference]
        asked = ProbedRanker(wanted.reference, plain, own.encoder, open_own, kept)
        metrics = metrics_needed(opened.task.metrics, wanted.requirements)
        probed = rows_of_probes(asked, planned, on, metrics, draws, say, progress)

        def audit(scores: Mapping[str, Scores]) -> None:
            if doubtful is not None:
                made_up = control[0] if control is not None else None
                try:
                    done = write_doubts(
                        opened, doubtful, on.sample, scores, control=made_up, with_text=with_text
                    )
                    audits.append(done.told())
                except InputError as error:  # somebody wrote there while this ran
                    audits.append(f"label audit: nothing written: {error}")
                    refused.append(error)

        report = on.report(
            "eval",
            compared,
            reference=wanted.reference,
            metrics=metrics,
            draws=draws,
            pairs=[*pairs, *of_policy, *wanted.pairs],
            control=control,
            judged=wanted.judged,
            slicings=slicings,
            by_ranks=wanted.by_ranks,
            examples=True,
            drift=True,
            clip=clip,
            watch=audit,
            say=say,
        )
        notes = (*report.notes, *audits)
        report = replace(report, notes=notes, probes=probed)
        tell_use(kept_scores, say)
        report = concluded(report, wanted, on, own, slicings, with_text=with_text)
        if out is not None:
            write_as(report, Path(out))
            if refused:  # last, for the report is worth what it took
                raise refused[0]
    return report
