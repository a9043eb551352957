"""Pseudo-queries: lists of products to learn matching from, made of a catalogue alone.

    python pseudo_queries.py ITEMS.parquet --text title --text brand --out FOLDER [--lists 2000]

A pseudo-query is what somebody could type to reach a product: one to three neighbouring words of
its title, or its brand with a word. The product itself and others that hold all its words are
relevant. Those that BM25 ranks high although a word is missing are not, nor are products drawn at
random. FOLDER gets queries.parquet (query_id, query) and judgements.parquet (query_id, item_id,
relevance: 3 or 0).
"""

import argparse
import random
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import bm25s
import pyarrow as pa
import pyarrow.parquet as pq

_WORD = re.compile(r"[^\W_]+(?:[-.'][^\W_]+)*")
_HIGH = 60  # how far down BM25's list hard negatives come from


def words(text: str) -> list[str]:
    """Lower-case words; a model number such as SHB-1100 is one."""
    return _WORD.findall(text.lower())


class Catalogue:
    """Products, their words, and who has which."""

    def __init__(self, items: Sequence[dict[str, str | None]], key: str, text: Sequence[str]):
        self.ids = [str(item[key]) for item in items]
        self.fields = [[words(str(item[name] or "")) for name in text] for item in items]
        self.holders: dict[str, set[int]] = defaultdict(set)
        for number, fields in enumerate(self.fields):
            for word in {word for field in fields for word in field}:
                self.holders[word].add(number)
        self.bm25 = bm25s.BM25()
        self.bm25.index(
            [[w for field in f for w in field] for f in self.fields], show_progress=False
        )

    def holding(self, query: Sequence[str]) -> set[int]:
        """The products that hold all words of the query."""
        return set.intersection(*(self.holders.get(word, set()) for word in query))

    def high(self, query: Sequence[str]) -> list[int]:
        """The products that BM25 ranks highest."""
        most = min(_HIGH, len(self.ids))
        numbers, _ = self.bm25.retrieve([list(query)], k=most, show_progress=False)
        return [int(number) for number in numbers[0]]


def pseudo_query(catalogue: Catalogue, item: int, draw: random.Random) -> tuple[str, ...] | None:
    """Words that somebody could type for this product; None where it has none that serve.

    A word serves if it is no number and at least three products hold it, but not a fifth of all.
    """
    fields = catalogue.fields[item]
    most = len(catalogue.ids) / 5

    def serves(word: str) -> bool:
        return any(c.isalpha() for c in word) and 3 <= len(catalogue.holders[word]) <= most

    runs = [
        tuple(field[start : start + length])
        for field in fields
        for length in (1, 1, 2, 2, 3)
        for start in range(len(field) - length + 1)
        if all(serves(word) for word in field[start : start + length])
    ]
    singles = [run[0] for run in runs if len(run) == 1]
    if len(fields) > 1 and fields[-1] and singles:
        runs += [(fields[-1][0], word) for word in singles if word != fields[-1][0]]
    return draw.choice(runs) if runs else None


def lists(
    catalogue: Catalogue, count: int, good: int, bad: int, draw: random.Random
) -> list[tuple[str, list[tuple[str, int]]]]:
    """``count`` queries, each with up to ``good`` relevant products and ``bad`` others."""
    made: list[tuple[str, list[tuple[str, int]]]] = []
    often = Counter[tuple[str, ...]]()
    everyone = range(len(catalogue.ids))
    for _ in range(count * 5):
        if len(made) == count:
            break
        item = draw.choice(everyone)
        query = pseudo_query(catalogue, item, draw)
        if query is None or often[query] >= 2:
            continue
        often[query] += 1
        holding = catalogue.holding(query)
        others = sorted(holding - {item})
        relevant = [item, *draw.sample(others, min(good - 1, len(others)))]
        hard = [number for number in catalogue.high(query) if number not in holding]
        hard = draw.sample(hard, min(len(hard), bad // 2))
        easy = [
            n
            for n in draw.sample(everyone, min(2 * bad, len(everyone)))
            if n not in holding and n not in hard
        ]
        judged = [(n, 3) for n in relevant] + [(n, 0) for n in (hard + easy)[:bad]]
        draw.shuffle(judged)
        made.append((" ".join(query), [(catalogue.ids[n], grade) for n, grade in judged]))
    return made


def write(made: Sequence[tuple[str, list[tuple[str, int]]]], folder: Path) -> None:
    """The two tables."""
    folder.mkdir(parents=True, exist_ok=True)
    queries = [{"query_id": f"p{n}", "query": query} for n, (query, _) in enumerate(made)]
    judged = [
        {"query_id": f"p{n}", "item_id": item, "relevance": grade}
        for n, (_, pairs) in enumerate(made)
        for item, grade in pairs
    ]
    pq.write_table(pa.Table.from_pylist(queries), folder / "queries.parquet")
    pq.write_table(pa.Table.from_pylist(judged), folder / "judgements.parquet")


def main() -> None:
    """Read the catalogue, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("items", type=Path)
    parser.add_argument("--key", default="item_id")
    parser.add_argument("--text", action="append", required=True, help="column; the brand last")
    parser.add_argument("--lists", type=int, default=2000)
    parser.add_argument("--good", type=int, default=3)
    parser.add_argument("--bad", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if not args.items.is_file():
        raise SystemExit(f"{args.items}: no such file; give the table of products as parquet")
    known = pq.read_schema(args.items).names
    if missing := [name for name in (args.key, *args.text) if name not in known]:
        raise SystemExit(f"{args.items}: no column {missing[0]!r}; it has {', '.join(known)}")
    items = pq.read_table(args.items, columns=[args.key, *args.text]).to_pylist()
    catalogue = Catalogue(items, args.key, args.text)
    made = lists(catalogue, args.lists, args.good, args.bad, random.Random(args.seed))
    if not made:
        raise SystemExit(
            f"{args.items}: no word is held by three products or more, and by less than a fifth of "
            "all; name other columns with --text"
        )
    write(made, args.out)
    print(f"{len(made)} pseudo-queries -> {args.out}")


if __name__ == "__main__":
    main()
