"""Requests in the shape of MovieLens, from titles: about 270 prefix tokens, 26 a candidate."""

import random
from pathlib import Path

import pyarrow.parquet as pq
from tokenizers import Tokenizer

from promptrank.engine.base import Branch, Slot, Tree

_INSTRUCTION = (
    "You recommend films. Below is what a member watched and how they liked it. For the film at "
    "the end, say whether this member would like it.\n"
)
_QUESTION = "Would they like it? Answer Yes or No:"
_HISTORY_TOKENS = 270


def movielens_requests(model: Path, data: Path, candidates: int, count: int) -> list[Tree]:
    """``count`` requests of real titles; the same seed gives the same requests.

    Args:
        model: folder with tokenizer.json.
        data: folder with items.parquet (title, year, genres).
        candidates: per request.
        count: of requests.
    """
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    items = pq.read_table(data / "items.parquet").to_pylist()

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    draw = random.Random(11)
    slot = Slot(ids(_QUESTION), (ids(" Yes"), ids(" No")))
    instruction = ids(_INSTRUCTION)
    trees = []
    for number in range(count):
        prefix = (*instruction, *ids(f"Member: {draw.randint(18, 60)} years old\n"))
        while len(prefix) < _HISTORY_TOKENS:
            item = draw.choice(items)
            said = draw.choice(("liked", "did not like"))
            prefix += ids(f"{item['title']} ({item['year']}), {item['genres']}: {said}\n")
        branches = tuple(
            Branch(ids(f"Film: {item['title']} ({item['year']}), {item['genres']}\n"), (slot,))
            for item in draw.sample(items, candidates)
        )
        trees.append(Tree(f"r{number}", prefix, branches, shared=len(instruction)))
    return trees
