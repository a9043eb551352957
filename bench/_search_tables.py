"""Tables of ``bench/search.py``: whose catalogue it is, who is judged, which lists are ranked."""

import hashlib
import random
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BENCH = Path(__file__).parent
EXAMPLES = BENCH.parent / "docs" / "examples"
sys.path.insert(0, str(EXAMPLES))
import pseudo_queries  # noqa: E402

JUDGED, MATCHING = "search_judged", "search_matching"
RELEVANT, OTHER = 3, 0  # as grades of what is judged by positives alone
NEGATIVES = 7  # beside the relevant ones, in a list that trains

Rows = list[tuple[str, str, float]]  # request, candidate, score


@dataclass(frozen=True)
class Collection:
    """What is searched.

    Attributes:
        shown: columns that the template prints; pseudo-queries are made of them.
        texts: columns that BM25 reads.
        words: so many first words of a column are shown, at most.
        micro: lists in a forward pass of training, which must fit into memory.
        settings: what the example tasks have otherwise.
    """

    shown: tuple[str, ...]
    texts: tuple[str, ...]
    words: int
    micro: int
    settings: tuple[str, ...]


def collection_of(data: Path, tokens: int, number: bool = False) -> Collection:
    """Products (with a brand) or papers (with a text), by the columns of the items.

    Args:
        tokens: of a paper with the question, at most; its text is cut.
        number: whether prompts print BM25's score.
    """
    names = pq.read_schema(data / "items.parquet").names
    if "brand" in names:
        texts = ("title", "brand", "short_description")
        printed = ("template=search_bm25.j2", match(texts)) if number else ()
        return Collection(("title", "brand"), texts, 10_000, 8, printed)
    if "text" in names:
        budget = f"budget={{tokens: 512, candidate: {tokens}, shorten: [item.text]}}"
        both = ("title", "text")
        template = "abstracts_bm25.j2" if number else "abstracts.j2"
        settings = (f"template={template}", budget, *((match(both),) if number else ()))
        return Collection(both, both, tokens // 3, 2, settings)
    raise SystemExit(f"{data}: items.parquet has neither brand nor text, but {', '.join(names)}")


def match(texts: Sequence[str]) -> str:
    """The setting that makes BM25 a number of each candidate."""
    return f"statistics={{match: {{bm25: [{', '.join(texts)}]}}}}"


class Bm25:
    """BM25 of queries against all items."""

    def __init__(self, items: Sequence[dict[str, Any]], texts: Sequence[str]) -> None:
        """Index the items' texts."""
        self.ids = [item["item_id"] for item in items]
        self.place = {item_id: number for number, item_id in enumerate(self.ids)}
        self._index = bm25s.BM25()
        joined = (" ".join(item[name] or "" for name in texts) for item in items)
        self._index.index([pseudo_queries.words(text) for text in joined], show_progress=False)

    def scores(self, query: str) -> "np.ndarray[Any, Any]":
        """The score of each item."""
        return np.asarray(self._index.get_scores(pseudo_queries.words(query)))

    def top(self, query: str, count: int) -> list[str]:
        """The best items, best first."""
        order = np.argsort(-self.scores(query), kind="stable")[:count]
        return [self.ids[number] for number in order]


class Tables:
    """The tables of a project in ``work``, as the example tasks read them."""

    def __init__(self, data: Path, work: Path, collection: Collection) -> None:
        """Read what is searched."""
        self.data, self.work, self.collection = data, work, collection
        self.queries = {
            row["query_id"]: row["query"]
            for row in pq.read_table(data / "queries.parquet").to_pylist()
        }
        # Query -> item -> grade, and the queries whose judgements are held out.
        self.judged: dict[str, dict[str, int]] = defaultdict(dict)
        self.held: set[str] = set()
        for path in sorted(data.glob("*judgements*.parquet")):
            for row in pq.read_table(path).to_pylist():
                self.judged[row["query_id"]][row["item_id"]] = row["relevance"]
                if "holdout" in path.name:
                    self.held.add(row["query_id"])

    @cached_property
    def items(self) -> list[dict[str, Any]]:
        """The catalogue."""
        columns = ["item_id", *self.collection.texts]
        rows: list[dict[str, Any]] = pq.read_table(
            self.data / "items.parquet", columns=columns
        ).to_pylist()
        return rows

    @cached_property
    def bm25(self) -> Bm25:
        """Over the whole catalogue."""
        return Bm25(self.items, self.collection.texts)

    @property
    def positives_only(self) -> bool:
        """Whether nobody was judged not to be relevant."""
        return all(grade > 0 for each in self.judged.values() for grade in each.values())

    def prepare(self, lists: int, folds: int, limit: int | None, candidates: int) -> None:
        """Write them, with pseudo-queries and the parts of ``folds``.

        Args:
            folds: 1 for the split that is given: held-out judgements are the test part.
            limit: queries of a test part, at most; the others are left out.
            candidates: of a list that is ranked, where only positives are judged.
        """
        for name in ("tasks", "templates", "search"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        for task in (JUDGED, MATCHING):
            shutil.copy(EXAMPLES / f"{task}.yaml", self.work / "tasks")
        for folder, name in ((EXAMPLES, "search"), (BENCH / "templates", "abstracts")):
            for path in (folder / f"{name}.j2", folder / f"{name}_bm25.j2"):
                shutil.copy(path, self.work / "templates")
        tables = self.work / "search"
        for name in ("queries", "items"):
            shutil.copyfile(self.data / f"{name}.parquet", tables / f"{name}.parquet")
        rows = [
            {"query_id": query, "item_id": item, "relevance": grade}
            | {f"fold{k}": "test" if k == fold else "train" for k in range(folds)}
            for query, fold in self._folds(folds, limit).items()
            for item, grade in sorted(self._list(query, candidates, fold >= 0).items())
        ]
        pq.write_table(pa.Table.from_pylist(rows), tables / "judged.parquet")
        if not (tables / "pseudo").is_dir():
            first = [self._first_words(item) for item in self.items]
            catalogue = pseudo_queries.Catalogue(first, "item_id", self.collection.shown)
            made = pseudo_queries.lists(catalogue, lists, 3, 5, random.Random(0))
            pseudo_queries.write(made, tables / "pseudo")

    def _folds(self, folds: int, limit: int | None) -> dict[str, int]:
        """Query -> the fold that tests it; -1 where none does."""
        chosen: dict[str, int] = {}
        counts: dict[int, int] = defaultdict(int)
        for query in sorted(self.judged, key=_digest):
            fold = int(_digest(query)[:8], 16) % folds
            if folds == 1:
                fold = 0 if query in self.held else -1
            if fold >= 0 and limit is not None and counts[fold] == limit:
                continue
            chosen[query] = fold
            counts[fold] += 1
        return dict(sorted(chosen.items()))

    def _list(self, query: str, candidates: int, tested: bool) -> dict[str, int]:
        """A query's items with their grades.

        Where only positives are judged: what BM25 found first, to be ranked anew; and in training
        all that is judged, with some of what BM25 found.
        """
        judged = self.judged[query]
        if not self.positives_only:
            return judged
        top = self.bm25.top(self.queries[query], candidates)
        if tested:
            return {item: RELEVANT if item in judged else OTHER for item in top}
        others = [item for item in top if item not in judged]
        drawn = random.Random(query).sample(others, min(NEGATIVES, len(others)))
        return dict.fromkeys(judged, RELEVANT) | dict.fromkeys(drawn, OTHER)

    def _first_words(self, item: dict[str, Any]) -> dict[str, Any]:
        cut = self.collection.words
        shown = {n: " ".join((item[n] or "").split()[:cut]) for n in self.collection.shown}
        return {"item_id": item["item_id"], **shown}

    def bm25_of(self, pairs: Rows) -> Rows:
        """BM25 of each pair."""
        scores = {q: self.bm25.scores(self.queries[q]) for q in {q for q, _, _ in pairs}}
        return [(q, c, float(scores[q][self.bm25.place[c]])) for q, c, _ in pairs]

    def recall(self, pairs: Rows) -> str:
        """How much of what is judged stands in the lists that are ranked."""
        lists: dict[str, set[str]] = defaultdict(set)
        for query, item, _ in pairs:
            lists[query].add(item)
        found = {query: len(lists[query] & self.judged[query].keys()) for query in lists}
        judged = sum(len(self.judged[query]) for query in lists)
        none = sum(not count for count in found.values())
        return (
            f"BM25 found {sum(found.values())} of {judged} judged pairs "
            f"({sum(found.values()) / judged:.3f}) of {len(lists)} queries; {none} queries have "
            "none of theirs in the list, and count in no NDCG of the report"
        )

    def whole_ndcg(self, rows: Rows) -> float:
        """NDCG@10 against all that is judged: what BM25 did not find is lost.

        Mean over all queries, each pair of worth 1, as the published figures of SciFact are.
        """
        lists: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for query, item, score in rows:
            lists[query].append((-score, item))
        total = 0.0
        for query, ranked in lists.items():
            judged = self.judged[query]
            best = sum(1 / np.log2(n + 2) for n in range(min(10, len(judged))))
            got = sum(
                1 / np.log2(n + 2)
                for n, (_, item) in enumerate(sorted(ranked)[:10])
                if item in judged
            )
            total += got / best
        return total / len(lists)


def _digest(query: str) -> str:
    return hashlib.md5(f"7{query}".encode()).hexdigest()
