"""What fewer bits cost and gain: speed, scores, ranks and AUC of each dtype beside float32.

    python bench/dtypes.py [--limit 40] [--adapter movies] [--dtypes bfloat16 int8] [--threads N]
                           [--device cpu]

movies/like on MovieLens-100K: the same requests in each dtype, a few at a time in turns, so that a
neighbour on the machine slows all alike. Differences are to float32: of log-odds (nats), of scores,
Kendall's tau of a request's ranks (the mean over requests), and AUC with 95% intervals by member.
The last line has the speeds, as shares of float32's.
"""

import argparse
import time
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
from scipy.stats import kendalltau

from promptrank import open_ranker
from promptrank.api.parity import COARSE
from promptrank.basics.arrays import Floats
from promptrank.engine.compute import DTYPES
from promptrank.evaluation.compare import compare
from promptrank.ranking.ranker import Ranker
from promptrank.records import Request
from promptrank.requests.source import Sample
from promptrank.runs.scoring import score
from promptrank.runtime.kept_ways import processor
from promptrank.scores.scores import Scores
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import open_task

TASK, WIDE = "movies/like", "float32"


def scored(
    rankers: dict[str, Ranker], requests: list[Request], together: int
) -> tuple[dict[str, Scores], dict[str, float]]:
    """Scores and seconds of each ranker, who take turns at ``together`` requests."""
    tables: dict[str, list[pa.Table]] = {name: [] for name in rankers}
    seconds = dict.fromkeys(rankers, 0.0)
    for ranker in rankers.values():  # the instruction, and whatever else is made at first use
        score(ranker, requests[:1])
    for first in range(0, len(requests), together):
        group = requests[first : first + together]
        for name, ranker in rankers.items():
            start = time.perf_counter()
            made = score(ranker, group)
            seconds[name] += time.perf_counter() - start
            tables[name].append(made.table)
    scores = {
        name: Scores(pa.concat_tables(tables[name]), ranker.origin)
        for name, ranker in rankers.items()
    }
    return scores, seconds


def pairs(first: Scores, second: Scores) -> tuple[Floats, Floats]:
    """Both scores of each candidate, in the order of the first; files hold the best ones first."""
    return first.numbers("score"), second.at("score", second.rows(first.keys))


def tau(first: Scores, second: Scores) -> float:
    """Kendall's, the mean over requests."""
    rows: dict[str, list[tuple[float, float]]] = {}
    for (request, _), *pair in zip(first.keys, *pairs(first, second), strict=True):
        rows.setdefault(request, []).append((float(pair[0]), float(pair[1])))
    found = [float(kendalltau(*zip(*both, strict=True)).statistic) for both in rows.values()]
    return sum(found) / len(found)


def main() -> None:
    """Score, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=40, help="requests of the part test")
    parser.add_argument("--together", type=int, default=4, help="requests in a turn")
    parser.add_argument("--adapter", default="movies")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["bfloat16", "int8"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    opened = open_task(TASK)
    with ExitStack() as stack:
        given: dict[str, Any] = {"adapter": args.adapter or None, "device": args.device}
        rankers = {
            dtype: stack.enter_context(
                open_ranker(opened, dtype=dtype, threads=args.threads, **given)
            )
            for dtype in dict.fromkeys([WIDE, *args.dtypes])
        }
        file = stack.enter_context(request_file(opened, None, splits={"test"}, say=print))
        requests = list(Sample(file, {"test"}, args.limit))
        scores, seconds = scored(rankers, requests, args.together)
        report = compare(
            opened.task,
            requests,
            scores,
            metrics=["auc"],
            reference=WIDE,
            tolerances=dict.fromkeys(args.dtypes, COARSE),
        )
        notes = [f"{name}: {note}" for name, r in rankers.items() for note in r.info.notes]
    print(
        f"{processor()}; {report.counts.requests} requests, {report.counts.candidates} candidates"
    )
    print("\n".join(notes))
    print(f"{'':10} speed  max log-odds  max score    tau    AUC  less float32's AUC")
    for row in report.rankers:
        speed, auc = seconds[WIDE] / seconds[row.name], row.cells["auc"].value
        line = f"{row.name:10} {speed:5.2f}"
        if row.agreement is not None:
            wide, mine = pairs(scores[WIDE], scores[row.name])
            moved, less = float(abs(mine - wide).max()), row.differences["auc"]
            line += f"  {row.agreement.difference:12.3f}  {moved:9.4f}"
            line += f"  {tau(scores[WIDE], scores[row.name]):.3f}  {auc:.3f}"
            line += f"  {less.value:+.4f} ({less.low:+.4f} to {less.high:+.4f})"
        else:
            line += f"  {'':12}  {'':9}  {'':5}  {auc:.3f}"
        print(line)
    print(" ".join(f"{name}/{WIDE}={seconds[WIDE] / seconds[name]:.2f}" for name in args.dtypes))


if __name__ == "__main__":
    main()
