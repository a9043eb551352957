"""An evaluation's scores, as they are made and laid side by side, and what its report concludes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from promptrank.basics.telling import Progress, Say
from promptrank.evaluation.label_mass import mass_alerts
from promptrank.evaluation.report import Report
from promptrank.evaluation.requirements import results_of
from promptrank.evaluation.slices import Slicing
from promptrank.evaluation.transfer import transfers_of
from promptrank.evaluation.verdict import verdict_of
from promptrank.fusion.scored import without_decoder
from promptrank.prompt.encode import Encoder
from promptrank.ranking.ranker import Ranker
from promptrank.scores.scores import Scores, cuts_of, label_mass_of, thin_answers
from promptrank.workspace.adapters import unseen_task
from promptrank.workspace.example_texts import told_examples
from promptrank.workspace.fusions import FUSED, WITHOUT, fusion_of
from promptrank.workspace.measuring import MeasuredOn
from promptrank.workspace.named import Named
from promptrank.workspace.rivals import LOGGED
from promptrank.workspace.wanted_evaluation import WantedEvaluation


@dataclass(frozen=True, slots=True)
class OwnScores:
    """What the evaluated ranker said.

    Attributes:
        errors: rows that were set aside, by reason.
        encoder: what made its prompts, None where it has none or nobody needs it.
        obscured: what it said where texts are made up.
        facts: of its engine, for the report's provenance.
    """

    scores: Scores
    errors: Mapping[str, int]
    encoder: Encoder | None
    obscured: Scores | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def scores_beside(
    wanted: WantedEvaluation, out: str | Path | None
) -> tuple[Path | None, Path | None]:
    """Where scores are kept beside a report, and those with made-up texts."""
    if out is None or wanted.scores is not None:
        return None, None
    kept = Path(out).with_suffix(".scores.parquet")
    if wanted.obscuring is None:
        return kept, None
    return kept, kept.with_name(f"{Path(kept.stem).stem}.obscured.scores.parquet")


def ranked(
    wanted: WantedEvaluation,
    on: MeasuredOn,
    open_own: Callable[[], AbstractContextManager[Ranker]],
    kept: Path | None,
    kept_obscured: Path | None,
    say: Say,
    progress: Progress,
) -> OwnScores:
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
        return OwnScores(scores, errors, ranker.encoder, obscured, facts)


def rivals_scores(
    wanted: WantedEvaluation,
    on: MeasuredOn,
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


def side_by_side(
    wanted: WantedEvaluation, on: MeasuredOn, own: OwnScores
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


def concluded(
    report: Report,
    wanted: WantedEvaluation,
    on: MeasuredOn,
    own: OwnScores,
    slicings: Sequence[Slicing],
    *,
    with_text: bool,
) -> Report:
    """The report with all that is known of the run, the requirements' results and the verdict."""
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
