"""What is wanted of an evaluation, held against the requests and baselines that there are."""

from pathlib import Path

from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.evaluation.prompt_slices import named_by_prompts, prompt_slicings
from promptrank.evaluation.requirements import check_rankers, check_slices
from promptrank.evaluation.sampled import metrics_over, sampling_of_request
from promptrank.evaluation.seen import SeenInTraining
from promptrank.evaluation.slices import Slicing, fit_slicings
from promptrank.requests.source import Sample
from promptrank.runs.outputs import check_output, same_file
from promptrank.workspace.baselines import check_made
from promptrank.workspace.fusions import unfused
from promptrank.workspace.measuring import MeasuredOn
from promptrank.workspace.obscurable import check_obscurable
from promptrank.workspace.probing import PlannedEdit, planned_edits
from promptrank.workspace.rivals import LOGGED, check_common, check_logged, check_own
from promptrank.workspace.wanted_evaluation import WantedEvaluation


def slicings_on(
    wanted: WantedEvaluation, sample: Sample, seen: SeenInTraining, say: Say
) -> tuple[Slicing, ...]:
    """The slicings that are wanted, once what is wanted is checked on these requests.

    Those by prompts need the ranker's scores: `promptrank.evaluation.prompt_slices`.

    Raises:
        InputError: the requests do not have what it takes.
    """
    sampling = next((sampling_of_request(request) for request in sample), None)
    for each in wanted.requirements:
        try:
            metrics_over([each.metric], sampling)
        except InputError as error:
            why = str(error).removeprefix("metrics: ")
            raise InputError(f"--require {each.text!r}: {why}") from None
    if wanted.scores is not None:
        check_own(wanted.scores, sample)
        prompt_slicings(wanted.slices, wanted.scores)
    slicings = fit_slicings(wanted.slices, sample, seen)
    check_slices(wanted.requirements, [*slicings, *named_by_prompts(wanted.slices)])
    if wanted.obscuring is not None:
        fields = wanted.student or wanted.baseline is not None
        check_obscurable(wanted.opened, wanted.obscuring, sample, student=fields)
    if any(who.kind == LOGGED for who in wanted.vs):
        check_logged(sample)
    check_common(wanted.files, sample, say)
    return slicings


def check_fitted(wanted: WantedEvaluation, on: MeasuredOn) -> None:
    """Refuse what needs a baseline that could not be made.

    Raises:
        InputError: such a fusion of ranks, or such a requirement.
    """
    check_made(wanted.by_ranks, on.baselines, on.sample)
    baselines = on.baseline_names()
    rankers = [wanted.reference, *map(str, wanted.vs), *baselines, *wanted.fused]
    check_rankers(wanted.requirements, wanted.judged, rankers, baselines)


def planned_on(
    wanted: WantedEvaluation, sample: Sample, kept: Path | None, model: str | None, say: Say
) -> list[PlannedEdit]:
    """What probes will rank with, once all that can be refused of them is refused.

    Args:
        kept: where the ranker's own scores go, if anywhere.

    Raises:
        InputError: a probe has nothing to change here, or its scores would go over a rival's.
    """
    planned = planned_edits(
        wanted.probes,
        unfused(wanted.opened),
        sample,
        prompts=wanted.decoder or wanted.student_prompted,
        model=model,
        say=say,
    )
    files = [plan.path(kept) for plan in planned]
    for file in files:
        if file is not None:
            check_output(file, (".parquet",))
    for who in wanted.rivals:
        if who.kind == "scores" and any(same_file(who.name, file) for file in files):
            raise InputError(
                f"--vs {who}: this run writes a probe's scores there, beside --out; write elsewhere"
            )
    return planned
