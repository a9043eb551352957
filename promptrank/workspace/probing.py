"""Probes of a ranker: their edits, checked on the requests; and the rankings with each of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Progress, Say, silent
from promptrank.errors import InputError, PromptrankError
from promptrank.evaluation.probe_rows import ProbeRow
from promptrank.evaluation.probed import EditedScores, probe_rows
from promptrank.probes.edits import Edit, ProbedTask
from promptrank.probes.known import WantedProbe
from promptrank.probes.override import SET
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import Sample
from promptrank.scores.scores import Scores
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.measuring import MeasuredOn
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.prompt.encoded import Encoded

_NOTHING = "changes no prompt, so there is nothing to measure"


@dataclass(frozen=True, slots=True)
class PlannedEdit:
    """An edit that will be ranked with.

    Attributes:
        opened: the task as it words prompts with the edit.
        row: what the report will say of it, before anything is measured.
    """

    edit: Edit
    opened: OpenTask
    row: ProbeRow

    def path(self, beside: Path | None) -> Path | None:
        """Where its scores are kept beside those of the ranker; None where those are not kept."""
        if beside is None:
            return None
        kind, _, rest = self.edit.name.partition(":")
        if kind == SET.name:  # what was set may be long, and hold what no file's name can
            rest = json_digest(rest)[:12]
        name = f"{kind}-{rest}" if rest else kind
        return beside.with_name(f"{Path(beside.stem).stem}.probe-{name}.scores.parquet")


def planned_edits(
    wanted: Sequence[WantedProbe],
    opened: OpenTask,
    sample: Sample,
    *,
    prompts: bool,
    model: str | None,
    say: Say,
) -> list[PlannedEdit]:
    """What will be ranked with, once all that can be refused is refused.

    Args:
        opened: the task without a fusion.
        prompts: whether what ranks reads prompts.

    Raises:
        InputError: a probe that has nothing to change here, or whose words cannot be ranked with.
    """
    if not wanted:
        return []
    from promptrank.prompt.template import load_template

    template = None
    if prompts:
        template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    probed = ProbedTask(opened.task, template, sample)
    planned = []
    for probe in wanted:
        for edit in probe.edits(probed):
            other = replace(opened, task=edit.task or opened.task, left_out=edit.left_out)
            if edit.task is not None or edit.left_out:
                _check_words(probe, other, model, say)
            unmoved = probe.probe.unmoved
            row = ProbeRow(probe.name, edit.name, edit.change, plain=edit.plain, unmoved=unmoved)
            planned.append(PlannedEdit(edit, other, row))
    return planned


def _check_words(probe: WantedProbe, opened: OpenTask, model: str | None, say: Say) -> None:
    try:
        encoder_of(opened, model, say)
    except PromptrankError as error:
        raise InputError(f"--probe {probe.name}: {error}") from None


@dataclass(frozen=True, slots=True)
class ProbedRanker:
    """A ranker that is probed.

    Attributes:
        scores: its scores without any edit.
        encoder: what made its prompts; None where it reads none.
        worded: opens the same ranker for a task with other words.
        kept: where ``scores`` are kept, if anywhere: those with an edit are kept beside them.
    """

    name: str
    scores: Scores
    encoder: "Encoder | None"
    worded: Callable[[OpenTask, Say], AbstractContextManager[Ranker]]
    kept: Path | None


def rows_of_probes(
    ranker: ProbedRanker,
    planned: Sequence[PlannedEdit],
    on: MeasuredOn,
    metrics: Sequence[str],
    draws: int,
    say: Say,
    progress: Progress,
) -> tuple[ProbeRow, ...]:
    """Rank with each edit, and measure what it changes in each of these metrics."""
    edited = list(_edited_scores(ranker, planned, on, say, progress))
    given = on.opened.task, on.sample, ranker.name, ranker.scores, edited
    return probe_rows(*given, metrics=metrics, draws=draws)


def _edited_scores(
    asked: ProbedRanker,
    planned: Sequence[PlannedEdit],
    on: MeasuredOn,
    say: Say,
    progress: Progress,
) -> Iterator[EditedScores]:
    """Scores with each edit; one that changes no prompt is not ranked with."""
    total = len(on.sample)
    for number, plan in enumerate(planned, 1):
        edit, row = plan.edit, replace(plan.row, requests=total)
        if edit.impossible is not None:
            yield EditedScores(replace(row, reason=edit.impossible))
            continue
        if edit.plain:
            yield EditedScores(row, asked.scores)
            continue
        # What an adapter was trained with is changed on purpose: not worth a warning each time.
        with asked.worded(plan.opened, silent) as ranker:
            sample = on.sample.edited(edit.request, probe=edit.name)
            count = changed_requests(on.sample, sample, asked.encoder, ranker.encoder)
            row = replace(row, changed=count)
            if not row.changed:
                say(f"probe {edit.name}: {_NOTHING}")
                yield EditedScores(replace(row, reason=_NOTHING))
                continue
            say(f"probe {edit.name} ({number} of {len(planned)}): ranking with {edit.change}")
            path = plan.path(asked.kept)
            scores, _ = on.scores(ranker, path, say, progress, sample, reuse=True)
        yield EditedScores(row, scores)


def changed_requests(
    plain: Sample, edited: Sample, encoder: "Encoder | None", other: "Encoder | None"
) -> int:
    """Of how many requests the prompts differ; or the requests, where none are written."""
    if encoder is None or other is None:
        return sum(one != two for one, two in zip(plain, edited, strict=True))
    both = zip(encoder.encode_many(plain), other.encode_many(edited), strict=True)
    return sum(_said(one) != _said(two) for one, two in both)


def _said(encoded: "Encoded") -> object:
    """What an engine is given; how much of it is shared from request to request is a hint."""
    tree = encoded.tree
    return None if tree is None else (tree.prefix, tree.branches)
