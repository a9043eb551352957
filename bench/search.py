"""Search: does a tuned decoder rank products (or papers) better than BM25, on new queries?

    python bench/search.py --data FOLDER --work FOLDER [--lists 500] [--folds 5] [--epochs 2]
    python bench/search.py --data SCIFACT --work FOLDER --limit 100 --labels 2000 --epochs 1

FOLDER of --data holds queries.parquet (query_id, query), items.parquet (item_id, title, and brand,
short_description or text) and judgements*.parquet (query_id, item_id, relevance 0 to 3). An adapter
learns matching from pseudo-queries of the catalogue, and then, once for each fold, from the judged
pairs of the other folds' queries. Each query is ranked by the adapter whose fold holds it. Sentence
embeddings stand beside them, alone and with BM25. --number prints BM25's score in the prompts. What
is done stays in --work, and a second call goes on from there.

Where only positives are judged (SciFact), the split is the one that is given (--folds 1), and a
query's candidates are what BM25 ranks first (--candidates 20), to be ranked anew. What BM25 did not
find is in no list: the report tells how those who rank do on what was found, and two lines above it
how much that is, and NDCG@10 against all that is judged.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from _search_tables import JUDGED, MATCHING, Collection, Rows, Tables, collection_of
from scipy.stats import rankdata

from promptrank import evaluate, rank, train
from promptrank.cli.terminal import show
from promptrank.evaluation.report_rows import RankerRow
from promptrank.training.settings import Settings

# Lists are what a ranking is made of; a share of the answers' own loss keeps Yes and No likely.
LISTWISE = Settings(
    losses={"listwise": 1.0, "answers": 0.3}, prompt_weight=0.0, rank=16, patience=0
)

# Sentence embeddings, alone and with BM25 over the same texts: those that the template prints.
MEANINGS = ["baseline:embedding", "rrf:bm25+embedding"]


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


def tune(work: Path, given: argparse.Namespace, collection: Collection) -> None:
    """Adapters and scores: untuned, after pseudo-queries, and each fold's own."""

    def trained(
        task: str, name: str, training: Settings, *settings: str, init: str | None = None
    ) -> None:
        once(
            work / "adapters" / name,
            lambda: train(
                [task], name, init=init, model=given.model, project=work,
                settings=[*collection.settings, *settings], training=training, resume=True, say=say,
            ),
        )  # fmt: skip

    def ranked(name: str, adapter: str | None, *settings: str, split: str | None = None) -> None:
        once(
            work / f"{name}.parquet",
            lambda: rank(
                JUDGED, work / f"{name}.parquet", adapter=adapter, model=given.model, project=work,
                settings=[*collection.settings, *settings], splits={split} if split else None,
            ),
        )  # fmt: skip

    micro = collection.micro
    matching = replace(LISTWISE, lr=1e-3, batch=8, micro=micro, valid=30, metric="gauc")
    judged = replace(LISTWISE, lr=5e-4, batch=4, micro=min(4, micro), valid=0, epochs=given.epochs)
    judged = replace(judged, limit=given.labels)
    trained(MATCHING, "matching", matching)
    for fold in range(given.folds):
        trained(JUDGED, f"fold{fold}", judged, part(fold), init="matching")
        ranked(f"fold{fold}", f"fold{fold}", part(fold), split="test")
    one = [part(0)] if given.folds == 1 else []
    for name, adapter in (("untuned", None), ("matching", "matching")):
        ranked(name, adapter, *one, split="test" if one else None)


def part(fold: int) -> str:
    """The setting that holds a fold's queries out."""
    return f"split={{by: file, column: fold{fold}}}"


def say(line: str) -> None:
    """What training tells."""
    print(line, flush=True)


def same_run(work: Path, given: argparse.Namespace) -> None:
    """What lies in ``work`` was made by the same options, or nothing lies there."""
    path = work / "options.json"
    options = {name: str(value) for name, value in sorted(vars(given).items()) if name != "work"}
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != options:
        raise SystemExit(f"{work}: made with other options; name another folder with --work")
    work.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(options, indent=1), encoding="utf-8")


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--lists", type=int, default=500, help="pseudo-queries")
    parser.add_argument("--folds", type=int, help="5, or 1 where only positives are judged")
    parser.add_argument("--epochs", type=float, default=2.0, help="over the judged pairs")
    parser.add_argument("--labels", type=int, help="judged pairs to train on; all by default")
    parser.add_argument("--limit", type=int, help="queries that a fold tests; all by default")
    parser.add_argument("--candidates", type=int, default=20, help="of BM25, where it finds them")
    parser.add_argument("--tokens", type=int, default=160, help="of a paper with the question")
    parser.add_argument("--number", action="store_true", help="print BM25's score in the prompts")
    return parser.parse_args()


def main() -> None:
    """Train, rank, compare, and print the line that is recorded."""
    given = arguments()
    work, collection = given.work, collection_of(given.data, given.tokens, given.number)
    tables = Tables(given.data, work, collection)
    if given.folds is None:
        given.folds = 1 if tables.positives_only else 5
    if tables.positives_only and given.folds > 1:
        raise SystemExit(f"{given.data}: only positives are judged; leave --folds out")
    same_run(work, given)
    tables.prepare(given.lists, given.folds, given.limit, given.candidates)
    tune(work, given, collection)
    tuned = [row for k in range(given.folds) for row in scores_of(work / f"fold{k}.parquet")]
    words = tables.bm25_of(tuned)
    made = {"bm25": words, "tuned": tuned, "both": sum_of_ranks(tuned, words)}
    for name, rows in made.items():
        write_scores(work / f"scores_{name}.parquet", rows)
    if tables.positives_only:
        print(tables.recall(tuned))
        wholes = (f"{name} {tables.whole_ndcg(rows):.3f}" for name, rows in made.items())
        print(f"NDCG@10 against all judged pairs: {', '.join(wholes)}")
    rivals = ["scores_tuned", "scores_both", "matching", "untuned"]
    report = evaluate(
        JUDGED,
        scores=work / "scores_bm25.parquet",
        vs=[f"scores:{work / name}.parquet" for name in rivals] + MEANINGS,
        project=work,
        settings=[*collection.settings, *([part(0)] if given.folds == 1 else [])],
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
    low = served.differences["ndcg@10"].low  # none of very few queries
    return (
        f"tuned={values[0]:.3f} bm25={values[1]:.3f} both={values[2]:.3f}"
        f" gain_low={'none' if low is None else f'{low:.3f}'}"
    )


if __name__ == "__main__":
    main()
