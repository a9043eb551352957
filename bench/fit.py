"""A light classifier from a decoder's answers alone, where the truth is known.

    python bench/fit.py [--teacher base|adapter:NAME|scores:FILE] [--train 400] [--test 200]

jobs/fit on a simulated marketplace (docs/simulation.md), six pairs of member and job a request. The
decoder answers a sample of requests, kept in the teacher store of --project, so that a second run
asks nothing. A gbdt learns from these answers and never sees a label (``--labels 0 --loss
direct``). On held-out members it is judged twice: by the decoder's own verdicts, and by what the
simulator knows. Beside it, learned from the recorded labels of the same requests: another gbdt, and
logistic regression. Intervals draw whole members.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from promptrank import Switches, build, distill, rank, simulate_jobs
from promptrank.api.evaluate import gain_of
from promptrank.api.requests import read
from promptrank.api.scores import read_scores
from promptrank.api.tasks import OpenTask, open_task
from promptrank.cli.terminal import progress_bar
from promptrank.evaluation.agreement import rank_correlation
from promptrank.evaluation.baselines import baselines
from promptrank.evaluation.compare import evaluate
from promptrank.evaluation.judged import Ranker, judge, lookup
from promptrank.evaluation.report import Report
from promptrank.records import Request
from promptrank.requests.sampling import request_ids
from promptrank.students.teacher_agreement import verdicts, with_outcomes

TASK, QUESTION = "jobs/fit", "bad"
DECODER, STUDENT, LABELS, LOGISTIC = "decoder", "gbdt, answers", "gbdt, labels", "logistic, labels"
STUDENTS = {STUDENT: "fit-answers", LABELS: "fit-labels"}
Key = tuple[str, str]  # request, candidate


def parsed(given: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--teacher", default="base")
    parser.add_argument("--train", type=int, default=400, help="training requests")
    parser.add_argument("--test", type=int, default=200, help="test requests")
    parser.add_argument("--members", type=int, default=1000, help="of the simulation")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--draws", type=int, default=1000)
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
                progress=progress,
            )
        data, spent = made.student.card.data, time.perf_counter() - start
        learned = f"{data['labels'][QUESTION]:,} labels, {data['taught'][QUESTION]:,} answers"
        print(f"{name}: {learned}; {made.asked:,} asked now; {spent:.0f} s", flush=True)


def scores_of(
    opened: OpenTask, requests: Path, given: argparse.Namespace, folder: Path
) -> dict[str, dict[Key, float]]:
    """P(bad) of the held-out pairs by the decoder and both students."""
    found = {}
    for name in (DECODER, *STUDENTS):
        path = folder / f"{name}.parquet"
        who: dict[str, Any] = {"engine": f"student:{STUDENTS[name]}"} if name in STUDENTS else {}
        kind, _, other = given.teacher.partition(":")
        if name == DECODER and kind == "scores":
            path = Path(other)
        else:
            if name == DECODER:
                who = {"adapter": other or None, "store": True}
            with progress_bar(name, "requests") as progress:
                who |= {"project": opened.project, "progress": progress}
                rank(TASK, path, requests=requests, splits={"test"}, limit=given.test, **who)
        found[name] = read_scores(path, opened.task)[0]
    return found


def truth_of(folder: Path) -> dict[Key, bool]:
    """Whether each pair that was judged is a bad match by the simulator's rule, without noise."""
    rows = pq.read_table(folder / "truth" / "reviews.parquet").to_pylist()
    return {(row["review_id"], row["job_id"]): bool(row["bad"]) for row in rows}


def judged_by(
    said: Mapping[Key, bool],
    requests: Sequence[Request],
    rankers: Mapping[str, Ranker],
    opened: OpenTask,
    draws: int,
) -> Report:
    """AUC of every ranker for these verdicts, with intervals by member."""
    names = {key: "bad" if bad else "good" for key, bad in said.items()}
    gain, relevant_at = gain_of(opened.task)
    judged = judge(
        with_outcomes(requests, QUESTION, names), rankers, gain_of=gain, relevant_at=relevant_at
    )
    return evaluate(judged, ["auc"], reference=next(iter(rankers)), draws=draws)


def part_of(opened: OpenTask, requests: Path, part: str, limit: int) -> list[Request]:
    """The sample of a part that `distill` and `rank` take too."""
    only = set(request_ids(requests, {part}, limit))
    return list(read(opened, requests, {part}, {}, only))


def compare(
    opened: OpenTask,
    requests: Path,
    found: Mapping[str, Mapping[Key, float]],
    given: argparse.Namespace,
    truth: Mapping[Key, bool],
) -> None:
    """Judge everybody twice, and print the table and the last line."""
    gain, relevant_at = gain_of(opened.task)
    learned = part_of(opened, requests, "train", given.train)
    logistic = baselines(learned, gain_of=gain, relevant_at=relevant_at)["logistic"].ranker
    rankers = {name: lookup(scores) for name, scores in found.items()}
    rankers |= {LOGISTIC: logistic} if logistic is not None else {}
    test = part_of(opened, requests, "test", given.test)
    every = [(r.request_id, c.candidate_id) for r in test for c in r.candidates]
    keys = [key for key in every if all(key in scores for scores in found.values())]
    chance = np.array([found[DECODER][key] for key in keys])
    said, cut = verdicts(chance)
    verdict = dict(zip(keys, said.tolist(), strict=True))
    others = {name: ranker for name, ranker in rankers.items() if name != DECODER}
    by_decoder = judged_by(verdict, test, others, opened, given.draws)
    by_truth = judged_by({k: truth[k] for k in keys}, test, rankers, opened, given.draws)
    above = "one half" if cut == 0.5 else f"{cut:.4f}, the median, for it leans to one answer"
    print(f"\n{len(keys):,} pairs of {by_truth.counts.subjects:,} held-out members, of which the")
    print(
        f"decoder calls {said.sum():,} bad (P above {above}) and {by_truth.counts.positives:,} are"
    )
    show(rankers, by_decoder, by_truth)
    same = rank_correlation(chance, np.array([found[STUDENT][key] for key in keys]))
    print(f"rank correlation of decoder and gbdt: {'none' if same is None else f'{same:.3f}'}")
    print(
        f"labels_auc={auc_of(by_decoder, STUDENT)} truth_auc={auc_of(by_truth, STUDENT)} "
        f"teacher_truth_auc={auc_of(by_truth, DECODER)}"
    )


def show(names: Iterable[str], by_decoder: Report, by_truth: Report) -> None:
    """The table."""
    print(f"  {'AUC (95% interval)':<20}{'for the verdicts':>22}{'for the truth':>22}")
    for name in names:
        ours = "" if name == DECODER else auc_of(by_decoder, name, ends=True)
        print(f"  {name:<20}{ours:>22}{auc_of(by_truth, name, ends=True):>22}")


def auc_of(report: Report, name: str, *, ends: bool = False) -> str:
    """A ranker's AUC as text."""
    cell = next(r.cells["auc"] for r in report.rankers if r.name == name)
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
        found = scores_of(opened, requests, given, folder)
        compare(opened, requests, found, given, truth_of(data))


if __name__ == "__main__":
    main()
