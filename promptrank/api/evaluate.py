"""``evaluate``: a ranker beside others and cheap baselines on the same candidates."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptrank.basics.owner import owned
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.engine.compute import Compute
from promptrank.errors import InputError
from promptrank.fusion.scored import without_decoder
from promptrank.ranking.ranker import Ranker
from promptrank.runs.outputs import check_output, same_file, taken
from promptrank.runs.scoring import reasons_beside
from promptrank.runtime.runtime import Runtime
from promptrank.scores.scores import Scores, cuts_of, label_mass_of, thin_answers
from promptrank.workspace.adapters import unseen_task
from promptrank.workspace.baselines import baseline_ranker
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.fusions import FUSED, WITHOUT, fusion_of, unfused
from promptrank.workspace.named import Named
from promptrank.workspace.rankers import open_ranker
from promptrank.workspace.rivals import LOGGED, open_rival
from promptrank.workspace.tasks import OpenTask, open_task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report
    from promptrank.evaluation.seen import SeenInTraining
    from promptrank.evaluation.slices import Slicing
    from promptrank.prompt.encode import Encoder
    from promptrank.requests.source import Sample
    from promptrank.workspace.measuring import MeasuredOn
    from promptrank.workspace.wanted_evaluation import WantedEvaluation


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
            ``corrections`` takes it back.
        with_text: the report's example requests have prompts and texts too, not ids alone; so
            do doubts.
        out: where to write the report: ``.json``, or ``.html`` for a page to read, which has the
            JSON beside it. Scores go beside it (``<stem>.scores.parquet``, and
            ``<stem>.obscured.scores.parquet``, and ``<stem>.probe-NAME.scores.parquet``).

    Raises:
        InputError: whatever in the input keeps it from ranking, such as an ``obscure`` of a field
            that is not there, that holds no texts, or that the template does not print; a probe
            that has nothing to change; or a requirement that names no metric, ranker or slice.
    """
    from promptrank.evaluation.page.page import ENDINGS, check_json_beside, write_as
    from promptrank.evaluation.prompt_slices import prompt_slicings
    from promptrank.evaluation.requirements import metrics_needed
    from promptrank.workspace.label_audit import Audited, check_doubts, write_doubts
    from promptrank.workspace.measuring import measured_on
    from promptrank.workspace.probing import PlannedEdit, ProbedRanker, rows_of_probes
    from promptrank.workspace.wanted_evaluation import (
        check_fitted,
        planned_on,
        slicings_on,
        wanted_evaluation,
    )

    compute = Compute(threads, device, dtype)
    opened = open_task(task, project=project, settings=settings)
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
    kept, kept_obscured = _scores_beside(wanted, out)
    for who in wanted.rivals:
        if who.kind == "scores" and any(same_file(who.name, k) for k in (kept, kept_obscured)):
            raise InputError(
                f"--vs {who}: this run writes its own scores there, beside --out; write elsewhere"
            )
    audits: list[Audited] = []
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
        Runtime() as runtime,
    ):
        check_fitted(wanted, on)
        given: dict[str, Any] = {"model": model, "runtime": runtime, "say": say}

        def open_own(worded: OpenTask = opened, say: Say = say) -> AbstractContextManager[Ranker]:
            if wanted.baseline is not None:
                return baseline_ranker(worded, wanted.baseline, on.baselines)
            # A changed template is worth a look here, and what it costs is what one looks for.
            how = {**asdict(compute), **given, "say": say}
            return open_ranker(worded, engine=engine, adapter=adapter, allow_changed=True, **how)

        if wanted.scores is not None and scores is not None:
            errors = reasons_beside(Path(scores)) or on.set_aside()
            encoder = encoder_of(opened, model, say) if with_text else None
            own = _Own(wanted.scores, errors, encoder)
        else:
            own = _ranked(wanted, on, open_own, kept, kept_obscured, say, progress)
        slicings += prompt_slicings(wanted.slices, own.scores)
        compared, pairs, control = _side_by_side(wanted, on, own)
        decoder = "packed" if wanted.baseline or wanted.student else engine

        def open_other(who: Named) -> AbstractContextManager[Ranker]:
            return open_rival(unfused(opened), who, decoder, adapter, compute=compute, **given)

        compared |= _rivals_scores(wanted, on, open_other, wanted.files, say, progress)
        plain = compared[wanted.reference]
        asked = ProbedRanker(wanted.reference, plain, own.encoder, open_own, kept)
        probed = rows_of_probes(asked, planned, on, draws, say, progress)

        def audit(scores: Mapping[str, Scores]) -> None:
            if doubtful is not None:
                made_up = control[0] if control is not None else None
                done = write_doubts(
                    opened, doubtful, on.sample, scores, control=made_up, with_text=with_text
                )
                audits.append(done)

        report = on.report(
            "eval",
            compared,
            reference=wanted.reference,
            metrics=metrics_needed(opened.task.metrics, wanted.requirements),
            draws=draws,
            pairs=[*pairs, *wanted.pairs],
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
        notes = (*report.notes, *(each.told() for each in audits))
        report = replace(report, notes=notes, probes=probed)
        report = _concluded(report, wanted, on, own, slicings, with_text=with_text)
        if out is not None:
            write_as(report, Path(out))
    return report


@dataclass(frozen=True, slots=True)
class _Own:
    """What the evaluated ranker said.

    Attributes:
        errors: rows that were set aside, by reason.
        encoder: what made its prompts, None where it has none or nobody needs it.
        obscured: what it said where texts are made up.
        facts: of its engine, for the report's provenance.
    """

    scores: Scores
    errors: Mapping[str, int]
    encoder: "Encoder | None"
    obscured: Scores | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def _scores_beside(
    wanted: "WantedEvaluation", out: str | Path | None
) -> tuple[Path | None, Path | None]:
    """Where scores are kept beside a report, and those with made-up texts."""
    if out is None or wanted.scores is not None:
        return None, None
    kept = Path(out).with_suffix(".scores.parquet")
    if wanted.obscuring is None:
        return kept, None
    return kept, kept.with_name(f"{Path(kept.stem).stem}.obscured.scores.parquet")


def _ranked(
    wanted: "WantedEvaluation",
    on: "MeasuredOn",
    open_own: Callable[[], AbstractContextManager[Ranker]],
    kept: Path | None,
    kept_obscured: Path | None,
    say: Say,
    progress: Progress,
) -> _Own:
    """Rank the part, and once more with made-up texts where that is wanted."""
    obscured = None
    with open_own() as ranker:
        scores, errors = on.scores(ranker, kept, say, progress)
        if wanted.obscuring is not None:
            say(f"ranking with made-up texts in {', '.join(wanted.obscuring.fields)}")
            made_up = on.sample.obscured(wanted.obscuring)
            obscured, _ = on.scores(ranker, kept_obscured, say, progress, made_up)
        facts = {
            "notes": [*ranker.info.notes, *ranker.notes()],
            "label_mass": label_mass_of(scores, wanted.opened.task),
        }
        return _Own(scores, errors, ranker.encoder, obscured, facts)


def _rivals_scores(
    wanted: "WantedEvaluation",
    on: "MeasuredOn",
    open_other: Callable[[Named], AbstractContextManager[Ranker]],
    files: Mapping[Named, Scores],
    say: Say,
    progress: Progress,
) -> dict[str, Scores]:
    """The other rankers' scores: those of files as they are, the rest by ranking."""
    scores = {}
    for who in wanted.rivals:
        if who.kind == LOGGED:
            continue  # the log's scores stand in every report that has some
        if who in files:
            scores[str(who)] = files[who]
            continue
        say(f"ranking with {who}")
        with open_other(who) as ranker:
            scores[str(who)], _ = on.scores(ranker, None, say, progress)
    return scores


def _side_by_side(
    wanted: "WantedEvaluation", on: "MeasuredOn", own: _Own
) -> tuple[dict[str, Scores], list[tuple[str, str]], tuple[str, str] | None]:
    """What the ranker's own scores put into the comparison; pairs, and the control, to tell of."""
    task, reference = wanted.opened.task, wanted.reference
    compared, pairs = {reference: own.scores}, []
    if task.fused:
        fusion = fusion_of(own.scores).fusion
        compared = {reference: own.scores.before_steps(task), FUSED: own.scores}
        if fusion.fields:
            compared[WITHOUT] = without_decoder(fusion, on.sample, WITHOUT)
            # Only what a fusion gains over the same without the decoder is the decoder's.
            pairs = [(FUSED, WITHOUT)]
    if own.obscured is None:
        return compared, pairs, None
    control = f"{reference}, obscured", reference
    compared[control[0]] = own.obscured.before_steps(task) if task.fused else own.obscured
    return compared, pairs, control


def _concluded(
    report: "Report",
    wanted: "WantedEvaluation",
    on: "MeasuredOn",
    own: _Own,
    slicings: Sequence["Slicing"],
    *,
    with_text: bool,
) -> "Report":
    """The report with all that is known of the run, the requirements' results and the verdict."""
    from promptrank.evaluation.label_mass import mass_alerts
    from promptrank.evaluation.requirements import results_of
    from promptrank.evaluation.transfer import transfers_of
    from promptrank.evaluation.verdict import verdict_of
    from promptrank.workspace.example_texts import told_examples

    examples = report.examples
    if with_text:
        examples = told_examples(wanted.opened, examples, on.sample, own.encoder)
    told = (unseen_task(wanted.opened.name, row.origin.get("adapter")) for row in report.rankers)
    unseen = dict.fromkeys(note for note in told if note is not None)
    task, times = wanted.opened.task, on.stretches()
    parted = [*slicings, *([times.slicing] if times is not None else [])]
    masses = thin_answers(label_mass_of(own.scores, task))
    masses += mass_alerts(task, on.sample, own.scores, parted)
    report = replace(
        report,
        examples=examples,
        cuts=cuts_of(own.scores),
        errors=own.errors,
        notes=(*report.notes, *wanted.notes, *unseen, *masses),
        provenance={**report.provenance, **own.facts},
    )
    report = replace(report, transfers=tuple(transfers_of(report, wanted.kin)))
    report = replace(report, requirements=tuple(results_of(report, wanted.requirements)))
    return replace(report, verdict=verdict_of(report, wanted.to_beat))
