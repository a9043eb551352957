"""What rankers are measured on: one part of a request file, and baselines of its ``train``."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from promptrank.baselines.baseline import Baseline
from promptrank.baselines.baseline_fit import baseline_scores, made
from promptrank.baselines.listing import ALWAYS, BASELINES
from promptrank.basics.digests import json_digest
from promptrank.basics.telling import Progress, Say
from promptrank.evaluation.compare import compare
from promptrank.evaluation.drift import Stretches, stretches
from promptrank.evaluation.example_requests import ExampleRequest, examples_of
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.off_policy import off_policy
from promptrank.evaluation.preferences import preferences_among
from promptrank.evaluation.rank_fusion import parts_of, reciprocal_ranks
from promptrank.evaluation.report import Report
from promptrank.evaluation.seen import SeenInTraining
from promptrank.evaluation.slices import Slicing
from promptrank.ranking.ranker import Ranker
from promptrank.requests.source import RequestFile, Sample
from promptrank.runs.manifest import manifest
from promptrank.runs.scored_file import is_scored, score_into
from promptrank.runs.scoring import reasons_beside, score
from promptrank.scores.read import read_scores
from promptrank.scores.scores import Scores
from promptrank.workspace.baselines import WantedBaselines, fit_on, wanted_baselines
from promptrank.workspace.correction_files import judged_preferences
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, part_of

_RANDOM = "random is the expectation over all orders of the candidates"


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """Requests to measure rankers on; the file was decoded once.

    Attributes:
        sample: the requests of the part.
        baselines: fitted on ``train``.
        seen: subjects and items of ``train``.
    """

    opened: OpenTask
    file: RequestFile
    sample: Sample
    baselines: Mapping[str, Baseline]
    seen: SeenInTraining

    def scores(
        self,
        ranker: Ranker,
        path: Path | None,
        say: Say,
        progress: Progress,
        sample: Sample | None = None,
        *,
        reuse: bool = False,
    ) -> tuple[Scores, dict[str, int]]:
        """A ranker's scores of the part, and rows that were set aside on the way, by reason.

        Args:
            path: where they are written, resumable; they stay in memory where there is none.
            sample: these requests as the ranker sees them, where that is not as they are.
            reuse: take what an earlier run wrote there, where it is what would be written now.
        """
        sample = self.sample if sample is None else sample
        if path is None:
            reasons: Counter[str] = Counter()
            scores = score(
                ranker,
                sample,
                progress,
                total=len(sample),
                say=say,
                watch=lambda ranking: reasons.update(row.reason for row in ranking.errors),
            )
            return scores, dict(sorted((reasons + Counter(self.set_aside())).items()))
        facts = {
            "items": self.file.items_stamp(),
            "sample": json_digest(sorted(sample.ids)),
        }
        if reuse and is_scored(path, ranker, sample, facts):
            say(f"{path.name} has these scores already")
        else:
            score_into(path, ranker, sample, facts, say, progress)
        return read_scores(path, ranker.task, self.opened.name), reasons_beside(path)

    def set_aside(self) -> dict[str, int]:
        """Rows of the part that could not be read, by reason."""
        rows = [row for rows in self.sample.lost.values() for row in rows]
        rows += self.file.set_aside
        mine = (r for r in rows if r.request_id is None or r.request_id in self.sample.ids)
        return dict(sorted(Counter(row.reason for row in mine).items()))

    def baseline_names(self) -> list[str]:
        """Baselines that will be compared; ``logged`` only where the log holds a score."""
        names = [name for name, baseline in self.baselines.items() if baseline.rank is not None]
        logged = any(c.logged_score is not None for r in self.sample for c in r.candidates)
        return [name for name in names if name != "logged" or logged]

    def report(
        self,
        verb: str,
        scores: Mapping[str, Scores],
        *,
        reference: str,
        metrics: Sequence[str] | None = None,
        draws: int,
        pairs: Sequence[tuple[str, str]] = (),
        control: tuple[str, str] | None = None,
        judged: str | None = None,
        slicings: Sequence[Slicing] = (),
        by_ranks: Sequence[str] = (),
        examples: bool = False,
        drift: bool = False,
        clip: float | None = None,
        watch: Callable[[Mapping[str, Scores]], None] | None = None,
        say: Say,
    ) -> Report:
        """Scores beside the baselines, with what training had seen and where it all comes from.

        Args:
            by_ranks: names of rankers, such as ``decoder+bm25``, that are compared as one too.
            examples: some requests with every ranker's order are wanted too.
            drift: the first metric is followed over time, where the data has times.
            clip: weights of off-policy estimates above it count as it.
            watch: is shown the scores of all rankers, baselines among them.
        """
        ranks = {n: rank for n, rank in made(self.baselines).items() if n not in scores}
        if set(ranks) - set(ALWAYS):
            say("ranking with the baselines")
        cheap = baseline_scores(self.sample, ranks)
        logged = cheap.get("logged")
        if logged is not None and np.isnan(logged.numbers("score")).all():
            # Most logs hold no scores; only a log that holds some is worth a word.
            del cheap["logged"]
        scores, pairs = {**scores}, [*pairs]
        compared = {**scores, **cheap}
        for name in by_ranks:
            members = parts_of(name, compared)
            whole = f"rrf:{name}"
            scores[whole] = reciprocal_ranks([compared[who] for who in members], whole)
            # The reference is what all are compared with anyway.
            pairs += [(whole, who) for who in members if who != reference]
        if watch is not None:
            watch({**scores, **cheap})
        say(f"bootstrapping {draws:,} draws of whole subjects")
        report = compare(
            self.opened.task,
            self.sample,
            {**scores, **cheap},
            metrics=metrics,
            reference=reference,
            draws=draws,
            pairs=pairs,
            control=control,
            judged=judged,
            slicings=slicings,
            times=self.stretches() if drift else None,
        )
        earned, notes = None, [*report.notes, _RANDOM]
        if report.metrics:
            compared = {**scores, **cheap}
            said = {row.name: compared[row.name] for row in report.rankers}
            gain, _ = gain_of(self.opened.task)
            earned = off_policy(self.sample, said, gain, draws=draws, seed=report.seed, clip=clip)
        preferred = None
        if given := judged_preferences(self.opened):
            said = {**scores, **cheap}
            said = {r.name: said[r.name] for r in report.rankers if r.name != "random"}
            preferred = preferences_among(given, self.sample, said, draws=draws, seed=report.seed)
        if isinstance(earned, str):
            notes.append(f"no off-policy estimates: {earned}")
            earned = None
        if (corrections := self.file.corrections) is not None:
            notes.append(corrections.told())
        reasons = {n: b.reason for n, b in self.baselines.items() if b.reason is not None}
        parts = {request.split for request in self.sample}
        seen = self.seen.among(self.sample) if parts and not parts & {"train", None} else None
        shown = [row.name for row in report.rankers if row.name in cheap]
        if "train" in parts and (knowing := [name for name in shown if not BASELINES[name].as_of]):
            # What has seen the labels that are judged is nothing to beat.
            notes.append(f"{', '.join(knowing)} learned from the very labels that are judged here")
            shown = [name for name in shown if name not in knowing]
        return replace(
            report,
            absent={**report.absent, **reasons},
            baselines=tuple(shown),
            notes=tuple(notes),
            off_policy=earned,
            preferences=preferred,
            seen=seen,
            examples=self._examples(report, {**scores, **cheap}) if examples else (),
            provenance=manifest(
                verb, self.opened.task, self.opened.name, **(self.file.labels_stamp() or {})
            ),
        )

    def stretches(self) -> Stretches | None:
        """Stretches of time; None without a clock, or where times span too little."""
        if self.opened.task.ordered_only:
            return None
        return stretches(self.sample, self.seen.last)

    def _examples(self, report: Report, scores: Mapping[str, Scores]) -> tuple[ExampleRequest, ...]:
        gain, relevant_at = gain_of(self.opened.task)
        shown = {row.name: scores[row.name] for row in report.rankers}
        return examples_of(
            self.sample, self.sample.ids, shown, gain_of=gain, relevant_at=relevant_at
        )


@contextmanager
def measured_on(
    opened: OpenTask,
    requests: str | Path | None,
    split: str | None,
    limit: int | None,
    say: Say,
    wanted: WantedBaselines | None = None,
    check: Callable[[Sample, SeenInTraining], None] | None = None,
) -> Iterator[MeasuredOn]:
    """Decode a request file once: fit baselines on ``train``, and hold the part to measure on.

    Args:
        requests: a request file with all parts; the task's own tables where left out.
        split: ``test`` where the task declares a split and this is left out.
        limit: at most this many requests of the part, sampled by a hash of their ids.
        wanted: baselines beside those that are always fitted.
        check: refuses what these requests cannot give, before anything is fitted.
    """
    part = part_of(opened.task, split)
    with request_file(opened, requests, splits=None, say=say) as file:
        seen, sample = SeenInTraining(), Sample(file, part, limit)
        refuse = None if check is None else partial(check, sample, seen)
        fitted = wanted or wanted_baselines()
        baselines = fit_on(opened, file, sample, fitted, say, seen.add, refuse)
        yield MeasuredOn(opened, file, sample, baselines, seen)
