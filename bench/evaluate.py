"""How long a comparison takes: a million scored candidates, five rankers, all metrics, intervals.

    python bench/evaluate.py [--subjects 50000] [--candidates 20] [--draws 1000] [--no-rivals]

50,000 subjects of four domains with a request of 20 candidates each; labels share an effect of
their subject. Five rankers offer probabilities. `report_of`, which is all of a comparison after
requests and scores were read, makes the report: every metric, agreement of orders, reliability,
paired differences, 1,000 draws of whole subjects. Libraries that are installed compute the means of
ndcg@10, mrr, map, recall@10, precision@10 and hit@10 alone, without intervals, in processes of
their own (``--no-rivals`` leaves them out); they count requests without a relevant candidate as 0,
so their means are lower. Last line: seconds of the report, and the peak memory
of the process in GiB, data included.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable, Sequence

import numpy as np
from _labelled import drawn, labelled_of

from promptrank.evaluation.compare import report_of
from promptrank.evaluation.labelled import Labelled
from promptrank.schema.metric_kinds import KINDS

RANKERS = 5
METRICS = [f"{k.name}@10" if k.cutoff == "must" else k.name for k in KINDS.values()]
MEANS = ("ndcg@10", "mrr", "map", "recall@10", "precision@10", "hit@10")


def data(subjects: int, candidates: int) -> Labelled:
    """Labelled candidates; ranker 0 is best, each next one noisier."""
    generator = np.random.default_rng(0)
    subject, truth, relevant = drawn(subjects, candidates, generator, shared=1.0)
    scores = {
        f"ranker {i}": truth + (0.3 + 0.3 * i) * generator.normal(size=len(truth))
        for i in range(RANKERS)
    }
    return labelled_of(subject, relevant, scores, domains=4)


def by_ir_measures(labelled: Labelled) -> dict[str, float]:
    """Means of every ranker's lists by ir_measures (trec_eval); the last ranker's are returned."""
    import ir_measures
    from ir_measures import AP, RR, P, R, Success, nDCG

    names = dict(zip(MEANS, (nDCG @ 10, RR, AP, R @ 10, P @ 10, Success @ 10), strict=True))
    request = list(map(str, labelled.request.tolist()))
    place = list(map(str, range(len(request))))
    gains = labelled.relevant.astype(int).tolist()
    qrels = list(map(ir_measures.Qrel, request, place, gains))
    measure = ir_measures.evaluator([*names.values()], qrels)
    means: dict[str, float] = {}
    for score in labelled.scores.values():
        run = map(ir_measures.ScoredDoc, request, place, score.tolist())
        found = measure.calc_aggregate(run)
        means = {name: float(found[theirs]) for name, theirs in names.items()}
    return means


def by_ranx(labelled: Labelled) -> dict[str, float]:
    """The same by ranx; its compilation is in the time."""
    import ranx

    names = ("ndcg@10", "mrr", "map", "recall@10", "precision@10", "hit_rate@10")
    request = list(map(str, labelled.request.tolist()))
    place = list(map(str, range(len(request))))
    rows: dict[str, dict[str, int]] = {}
    for one, name, gain in zip(request, place, labelled.relevant.astype(int).tolist(), strict=True):
        rows.setdefault(one, {})[name] = gain
    qrels = ranx.Qrels(rows)
    means: dict[str, float] = {}
    for score in labelled.scores.values():
        run: dict[str, dict[str, float]] = {}
        for one, name, value in zip(request, place, score.tolist(), strict=True):
            run.setdefault(one, {})[name] = value
        found = ranx.evaluate(qrels, ranx.Run(run), list(names))
        means = {name: float(found[theirs]) for name, theirs in zip(MEANS, names, strict=True)}
    return means


def _timed(name: str, rival: Callable[[Labelled], dict[str, float]], size: tuple[int, int]) -> None:
    labelled = data(*size)
    start = time.perf_counter()
    try:
        means = rival(labelled)
    except ImportError:
        print(f"{name:12} is not installed, and is left out", flush=True)
        return
    told = " ".join(f"{metric} {value:.4f}" for metric, value in means.items())
    seconds = time.perf_counter() - start
    print(f"{name:12} {seconds:6.1f} s {_peak():5.2f} GiB, means alone: {told}", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(given: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--subjects", type=int, default=50_000)
    parser.add_argument("--candidates", type=int, default=20, help="a request")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--rivals", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args(given)
    size = options.subjects, options.candidates
    labelled = data(*size)
    start, busy = time.perf_counter(), time.process_time()
    report = report_of(labelled, METRICS, reference="ranker 0", draws=options.draws)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    gib = _peak()
    last = report.rankers[-1].cells
    for name, cell in last.items():
        ends = "" if cell.low is None else f" ({cell.low:.4f}-{cell.high:.4f})"
        print(f"{name:12} {_value(cell.value):.4f}{ends} {cell.used:,} {cell.unit}")
    told_means = " ".join(f"{metric} {_value(last[metric].value):.4f}" for metric in MEANS)
    print(
        f"{'promptrank':12} {seconds:6.1f} s {gib:5.2f} GiB, all of it ({busy:.1f} s of CPU): "
        f"{told_means}"
    )
    if options.rivals:
        context = multiprocessing.get_context("spawn")
        for name, rival in (("ir-measures", by_ir_measures), ("ranx", by_ranx)):
            child = context.Process(target=_timed, args=(name, rival, size))
            child.start()
            child.join()
    print(f"seconds={seconds:.1f} gib={gib:.2f}")


def _value(value: float | None) -> float:
    return float("nan") if value is None else value


if __name__ == "__main__":
    main()
