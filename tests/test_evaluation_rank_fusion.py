"""Reciprocal rank fusion: sums by hand, ties, missing scores, and rankers that are not there."""

import pytest

from promptrank.errors import InputError
from promptrank.evaluation.rank_fusion import parts_of, reciprocal_ranks
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of


def scores(**given: float | None) -> Scores:
    """Candidates by name; those whose name begins with ``b`` are of another request."""
    keys = [("r2" if name.startswith("b") else "r1", name) for name in given]
    return scores_of(keys, list(given.values()), None, Origin("x"))


def test_by_hand() -> None:
    first = scores(a1=0.9, a2=0.5, a3=0.1, b1=-5.0, b2=-7.0)
    second = scores(b2=3.0, b1=3.0, a3=100.0, a1=7.0, a2=1.0)  # another order, another scale
    fused = reciprocal_ranks([first, second], "rrf:x+y")
    assert fused.keys == first.keys
    expected = [1 / 61 + 1 / 62, 1 / 62 + 1 / 63, 1 / 63 + 1 / 61, 1 / 61 + 1 / 61.5]
    assert fused.numbers("score").tolist() == pytest.approx([*expected, 1 / 62 + 1 / 61.5])
    assert fused.origin.ranker == "rrf:x+y"


def test_who_has_no_score_somewhere_has_none_and_takes_no_rank() -> None:
    first = scores(a1=None, a2=0.5, a3=0.1)
    second = scores(a1=9.0, a2=1.0, a4=0.0, a3=0.5)
    fused = reciprocal_ranks([first, second], "x")
    values = dict(zip(fused.keys, fused.table.column("score").to_pylist(), strict=True))
    assert values[("r1", "a1")] is None and ("r1", "a4") not in values
    assert values[("r1", "a2")] == pytest.approx(2 / 61)
    assert values[("r1", "a3")] == pytest.approx(2 / 62)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("decoder+bm52", "no ranker 'bm52' is compared; did you mean 'bm25'"),
        ("decoder", "two rankers or more"),
        ("bm25+bm25", "each once"),
    ],
)
def test_rankers_that_are_not_there(name: str, message: str) -> None:
    rankers = {"decoder": scores(a1=1.0), "bm25": scores(a1=1.0)}
    assert parts_of("decoder+bm25", rankers) == ["decoder", "bm25"]
    with pytest.raises(InputError, match=message):
        parts_of(name, rankers)
