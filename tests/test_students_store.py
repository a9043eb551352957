"""The teacher store: nothing is asked twice, and nothing else is answered from it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from promptrank.engine.contract import Branch, Failure, Slot, Steps, Tree
from promptrank.engine.fake import FakeEngine
from promptrank.errors import DataError
from promptrank.students.teacher_store import StoredEngine, prompt_keys

SLOT = Slot((9,), ((10,), (11, 12)))


def tree(name: str, prefix: tuple[int, ...], *branches: int, adapter: str | None = None) -> Tree:
    return Tree(name, prefix, tuple(Branch((b,), (SLOT,)) for b in branches), 0, adapter)


class Counting(FakeEngine):
    asked = 0

    def begin(self, trees: Sequence[Tree]) -> Steps:
        self.asked += sum(len(tree.branches) for tree in trees)
        yield from super().begin(trees)


def stored(folder: Path, inner: Counting, digest: str = "a") -> StoredEngine:
    return StoredEngine(inner, folder, lambda adapter: adapter and digest)


def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    trees = [tree("a", (1, 2), 3, 4), tree("b", (1,), 3), tree("c", (1, 2), 4, 5, adapter="x")]
    direct = list(FakeEngine().score(trees))
    first, second = Counting(), Counting()
    for inner, asked in ((first, 5), (second, 0)):
        engine = stored(tmp_path, inner)
        assert list(engine.score(trees)) == direct
        assert (inner.asked, engine.asked, engine.found) == (asked, asked, 5 - asked)
        engine.close()


def test_what_is_missing_is_asked_in_its_place(tmp_path: Path) -> None:
    inner = Counting()
    engine = stored(tmp_path, inner)
    list(engine.score([tree("a", (1, 2), 4)]))
    assert list(engine.score([tree("a", (1, 2), 3, 4, 5)])) == list(
        FakeEngine().score([tree("a", (1, 2), 3, 4, 5)])
    )
    assert inner.asked == 3


def test_what_is_known_does_not_wait_for_what_is_asked(tmp_path: Path) -> None:
    engine = stored(tmp_path, Counting())
    known, fresh = tree("a", (1, 2), 4), tree("b", (1,), 5)
    empty = Tree("c", (1,), ())
    list(engine.score([known]))
    steps = list(engine.begin([fresh, known, empty]))
    direct = list(FakeEngine().score([fresh, known, empty]))
    assert steps == [[(1, direct[1])], [(0, direct[0])], [(2, ())]]
    assert engine.inner.asked == 2  # type: ignore[attr-defined]


def test_keys_tell_every_token_apart() -> None:
    one = tree("a", (1, 2), 3)
    others = [
        tree("a", (1,), 2),
        tree("a", (1, 2, 3), 3),
        replace(one, branches=(Branch((3, 9), (Slot((), SLOT.paths),)),)),
        replace(one, branches=(Branch((3,), (Slot((9,), ((10,), (11,))),)),)),
        replace(one, branches=(Branch((3,), (SLOT, SLOT)),)),
    ]
    keys = {key for t in (one, *others) for key in prompt_keys(t, t.branches)}
    assert len(keys) == 6
    assert list(prompt_keys(replace(one, tree_id="b", shared=1), one.branches)) == list(
        prompt_keys(one, one.branches)
    )


def test_another_adapter_of_the_same_name_is_asked(tmp_path: Path) -> None:
    trees = [tree("a", (1, 2), 3, adapter="x")]
    for digest in ("old", "new"):
        inner = Counting()
        engine = stored(tmp_path, inner, digest)
        list(engine.score(trees))
        engine.close()
        assert inner.asked == 1
    assert len(list(tmp_path.glob("*/model.json"))) == 2


def test_failures_are_asked_again_and_pass_through(tmp_path: Path) -> None:
    long = tree("a", tuple(range(100)), 3)
    inner = Counting(max_tokens=50)
    engine = stored(tmp_path, inner)
    for _ in range(2):
        (found,) = engine.score([long])
        assert isinstance(found, Failure) or isinstance(found[0], Failure)
    assert inner.asked == 2


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    engine = stored(tmp_path, Counting())
    list(engine.score([tree("a", (1, 2), 3)]))
    engine.close()
    (part,) = tmp_path.glob("*/part-*.parquet")
    part.write_bytes(b"half")
    with pytest.raises(DataError, match="not a part of a teacher store"):
        list(stored(tmp_path, Counting()).score([tree("a", (1, 2), 3)]))
