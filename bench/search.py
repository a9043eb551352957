"""Search: does a tuned decoder rank products better than BM25, on queries it never saw?

    python bench/search.py --data FOLDER --work FOLDER [--lists 500] [--folds 5] [--epochs 2]

FOLDER of --data holds queries.parquet (query_id, query), items.parquet (item_id, title, brand,
short_description) and judgements*.parquet (query_id, item_id, relevance 0 to 3). An adapter learns
matching from pseudo-queries of the catalogue, and then, once for each fold, from the judged pairs
of the other folds' queries. Each query is ranked by the adapter whose fold holds it. Sentence
embeddings stand beside them, alone and with BM25. What is done stays in --work, and a second call
goes on from there.
"""

import argparse
import random
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import bm25s
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.stats import rankdata

from promptrank import evaluate, rank, train
from promptrank.cli.terminal import show
from promptrank.evaluation.report_rows import RankerRow
from promptrank.training.settings import Settings

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))
import pseudo_queries  # noqa: E402

JUDGED, MATCHING = "search_judged", "search_matching"
# Lists are what a ranking is made of; a share of the answers' own loss keeps Yes and No likely.
LISTWISE = Settings(
    losses={"listwise": 1.0, "answers": 0.3}, prompt_weight=0.0, rank=16, patience=0
)

# Sentence embeddings, alone and with BM25 over the same texts: those that the template prints.
MEANINGS = ["baseline:embedding", "rrf:bm25+embedding"]

Rows = list[tuple[str, str, float]]  # request, candidate, score


def prepare(data: Path, work: Path, lists: int, folds: int) -> None:
    """A project in ``work``: the tasks, the catalogue, judged pairs with their folds."""
    tables = work / "search"
    for name in ("tasks", "templates"):
        (work / name).mkdir(parents=True, exist_ok=True)
    for task in (JUDGED, MATCHING):
        shutil.copy(EXAMPLES / f"{task}.yaml", work / "tasks")
    shutil.copy(EXAMPLES / "search.j2", work / "templates")
    tables.mkdir(exist_ok=True)
    for name in ("queries", "items"):
        shutil.copyfile(data / f"{name}.parquet", tables / f"{name}.parquet")
    parts = ", ".join(f"if(fold = {k}, 'test', 'train') as fold{k}" for k in range(folds))
    duckdb.sql(
        f"""copy (
            select query_id, item_id, relevance, {parts} from (
                select *, ('0x' || md5('7' || query_id)[:8])::bigint % {folds} as fold
                from read_parquet('{data}/*judgements*.parquet', union_by_name = true))
            order by query_id, item_id
        ) to '{tables}/judged.parquet' (format parquet)"""
    )
    if not (tables / "pseudo").is_dir():
        items = pq.read_table(tables / "items.parquet").to_pylist()
        catalogue = pseudo_queries.Catalogue(items, "item_id", ["title", "brand"])
        made = pseudo_queries.lists(catalogue, lists, 3, 5, random.Random(0))
        pseudo_queries.write(made, tables / "pseudo")


def once(folder: Path, do: Callable[[], object]) -> None:
    """Do what makes ``folder`` (or file), unless it is there; say how long it took."""
    if folder.exists():
        return
    start = time.perf_counter()
    do()
    print(f"{folder.name}: {time.perf_counter() - start:.0f} s", flush=True)


def scores_of(path: Path) -> Rows:
    """A scores file's rows."""
    table = pq.read_table(path, columns=["request_id", "candidate_id", "score"])
    columns = (table[name].to_pylist() for name in table.column_names)
    return list(zip(*columns, strict=True))


def write_scores(path: Path, rows: Rows) -> None:
    """A scores file as a colleague would write it."""
    names = ("request_id", "candidate_id", "score")
    pq.write_table(
        pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))), path
    )


def bm25(tables: Path, pairs: Rows) -> Rows:
    """BM25 of each pair: the query against title, brand and description."""
    items = pq.read_table(tables / "items.parquet").to_pylist()
    queries = pq.read_table(tables / "queries.parquet").to_pylist()
    names = ("title", "brand", "short_description")
    texts = [" ".join(item[name] or "" for name in names) for item in items]
    index = bm25s.BM25()
    index.index([pseudo_queries.words(text) for text in texts], show_progress=False)
    place = {item["item_id"]: number for number, item in enumerate(items)}
    words = {query["query_id"]: pseudo_queries.words(query["query"]) for query in queries}
    scores = {query: index.get_scores(words[query]) for query in {q for q, _, _ in pairs}}
    return [(q, c, float(scores[q][place[c]])) for q, c, _ in pairs]


def sum_of_ranks(first: Rows, second: Rows) -> Rows:
    """For each request, the rank by one ranker plus the rank by the other; the lowest is worst."""
    both: Rows = []
    other = {(q, c): score for q, c, score in second}
    for request in dict.fromkeys(q for q, _, _ in first):
        mine = [(c, score) for q, c, score in first if q == request]
        ranks = rankdata([score for _, score in mine])
        ranks = ranks + rankdata([other[request, c] for c, _ in mine])
        both += [(request, c, float(r)) for (c, _), r in zip(mine, ranks, strict=True)]
    return both


def tune(work: Path, folds: int, epochs: float, model: str | None) -> None:
    """Adapters and scores: untuned, after pseudo-queries, and each fold's own."""

    def trained(
        task: str, name: str, training: Settings, *settings: str, init: str | None = None
    ) -> None:
        once(
            work / "adapters" / name,
            lambda: train(
                [task], name, init=init, model=model, project=work, settings=settings,
                training=training, resume=True, say=say,
            ),
        )  # fmt: skip

    def ranked(name: str, adapter: str | None, *settings: str, split: str | None = None) -> None:
        once(
            work / f"{name}.parquet",
            lambda: rank(
                JUDGED, work / f"{name}.parquet", adapter=adapter, model=model, project=work,
                settings=list(settings), splits={split} if split else None,
            ),
        )  # fmt: skip

    matching = replace(LISTWISE, lr=1e-3, batch=8, micro=8, valid=30, metric="gauc")
    judged = replace(LISTWISE, lr=5e-4, batch=4, micro=4, valid=0, epochs=epochs)
    trained(MATCHING, "matching", matching)
    for fold in range(folds):
        part = f"split={{by: file, column: fold{fold}}}"
        trained(JUDGED, f"fold{fold}", judged, part, init="matching")
        ranked(f"fold{fold}", f"fold{fold}", part, split="test")
    ranked("untuned", None)
    ranked("matching", "matching")


def say(line: str) -> None:
    """What training tells."""
    print(line, flush=True)


def main() -> None:
    """Train, rank, compare, and print the line that is recorded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--lists", type=int, default=500)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=float, default=2.0)
    args = parser.parse_args()
    prepare(args.data, args.work, args.lists, args.folds)
    tune(args.work, args.folds, args.epochs, args.model)
    names = [f"fold{fold}" for fold in range(args.folds)]
    tuned = [row for name in names for row in scores_of(args.work / f"{name}.parquet")]
    words = bm25(args.work / "search", tuned)
    for name, rows in (("bm25", words), ("tuned", tuned), ("both", sum_of_ranks(tuned, words))):
        write_scores(args.work / f"scores_{name}.parquet", rows)
    rivals = ["scores_tuned", "scores_both", "matching", "untuned"]
    report = evaluate(
        JUDGED,
        scores=args.work / "scores_bm25.parquet",
        vs=[f"scores:{args.work / name}.parquet" for name in rivals] + MEANINGS,
        project=args.work,
    )
    show(report, full=True)
    print(line(report.rankers))


def line(rows: Sequence[RankerRow]) -> str:
    """NDCG@10 of tuned, BM25 and both; the better one's difference to BM25, its lower end."""
    bm25 = rows[0]
    tuned, both = (
        next(row for row in rows if f"scores_{name}" in row.name) for name in ("tuned", "both")
    )
    values = [row.cells["ndcg@10"].value or 0.0 for row in (tuned, bm25, both)]
    served = tuned if values[0] >= values[2] else both
    return (
        f"tuned={values[0]:.3f} bm25={values[1]:.3f} both={values[2]:.3f}"
        f" gain_low={served.differences['ndcg@10'].low:.3f}"
    )


if __name__ == "__main__":
    main()
