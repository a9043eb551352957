"""Teacher stores of earlier versions: they answer, and what is used of them moves to the cache."""

import hashlib
import json
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from promptrank.caching.cached_engine import CachedEngine
from promptrank.caching.score_cache import ScoreCache
from promptrank.engine.contract import Branch, Failure, Slot, Steps, Tree
from promptrank.engine.fake import FakeEngine

ONE = (Slot((9,), ((10,), (11, 12))),)
TWO = (*ONE, Slot((), ((3,), (4,), (5,))))
TREES = [
    Tree("a", (1, 2), tuple(Branch((b,), ONE) for b in (3, 4)), subject="ann"),
    Tree("b", (1,), (Branch((3,), TWO), Branch((), TWO)), adapter="x", subject="bob"),
]


class Silent(FakeEngine):
    """Must not be asked."""

    def begin(self, trees: Sequence[Tree]) -> Steps:
        raise AssertionError("asked")


def written(folder: Path, random_name: bool = False, **wrong: Any) -> list[Path]:
    """A store as earlier versions wrote it, after their documentation.

    Args:
        wrong: a column of the first row -> a value for it.
    """
    paths = []
    for tree, scores in zip(TREES, FakeEngine().score(TREES), strict=True):
        info = FakeEngine().info
        facts = json.dumps([info.digest, info.dtype, tree.adapter]).encode()
        rows = []
        assert not isinstance(scores, Failure)
        for branch, score in zip(tree.branches, scores, strict=True):
            assert not isinstance(score, Failure)
            ids: list[int] = []
            lists = [tree.prefix, branch.ids]
            lists += [part for slot in branch.slots for part in (slot.ids, *slot.paths)]
            for part in lists:
                ids += [len(part), *part]
            key = hashlib.blake2b(array("I", ids).tobytes(), digest_size=16).digest()
            rows.append(
                {
                    "prompt": key,
                    "logprobs": [list(s.logprobs) for s in score],
                    "label_mass": [s.label_mass for s in score],
                    "argmax": [s.argmax for s in score],
                }
            )
        rows[0] |= wrong
        schema = pa.schema(
            [
                ("prompt", pa.binary(16)),
                ("logprobs", pa.list_(pa.list_(pa.float64()))),
                ("label_mass", pa.list_(pa.float64())),
                ("argmax", pa.list_(pa.int32())),
            ]
        )
        made = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), made, compression="zstd")
        data = made.getvalue().to_pybytes()
        place = folder / hashlib.blake2b(facts, digest_size=8).hexdigest()
        place.mkdir(parents=True)
        name = "0123456789ab" if random_name else hashlib.sha256(data).hexdigest()[:32]
        paths.append(place / f"part-{name}.parquet")
        paths[-1].write_bytes(data)
    return paths


def asked(folder: Path, inner: FakeEngine, said: list[str]) -> CachedEngine:
    """The engine, once its answers are what they should be."""
    with ScoreCache(folder / "cache", teacher=folder / "teacher") as cache:
        engine = CachedEngine(inner, cache, digest=lambda adapter: adapter, say=said.append)
        assert list(engine.score(TREES)) == list(FakeEngine().score(TREES))
        engine.close()
    return engine


def test_what_a_store_knows_is_not_asked_again_and_moves(tmp_path: Path) -> None:
    for part in written(tmp_path / "teacher"):
        assert asked(tmp_path, Silent(), []).hits == 6
        part.unlink()
    assert asked(tmp_path, Silent(), []).hits == 6
    with ScoreCache(tmp_path / "cache") as cache:
        assert (cache.count_of("ann"), cache.count_of("bob")) == (2, 4)


def test_a_broken_part_is_named_and_not_answered_from(tmp_path: Path) -> None:
    said: list[str] = []
    part = written(tmp_path / "teacher")[0]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    engine = asked(tmp_path, FakeEngine(), said)
    assert (engine.asked, engine.hits) == (2, 4)
    assert len(said) == 1
    assert f"{part}: not a part of a teacher store" in said[0]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("logprobs", [[50.0, -1.0]]),
        ("logprobs", [[float("nan"), -1.0]]),
        ("logprobs", [[float("inf"), -1.0]]),
        ("logprobs", [[None, -1.0]]),
        ("logprobs", [None]),
        ("logprobs", None),
        ("logprobs", [[-1.0, -2.0, -3.0]]),
        ("logprobs", [[-1.0]]),
        ("logprobs", [[-1.0, -1.0], [-1.0, -1.0]]),
        ("label_mass", [1.5]),
        ("label_mass", [float("nan")]),
        ("label_mass", [-0.1]),
        ("label_mass", []),
        ("label_mass", [None]),
        ("argmax", [2]),
        ("argmax", [-1]),
    ],
)
def test_numbers_that_no_engine_answers_with_are_not_taken(
    tmp_path: Path, column: str, value: Any
) -> None:
    """In a part of a still older version, whose name is no digest."""
    written(tmp_path / "teacher", random_name=True, **{column: value})
    assert asked(tmp_path, FakeEngine(), []).hits < 6
