"""What is wanted of an evaluation: read from its arguments, and checked before anything ranks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.evaluation.prompt_slices import named_by_prompts, prompt_slicings
from promptrank.evaluation.requirements import (
    Requirement,
    check_rankers,
    check_slices,
    parse_requirements,
    slicings_needed,
)
from promptrank.evaluation.slices import BY_PROMPT, Slicing, check_names, fit_slicings
from promptrank.requests.obscure import Obscuring
from promptrank.scores.scores import Scores
from promptrank.workspace.baselines import (
    WantedBaselines,
    baseline_engine,
    check_by_ranks,
    check_made,
    wanted_baselines,
)
from promptrank.workspace.fusions import FUSED, WITHOUT
from promptrank.workspace.measuring import MeasuredOn
from promptrank.workspace.named import Named, parse_named
from promptrank.workspace.obscurable import check_obscurable
from promptrank.workspace.rankers import STUDENT, ranker_name
from promptrank.workspace.rivals import LOGGED, check_logged, check_templates
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import OpenTask

RRF = "rrf"
_RIVALS = ("student", "adapter", "base", "baseline", "template", LOGGED, "scores", RRF)
_TO_BEAT = ("adapter", "base", "template")
"""Kinds of rivals that a decoder has to beat before it ships."""


@dataclass(frozen=True, slots=True)
class WantedEvaluation:
    """Which rankers stand side by side, and what is wanted of the comparison.

    Attributes:
        reference: the ranker that the others are compared with.
        engine: what ranks, where ``scores`` is None.
        baseline: the name of the baseline that ``engine`` is, None where it is another engine.
        scores: of the reference, made before.
        vs: every other ranker that was named.
        baselines: those that are fitted.
        slices: those that requirements name, too.
        clip: the largest weight of off-policy estimates.
        notes: what a reader of the report should know of the rankers.
    """

    opened: OpenTask
    reference: str
    engine: str
    baseline: str | None
    scores: Scores | None
    vs: tuple[Named, ...]
    baselines: WantedBaselines
    obscuring: Obscuring | None
    requirements: tuple[Requirement, ...]
    slices: tuple[str, ...]
    clip: float | None
    notes: tuple[str, ...]

    @property
    def rivals(self) -> list[Named]:
        """Rankers of ``vs`` that are opened or read one by one."""
        return [who for who in self.vs if who.kind not in (RRF, "baseline")]

    @property
    def by_ranks(self) -> list[str]:
        """Rankers that are fused by their ranks, each as ``decoder+bm25``."""
        return [who.name for who in self.vs if who.kind == RRF]

    @property
    def student(self) -> bool:
        """Whether a student ranks."""
        return self.engine.startswith(STUDENT)

    @property
    def fused(self) -> list[str]:
        """Names that the task's fusion adds to the comparison."""
        return [FUSED, WITHOUT] if self.opened.task.fused else []

    @property
    def judged(self) -> str:
        """The ranker that would ship."""
        return FUSED if self.opened.task.fused else self.reference

    @property
    def to_beat(self) -> list[str]:
        """Rivals that the judged ranker has to beat, beside the baselines."""
        if self.reference.startswith(STUDENT):
            return []
        return [str(who) for who in self.rivals if who.kind in _TO_BEAT]


def wanted_evaluation(
    opened: OpenTask,
    *,
    scores: str | Path | None,
    engine: str,
    model: str | None,
    adapter: str | Path | None,
    allow_changed: bool,
    vs: Sequence[str],
    obscure: Sequence[str],
    slices: Sequence[str],
    require: Sequence[str],
    clip: float | None,
    say: Say,
) -> WantedEvaluation:
    """Read the arguments of `promptrank.evaluate`, which says what each of them is.

    Raises:
        InputError: they contradict each other, or name what is not there.
    """
    named = tuple(parse_named(text, _RIVALS) for text in vs)
    baseline = baseline_engine(opened, engine, model, adapter)
    baselines = wanted_baselines([who.name for who in named if who.kind == "baseline"], engine)
    requirements = parse_requirements(require)
    slices = slicings_needed(slices, requirements)
    for name in check_names(slices):
        if baseline is not None and name in BY_PROMPT:
            raise InputError(f"--slice {name}: {engine} reads no prompts; slice a decoder's")
    if clip is not None and not clip > 0:
        raise InputError(f"--clip {clip:g}: give a weight above 0, or leave it out")
    obscuring = Obscuring(obscure) if obscure else None
    if obscuring is not None and scores is not None:
        raise InputError("--obscure ranks anew, with made-up texts; leave --scores out")
    templates = any(who.kind == "template" for who in named)
    if templates and (engine.startswith(STUDENT) or scores is not None):
        raise InputError(
            "--vs template: ranks by the same decoder as the ranker beside it; leave --scores and "
            "students out"
        )
    notes = check_templates(opened, named, adapter, say)
    decoder = scores is None and baseline is None and not engine.startswith(STUDENT)
    if decoder and adapter is None and any(who.kind == "base" for who in named):
        notes = [*notes, "base is the ranker itself: no adapter is named"]
        say(f"warning: {notes[-1]}")
    given, reference = None, ranker_name(opened, engine)
    if scores is not None:
        given = open_scores(opened, scores, say, allow_changed=allow_changed)
        reference = given.origin.ranker
    made = WantedEvaluation(
        opened=opened,
        reference=reference,
        engine=engine,
        baseline=baseline,
        scores=given,
        vs=named,
        baselines=baselines,
        obscuring=obscuring,
        requirements=requirements,
        slices=tuple(slices),
        clip=clip,
        notes=tuple(notes),
    )
    if made.by_ranks:
        rankers = [reference, *made.fused, *map(str, made.rivals), *baselines.names]
        check_by_ranks(made.by_ranks, rankers)
    return made


def slicings_on(wanted: WantedEvaluation, on: MeasuredOn) -> tuple[Slicing, ...]:
    """The slicings that are wanted, once all that is wanted is checked on these requests.

    Those by prompts need the ranker's scores: `promptrank.evaluation.prompt_slices`.

    Raises:
        InputError: the requests do not have what it takes.
    """
    if wanted.scores is not None:
        prompt_slicings(wanted.slices, wanted.scores)
    slicings = fit_slicings(wanted.slices, on.sample, on.seen)
    check_slices(wanted.requirements, [*slicings, *named_by_prompts(wanted.slices)])
    check_made(wanted.by_ranks, on.baselines, on.sample)
    if wanted.obscuring is not None:
        fields = wanted.student or wanted.baseline is not None
        check_obscurable(wanted.opened, wanted.obscuring, on.sample, student=fields)
    if any(who.kind == LOGGED for who in wanted.vs):
        check_logged(on.sample)
    if any(requirement.ranker is not None for requirement in wanted.requirements):
        baselines = on.baseline_names()
        rankers = [wanted.reference, *map(str, wanted.vs), *baselines, *wanted.fused]
        check_rankers(wanted.requirements, wanted.judged, rankers, baselines)
    return slicings
