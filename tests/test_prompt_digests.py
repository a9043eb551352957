"""Digests of prompts: of every id and of where each list of them ends."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptrank.engine.contract import Branch, Slot, Tree
from promptrank.runs.prompt_digests import work_digest

IDS = st.lists(st.integers(0, 2**31), max_size=4).map(tuple)
SLOTS = st.lists(st.builds(Slot, IDS, st.lists(IDS, max_size=3).map(tuple)), max_size=2).map(tuple)
TREES = st.builds(
    Tree,
    st.just("r"),
    IDS,
    st.lists(st.builds(Branch, IDS, SLOTS), max_size=4).map(tuple),
)


def written(tree: Tree) -> str:
    """The digest, list by list."""
    whole = hashlib.sha256()

    def take(ids: tuple[int, ...]) -> None:
        whole.update(struct.pack(f"<I{len(ids)}q", len(ids), *ids))

    take(tuple(tree.prefix))
    for branch in tree.branches:
        take(tuple(branch.ids))
        for slot in branch.slots:
            for ids in (slot.ids, *slot.paths):
                take(tuple(ids))
        whole.update(b";")
    return whole.hexdigest()


@pytest.mark.long
@given(tree=TREES, repeat=st.integers(1, 3))
def test_digest_is_over_every_list(tree: Tree, repeat: int) -> None:
    several = Tree("r", tree.prefix, tree.branches * repeat)  # branches that share their slots
    assert work_digest(several) == written(several)


def test_an_adapter_does_not_count() -> None:
    tree = Tree("r", (1, 2), (Branch((3,), (Slot((4,), ((5,), (6,))),)),))
    tuned = Tree("other", (1, 2), tree.branches, shared=1, adapter="a", subject="m1")
    assert work_digest(tree) == work_digest(tuned) != work_digest(Tree("r", (1,), tree.branches))
