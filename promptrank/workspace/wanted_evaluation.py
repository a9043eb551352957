"""What is wanted of an evaluation: read from its arguments, and checked before anything ranks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from promptrank.basics.telling import Say
from promptrank.errors import InputError
from promptrank.evaluation.requirement_grammar import Requirement, parse_requirements
from promptrank.evaluation.requirements import check_rankers, slicings_needed
from promptrank.evaluation.slices import BY_PROMPT, check_names
from promptrank.evaluation.transfer import JointAndSingle
from promptrank.probes.known import WantedProbe, parse_probes
from promptrank.requests.obscure import Obscuring
from promptrank.scores.scores import Scores
from promptrank.students.card import find_student
from promptrank.workspace.baselines import (
    BASELINE,
    WantedBaselines,
    baseline_engine,
    check_by_ranks,
    wanted_baselines,
)
from promptrank.workspace.fusions import FUSED, WITHOUT, unfused
from promptrank.workspace.joint_adapters import joint_and_single
from promptrank.workspace.named import Named, parse_named
from promptrank.workspace.rankers import STUDENT, ranker_name
from promptrank.workspace.rivals import (
    LOGGED,
    check_templates,
    check_there,
    scores_files,
)
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
        files: scores of those rivals that are scores files.
        slices: those that requirements name, too.
        probes: what is changed, one thing at a time, to rank with again.
        clip: the largest weight of off-policy estimates.
        kin: joint adapters beside those of this task alone.
        notes: what a reader of the report should know of the rankers.
    """

    opened: OpenTask
    reference: str
    engine: str
    baseline: str | None
    scores: Scores | None
    vs: tuple[Named, ...]
    baselines: WantedBaselines
    files: Mapping[Named, Scores]
    obscuring: Obscuring | None
    probes: tuple[WantedProbe, ...]
    requirements: tuple[Requirement, ...]
    slices: tuple[str, ...]
    clip: float | None
    kin: tuple[JointAndSingle, ...]
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
    def pairs(self) -> list[tuple[str, str]]:
        """Rankers whose difference is wanted though neither is the reference."""
        return [
            (each.joint, each.single)
            for each in self.kin
            if self.reference not in (each.joint, each.single)
        ]

    @property
    def student(self) -> bool:
        """Whether a student ranks."""
        return self.engine.startswith(STUDENT)

    @property
    def decoder(self) -> bool:
        """Whether a decoder ranks, whose prompts a template words."""
        return self.scores is None and self.baseline is None and not self.student

    @property
    def student_prompted(self) -> bool:
        """Whether a student ranks that reads prompts."""
        return self.student and _reads_prompts(self.opened, self.engine)

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
    probes: Sequence[str],
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
        if name in BY_PROMPT and scores is None and not _reads_prompts(opened, engine):
            raise InputError(f"--slice {name}: {engine} reads no prompts; slice a decoder's")
    if clip is not None and not clip > 0:
        raise InputError(f"--clip {clip:g}: give a weight above 0, or leave it out")
    obscuring = Obscuring(obscure) if obscure else None
    if obscuring is not None and scores is not None:
        raise InputError("--obscure ranks anew, with made-up texts; leave --scores out")
    if probes and scores is not None:
        raise InputError("--probe ranks anew, with one thing changed; leave --scores out")
    templates = any(who.kind == "template" for who in named)
    if templates and (engine.startswith(STUDENT) or scores is not None):
        raise InputError(
            "--vs template: ranks by the same decoder as the ranker beside it; leave --scores and "
            "students out"
        )
    check_there(opened, named)
    notes = check_templates(opened, named, adapter, say)
    doubts = [asked.doubt for asked in requirements if asked.doubt is not None]
    for doubt in doubts:
        say(f"warning: {doubt}")
    notes = [*notes, *doubts]
    decoder = scores is None and baseline is None and not engine.startswith(STUDENT)
    edits = parse_probes(probes, prompts=decoder)
    if decoder and adapter is None and any(who.kind == "base" for who in named):
        notes = [*notes, "base is the ranker itself: no adapter is named"]
        say(f"warning: {notes[-1]}")
    given, reference = None, ranker_name(opened, engine)
    if scores is not None:
        given = open_scores(opened, scores, say, allow_changed=allow_changed)
        reference = given.origin.ranker
    named_adapters: dict[str, str | Path] = {
        str(who): who.name for who in named if who.kind == "adapter"
    }
    if decoder and adapter is not None:
        named_adapters[reference] = adapter
    made = WantedEvaluation(
        opened=opened,
        reference=reference,
        engine=engine,
        baseline=baseline,
        scores=given,
        vs=named,
        baselines=baselines,
        files=scores_files(unfused(opened), named, say),
        obscuring=obscuring,
        probes=edits,
        requirements=requirements,
        slices=tuple(slices),
        clip=clip,
        kin=joint_and_single(opened, named_adapters),
        notes=tuple(notes),
    )
    rankers = [reference, *made.fused, *map(str, made.rivals), *baselines.names]
    if made.by_ranks:
        check_by_ranks(made.by_ranks, rankers)
    rankers += [f"{RRF}:{name}" for name in made.by_ranks]
    # Which of the baselines there will be is known once they are fitted: `check_fitted`.
    told = check_rankers(requirements, made.judged, rankers, baselines.names)
    return replace(made, requirements=told)


def _reads_prompts(opened: OpenTask, engine: str) -> bool:
    """Whether an engine ranks by prompts: no baseline does, and of students those of a decoder."""
    if engine.startswith(STUDENT):
        return find_student(engine.removeprefix(STUDENT), opened.project).card.kind == "decoder"
    return not engine.startswith(BASELINE)
