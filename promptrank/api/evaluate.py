"""``evaluate``: the decoder beside cheap baselines on the same candidates."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from promptrank.api.manifest import manifest
from promptrank.api.outputs import check_output
from promptrank.api.rank import Progress, no_progress, rank_file
from promptrank.api.ranker import open_ranker
from promptrank.api.requests import RequestFile, read, request_file
from promptrank.api.tasks import OpenTask, Say, check_splits, open_task, silent
from promptrank.errors import DataError
from promptrank.records import Candidate
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report

DECODER = "decoder"


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
        draws: bootstrap draws of whole subjects, for 95% intervals.
        out: where to write the report as JSON; scores go beside it (``<stem>.scores.parquet``).
    """
    from promptrank.evaluation.report import write_report

    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
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
            with open_ranker(
                opened, engine=engine, model=model, adapter=adapter, threads=threads, say=say
            ) as ranker:
                ranked = rank_file(ranker, file, path, splits, limit, say, progress)
                facts = {
                    "engine": ranker.engine.info.name,
                    "model": ranker.engine.info.model,
                    "notes": ranker.engine.info.notes,
                    "prompt": ranker.encoder.fingerprint,
                    "label_mass": ranked.label_mass,
                }
        else:
            path = Path(scores)
        report = _compare(opened, file, path, splits, limit, draws, facts, say)
    if out is not None:
        write_report(report, Path(out))
    return report


def _compare(
    opened: OpenTask,
    file: RequestFile,
    scores: Path,
    splits: set[str] | None,
    limit: int | None,
    draws: int,
    facts: dict[str, Any],
    say: Say,
) -> "Report":
    import numpy as np

    from promptrank.data.select import request_ids
    from promptrank.evaluation.baselines import baselines, seen_in_training
    from promptrank.evaluation.compare import evaluate as compare
    from promptrank.evaluation.judged import judge, lookup

    task = opened.task
    gain, relevant_at = gain_of(task)
    only = set(request_ids(file.path, splits, limit))
    found, probabilities, cuts = read_scores(scores, task)
    say("fitting baselines")
    rivals = baselines(read(opened, file.path, None, {}), gain_of=gain, relevant_at=relevant_at)
    rankers = {DECODER: lookup(found, probabilities)}
    rankers |= {name: b.ranker for name, b in rivals.items() if b.ranker is not None}
    judged = judge(
        read(opened, file.path, splits, {}, only), rankers, gain_of=gain, relevant_at=relevant_at
    )
    say(f"bootstrapping {draws:,} draws of {len(judged.subject_ids):,} subjects")
    report = compare(judged, task.metrics, reference=DECODER, draws=draws)
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


def read_scores(
    path: Path, task: Task
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], float] | None, dict[str, int]]:
    """Scores and probabilities by (request, candidate), and what was cut, from a scores file.

    A combined score of several questions is no probability, so there is none then.

    Raises:
        DataError: no file, or not one that `rank` wrote for this task.
    """
    import pyarrow.parquet as pq
    from pyarrow import ArrowException, json

    names = ["request_id", "candidate_id", "score", "events_dropped", "fields_shortened"]
    single = next(iter(task.questions)) if len(task.questions) == 1 else None
    if single is not None:
        names.append(f"{single}_probability")
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path, columns=names)
        else:
            table = json.read_json(path).select(names)
    except (OSError, ArrowException, KeyError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: not a scores file of this task: {first}") from None
    columns = table.to_pydict()
    keys = list(zip(columns["request_id"], columns["candidate_id"], strict=True))
    scores = dict(zip(keys, columns["score"], strict=True))
    chances = dict(zip(keys, columns[names[-1]], strict=True)) if single is not None else None
    requests = [request for request, _ in keys]
    dropped = dict(zip(requests, columns["events_dropped"], strict=True))
    shortened = sum(1 for names in columns["fields_shortened"] if names)
    cuts = {"events dropped": sum(dropped.values()), "candidates with shortened fields": shortened}
    return scores, chances, cuts


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
