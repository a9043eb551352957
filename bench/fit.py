"""A light classifier from a decoder's answers alone, where the truth is known.

    python bench/fit.py [--teacher base|adapter:NAME|scores:FILE] [--train 400] [--test 200]

jobs/fit on a simulated marketplace (docs/reference/simulation.md), six pairs a request. The
decoder answers a sample of requests, kept in the score cache of --project, so that a second run
asks nothing. A gbdt learns from these answers and never sees a label (``--labels 0 --loss
direct``). On held-out members it is judged twice: by what the decoder calls bad, and by what
the simulator knows. Beside it, learned from the recorded labels of the same requests: another gbdt,
and logistic regression. Intervals draw whole members.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from promptrank import Switches, build, distill, rank, simulate_jobs
from promptrank.baselines.baseline import aim_of
from promptrank.baselines.baseline_fit import baseline_scores, fit_baselines, made
from promptrank.cli.terminal import progress_bar
from promptrank.evaluation.agreement import rank_correlation
from promptrank.evaluation.compare import compare
from promptrank.evaluation.report import Report
from promptrank.records import Request
from promptrank.requests.source import RequestFile, Sample
from promptrank.scores.read import read_scores
from promptrank.scores.scores import Key, Scores
from promptrank.students.teacher_agreement import calls_relevant, with_outcomes
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task

TASK, QUESTION = "jobs/fit", "bad"
DECODER, STUDENT, LABELS, LOGISTIC = "decoder", "gbdt, answers", "gbdt, labels", "logistic, labels"
STUDENTS = {STUDENT: "fit-answers", LABELS: "fit-labels"}


def parsed(given: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", default="base")
    parser.add_argument("--train", type=int, default=400, help="training requests")
    parser.add_argument("--test", type=int, default=200, help="test requests")
    parser.add_argument("--members", type=int, default=1000, help="of the simulation")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--timed", type=int, default=60, help="timed requests a student")
    parser.add_argument("--project", type=Path, help="keeps data, store, students; else new")
    return parser.parse_args(given)


def students(opened: OpenTask, requests: Path, given: argparse.Namespace) -> None:
    """Write both students."""
    for name, loss, teacher, labels in (
        (STUDENT, "direct", given.teacher, 0),
        (LABELS, "labels", None, None),
    ):
        start = time.perf_counter()
        with progress_bar("decoder", "requests") as progress:
            made = distill(
                opened,
                name=STUDENTS[name],
                teacher=teacher,
                loss=loss,
                labels=labels,
                requests=requests,
                limit=given.train,
                replace_=True,
                timed=given.timed,
                progress=progress,
            )
        data, spent = made.student.card.data, time.perf_counter() - start
        learned = f"{data['labels'][QUESTION]:,} labels, {data['taught'][QUESTION]:,} answers"
        print(f"{name}: {learned}; {made.asked:,} asked now; {spent:.0f} s", flush=True)


def ranked(
    opened: OpenTask, requests: Path, given: argparse.Namespace, folder: Path
) -> dict[str, Scores]:
    """P(bad) of the held-out pairs by the decoder and both students."""
    scores = {}
    for name in (DECODER, *STUDENTS):
        path = folder / f"{name}.parquet"
        who: dict[str, Any] = {"engine": f"student:{STUDENTS[name]}"} if name in STUDENTS else {}
        kind, _, other = given.teacher.partition(":")
        if name == DECODER and kind == "scores":
            path = Path(other)
        else:
            if name == DECODER:
                who = {"adapter": other or None, "cache": True}
            with progress_bar(name, "requests") as progress:
                who |= {"project": opened.project, "progress": progress}
                rank(TASK, path, requests=requests, splits={"test"}, limit=given.test, **who)
        scores[name] = read_scores(path, opened.task, opened.name)
    return scores


def truth_of(folder: Path) -> dict[Key, bool]:
    """Whether each pair that was judged is a bad match by the simulator's rule, without noise."""
    rows = pq.read_table(folder / "truth" / "reviews.parquet").to_pylist()
    return {(row["review_id"], row["job_id"]): bool(row["bad"]) for row in rows}


def judged_by(
    said: Mapping[Key, bool],
    requests: Sequence[Request],
    scores: Mapping[str, Scores],
    opened: OpenTask,
    draws: int,
) -> Report:
    """AUC of every ranker for what somebody calls bad, with intervals by member."""
    names = {key: "bad" if bad else "good" for key, bad in said.items()}
    shown = with_outcomes(requests, QUESTION, names)
    return compare(opened.task, shown, scores, metrics=["auc"], draws=draws)


def judge(
    opened: OpenTask,
    file: RequestFile,
    scores: Mapping[str, Scores],
    given: argparse.Namespace,
    truth: Mapping[Key, bool],
) -> None:
    """Judge everybody twice, and print the table and the last line."""
    # The samples that `distill` and `rank` take too.
    learned, test = (
        list(Sample(file, {part}, limit))
        for part, limit in (("train", given.train), ("test", given.test))
    )
    logistic = made(fit_baselines(learned, aim_of(opened.task), ["logistic"]))
    scores = {**scores, **baseline_scores(test, {LOGISTIC: logistic["logistic"]})}
    every = [(r.request_id, c.candidate_id) for r in test for c in r.candidates]
    keys = [key for key in every if all(key in scores[name].index for name in (DECODER, *STUDENTS))]
    chance, student = (scores[n].at("score", scores[n].rows(keys)) for n in (DECODER, STUDENT))
    bad, cut = calls_relevant(chance)
    said = dict(zip(keys, bad.tolist(), strict=True))
    others = {name: theirs for name, theirs in scores.items() if name != DECODER}
    by_decoder = judged_by(said, test, others, opened, given.draws)
    by_truth = judged_by({k: truth[k] for k in keys}, test, scores, opened, given.draws)
    above = "one half" if cut == 0.5 else f"{cut:.4f}, the median, for it leans to one answer"
    print(f"\n{len(keys):,} pairs of {by_truth.counts.subjects:,} held-out members, of which the")
    print(
        f"decoder calls {bad.sum():,} bad (P above {above}) and {by_truth.counts.positives:,} are"
    )
    show(scores, by_decoder, by_truth)
    same = rank_correlation(chance, student)
    print(f"rank correlation of decoder and gbdt: {'none' if same is None else f'{same:.3f}'}")
    print(
        f"labels_auc={auc_of(by_decoder, STUDENT)} truth_auc={auc_of(by_truth, STUDENT)} "
        f"teacher_truth_auc={auc_of(by_truth, DECODER)}"
    )


def show(names: Iterable[str], by_decoder: Report, by_truth: Report) -> None:
    """The table."""
    print(f"  {'AUC (95% interval)':<20}{'for the decoder':>22}{'for the truth':>22}")
    for name in names:
        ours = "" if name == DECODER else auc_of(by_decoder, name, ends=True)
        print(f"  {name:<20}{ours:>22}{auc_of(by_truth, name, ends=True):>22}")


def auc_of(report: Report, name: str, *, ends: bool = False) -> str:
    """A ranker's AUC as text."""
    cell = report.ranker(name).cells["auc"]
    if cell.value is None:
        return "none"
    shown = "" if cell.low is None or not ends else f" ({cell.low:.3f}-{cell.high:.3f})"
    return f"{cell.value:.3f}{shown}"


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, ask, learn, judge; the last line is for machines."""
    given = parsed(argv)
    with TemporaryDirectory(prefix="promptrank-") as name:
        folder = Path(name)
        opened = open_task(TASK, project=given.project or folder)
        data = (given.project or folder) / "data" / "jobs"
        if not data.exists():
            simulate_jobs(data, Switches(members=given.members, seed=given.seed))
        requests = folder / "requests.parquet"
        build(opened, requests)
        students(opened, requests, given)
        scores = ranked(opened, requests, given, folder)
        judge(opened, given_file(opened, requests), scores, given, truth_of(data))


if __name__ == "__main__":
    main()
