"""``evaluate``: the decoder beside cheap baselines on the same candidates."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promptrank.adapters.shelf import adapter_digest
from promptrank.api.fusions import (
    OpenFusion,
    fields_ranker,
    fusion_of,
    unfused,
)
from promptrank.api.manifest import manifest
from promptrank.api.outputs import check_output
from promptrank.api.rank import Progress, fusion_facts, no_progress, rank_file
from promptrank.api.ranker import STUDENT, open_ranker
from promptrank.api.requests import RequestFile, read, request_file
from promptrank.api.scores import read_decoder, read_scores
from promptrank.api.tasks import OpenTask, Say, check_splits, open_task, silent
from promptrank.api.teacher import Answerer, open_answerer, parse_answerer
from promptrank.records import EMPTY, Candidate
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report

DECODER = "decoder"
FUSED = "fused"
WITHOUT = "fused, no decoder"


def gain_of(task: Task) -> tuple[Callable[[Candidate], float | None], float]:
    """A candidate's gain from its outcomes, and the gain from which it is relevant.

    With several questions the gain is the task's score expression over the answers' values, and
    relevant is what reaches the gain of a relevant answer to the first question and the least
    answers to the others.
    """
    combine = compile_expression(task.score_expression)
    values = {
        name: {a: answer.value for a, answer in question.answers.items()}
        for name, question in task.questions.items()
    }

    def gain(candidate: Candidate) -> float | None:
        found = {n: v[candidate.outcomes[n]] for n, v in values.items() if n in candidate.outcomes}
        return combine(found) if len(found) == len(values) else None

    first, *others = task.questions
    least = {n: min(values[n].values()) for n in others}
    return gain, combine({first: task.questions[first].relevant_at, **least})


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
    vs: Sequence[str] = (),
    draws: int = 1000,
    out: str | Path | None = None,
    say: Say = silent,
    progress: Progress = no_progress,
) -> "Report":
    """Rank one part of a task's requests and compare with baselines learned from ``train``.

    Args:
        requests: a request file with all parts; the task's own tables where left out.
        scores: a scores file that `rank` wrote for these requests; nothing is scored then.
        split: the part to evaluate; ``test`` where the task declares a split, else everything.
        limit: at most this many of its requests, sampled by a hash of their ids; baselines still
            learn from all of ``train``.
        vs: further rankers on the same candidates, each with its paired difference:
            ``student:NAME``, ``adapter:NAME``, ``base`` or ``scores:FILE``.
        draws: bootstrap draws of whole subjects, for 95% intervals.
        out: where to write the report as JSON; scores go beside it (``<stem>.scores.parquet``).
    """
    from promptrank.evaluation.report import write_report

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    rivals = [parse_answerer(text, ("student", "adapter", "base", "scores")) for text in vs]
    splits = {split} if split is not None else None
    check_splits(opened.task, splits)
    if splits is None and opened.task.split is not None:
        splits = {"test"}
    if out is not None:
        check_output(out, (".json",), [requests, scores])
    with ExitStack() as stack:
        file = stack.enter_context(request_file(opened, requests, splits=None, say=say))
        facts: dict[str, Any] = {}
        if scores is None:
            folder = stack.enter_context(TemporaryDirectory(prefix="promptrank-"))
            path = Path(out).with_suffix(".scores.parquet") if out else Path(folder) / "s.parquet"
            # A changed template is worth a look here, and what it costs is what one looks for.
            with open_ranker(
                opened,
                engine=engine,
                model=model,
                adapter=adapter,
                threads=threads,
                allow_changed=True,
                say=say,
            ) as ranker:
                ranked = rank_file(ranker, file, path, splits, limit, say, progress)
                facts = {
                    "engine": ranker.info.name,
                    "model": ranker.info.model,
                    "notes": (*ranker.info.notes, *ranked.notes),
                    "adapter": ranker.adapter,
                    "adapter_digest": adapter_digest(ranker.adapter),
                    "prompt": ranker.fingerprint,
                    **fusion_facts(ranker),
                    "label_mass": ranked.label_mass,
                }
                fusion = ranker.fusion
        else:
            path = Path(scores)
            fusion = fusion_of(path) if opened.task.fused else None
        reference = engine if engine.startswith(STUDENT) and scores is None else DECODER
        others = {
            str(who): _scores_of(
                unfused(opened),
                who,
                file,
                splits,
                limit,
                engine,
                model,
                threads,
                stack,
                say,
                progress,
            )
            for who in rivals
        }
        report = _compare(
            opened,
            file,
            path,
            splits,
            limit,
            draws,
            facts,
            say,
            reference=reference,
            others=others,
            fusion=fusion,
        )
    if out is not None:
        write_report(report, Path(out))
    return report


def _scores_of(
    opened: OpenTask,
    who: Answerer,
    file: RequestFile,
    splits: set[str] | None,
    limit: int | None,
    engine: str,
    model: str | None,
    threads: int | None,
    stack: ExitStack,
    say: Say,
    progress: Progress,
) -> Path:
    """The scores file of one more ranker on the same requests."""
    if who.kind == "scores":
        return Path(who.name)
    folder = stack.enter_context(TemporaryDirectory(prefix="promptrank-"))
    path = Path(folder) / "s.parquet"
    decoder = "packed" if engine.startswith(STUDENT) else engine
    with open_answerer(
        opened, who, engine=decoder, model=model, threads=threads, say=say
    ) as ranker:
        rank_file(ranker, file, path, splits, limit, say, progress)
    return path


def _compare(
    opened: OpenTask,
    file: RequestFile,
    scores: Path,
    splits: set[str] | None,
    limit: int | None,
    draws: int,
    facts: dict[str, Any],
    say: Say,
    *,
    reference: str = DECODER,
    others: Mapping[str, Path] = EMPTY,
    fusion: OpenFusion | None = None,
) -> "Report":
    import numpy as np

    from promptrank.evaluation.baselines import baselines, seen_in_training
    from promptrank.evaluation.compare import evaluate as compare
    from promptrank.evaluation.judged import judge, lookup
    from promptrank.requests.sampling import request_ids

    task = opened.task
    gain, relevant_at = gain_of(task)
    only = set(request_ids(file.path, splits, limit))
    found, probabilities, cuts = read_scores(scores, task)
    say("fitting baselines")
    rivals = baselines(read(opened, file.path, None, {}), gain_of=gain, relevant_at=relevant_at)
    rankers = {reference: lookup(found, probabilities)}
    if fusion is not None:
        rankers = {
            reference: lookup(*read_decoder(scores, task)),
            FUSED: lookup(found, probabilities),
            WITHOUT: fields_ranker(fusion.fusion),
        }
    for name, other in others.items():
        theirs, chances, _ = read_scores(other, task.unfused)
        rankers[name] = lookup(theirs, chances)
    rankers |= {name: b.ranker for name, b in rivals.items() if b.ranker is not None}
    judged = judge(
        read(opened, file.path, splits, {}, only), rankers, gain_of=gain, relevant_at=relevant_at
    )
    say(f"bootstrapping {draws:,} draws of {len(judged.subject_ids):,} subjects")
    # Only what a fusion gains over the same fusion without the decoder is the decoder's own.
    pairs = [(FUSED, WITHOUT)] if fusion is not None else []
    report = compare(judged, task.metrics, reference=reference, draws=draws, pairs=pairs)
    absent = {name: b.reason for name, b in rivals.items() if b.reason is not None}
    if np.isnan(judged.scores["logged"]).all():
        # Most logs hold no scores; only a log that holds some is worth a word.
        report = replace(report, absent={k: v for k, v in report.absent.items() if k != "logged"})
    seen = None
    if splits is not None and "train" not in splits:
        part = next(iter(splits))
        seen = seen_in_training(
            (
                r
                for r in read(opened, file.path, None, {})
                if r.split == "train" or r.request_id in only
            ),
            split=part,
        )
    return replace(
        report,
        absent={**report.absent, **absent},
        seen=seen,
        cuts=cuts,
        errors=_count_errors(scores, file, only),
        provenance={**manifest("eval", task, opened.name), **facts},
    )


def _count_errors(scores: Path, file: RequestFile, only: set[str]) -> dict[str, int]:
    """Rows set aside on the way to these scores, by reason."""
    import json

    path = scores.with_name(f"{scores.stem}.errors.jsonl")
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            reasons = [json.loads(line)["reason"] for line in lines]
    else:
        rows = (row for row in file.set_aside if row.request_id is None or row.request_id in only)
        reasons = [row.reason for row in rows]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}
