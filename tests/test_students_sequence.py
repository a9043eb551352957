"""The sequence student: what is served is what was trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.errors import ModelError
from promptrank.students.lessons import Learning
from promptrank.students.sequence import sasrec as sequence
from promptrank.students.sequence.inputs import SequenceBatch, Shape
from promptrank.students.sequence.network import Network
from promptrank.students.sequence.served import ServedNetwork, weight_shapes
from support.students import lessons, plant, planted_task

SHAPE = Shape(buckets=40, ids=9, dense=3, outputs=2, dim=8, layers=2, heads=2, last=6)
WORDS = st.lists(st.integers(1, 39), max_size=4)
ITEMS = st.tuples(WORDS, st.integers(0, 9))


def trained(seed: int) -> Network:
    """A network none of whose weights is as it was made."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(SHAPE, [0.0] * SHAPE.layers, aux=True).eval()
        with torch.no_grad():
            for name, weight in network.named_parameters():
                weight.add_(0.3 * torch.randn_like(weight))
                if name in ("words.weight", "ids.weight"):
                    weight[0] = 0
    return network


NETWORK = trained(0)
WEIGHTS = {n: w.numpy() for n, w in NETWORK.state_dict().items() if not n.startswith("aux.")}


def test_names_and_sizes_of_weights_are_those_of_training() -> None:
    assert weight_shapes(SHAPE) == {name: weight.shape for name, weight in WEIGHTS.items()}


def filled(rows: list[list[int]], width: int) -> np.ndarray:
    table = np.zeros((len(rows), width), dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(
    subject=WORDS,
    events=st.lists(st.tuples(ITEMS, st.floats(0, 1, width=32)), max_size=6),
    items=st.lists(ITEMS, min_size=1, max_size=4),
    padding=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_served_is_trained(
    subject: list[int],
    events: list[tuple[tuple[list[int], int], float]],
    items: list[tuple[list[int], int]],
    padding: int,
    seed: int,
) -> None:
    """For any request, and whatever padding other requests of its batch give it."""
    dense = np.random.default_rng(seed).uniform(-5, 5, (len(items), 3)).astype(np.float32)
    length = min(SHAPE.last, len(events) + padding)
    words = filled([w for (w, _), _ in events] + [[]] * (length - len(events)), 4)
    worth = np.zeros((1, length), dtype=np.float32)
    worth[0, : len(events)] = [value for _, value in events]
    batch = SequenceBatch(
        filled([subject], 4),
        words.reshape(1, length, 4),
        filled([[row for (_, row), _ in events]], length),
        worth,
        np.array([len(events)]),
        filled([w for w, _ in items], 4),
        np.array([row for _, row in items]),
        dense,
        np.zeros(len(items), dtype=np.int64),
    )
    with torch.inference_mode():
        expected = NETWORK(batch)[0].numpy()
    served = ServedNetwork(SHAPE, WEIGHTS)
    user = served.user(subject, [served.item(*i) for i, _ in events], [w for _, w in events])
    found = served.head(user, np.stack([served.item(*i) for i in items]), dense)
    assert found == pytest.approx(expected, abs=2e-5)


def test_a_folder_that_lacks_weights_or_has_others_is_refused(tmp_path: Path) -> None:
    some = plant(600, lambda x: x[:, 0], 20, 7)
    given = lessons(some.requests("train"), some.truth)
    student = sequence.fit(
        planted_task(), lambda: given, Learning("labels", options={"epochs": 1}), lambda _: None
    )
    whole = dict(student.network.weights)
    for weights, named in (
        ({n: w for n, w in whole.items() if n != "mix.bias"}, "mix.bias"),
        ({**whole, "mix.bias": whole["mix.bias"][:-1]}, r"mix.bias is \(63,\), expected \(64,\)"),
    ):
        student.network.weights = weights
        student.save(tmp_path)
        with pytest.raises(ModelError, match=f"not a whole sequence student .*{named}"):
            sequence.load(planted_task(), tmp_path, None)
