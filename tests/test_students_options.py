"""Options of students: what is wrong with them is said before a teacher is asked."""

import importlib
import sys
from typing import Any

import pytest

from promptrank.errors import InputError
from promptrank.students.decoder import pruned as decoder
from promptrank.students.gbdt import trees as gbdt
from promptrank.students.kinds import kind_of
from promptrank.students.lessons import Learning
from promptrank.students.sequence import sasrec as sequence
from promptrank.students.targets import Loss

KINDS = {"gbdt": gbdt, "sequence": sequence, "decoder": decoder}


def options(kind: str, loss: Loss = "labels", **given: Any) -> dict[str, Any]:
    found: dict[str, Any] = KINDS[kind].check_options(Learning(loss, options=given))
    return found


def test_options_are_typed() -> None:
    found = options("gbdt", learning_rate="5e-2", rounds="30", leaves=8.0)
    assert (found["learning_rate"], found["rounds"], found["leaves"]) == (0.05, 30, 8)
    assert type(found["leaves"]) is int
    assert found["min_leaf"] is None
    assert options("sequence", dropout=[0.5, "1e-1"])["dropout"] == [0.5, 0.1]
    assert options("sequence", dropout=0)["dropout"] == 0.0
    assert options("decoder")["layers"] is None


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("gbdt", {"round": 3}, "gbdt has no option 'round'; options: objective, rounds"),
        ("gbdt", {"rounds": "many"}, "gbdt, option rounds=many: expected a whole number"),
        ("gbdt", {"rounds": 0}, "rounds=0: expected a whole number of at least 1"),
        ("gbdt", {"rounds": True}, "rounds=True"),
        ("gbdt", {"leaves": 1}, "leaves=1: expected a whole number of at least 2"),
        ("gbdt", {"leaves": 2.5}, "leaves=2.5"),
        ("gbdt", {"rounds": None}, "rounds=None"),
        ("gbdt", {"learning_rate": "nan"}, "learning_rate=nan: expected a number above 0"),
        ("gbdt", {"objective": "list"}, "objective=list: expected pointwise or lambdamart"),
        ("sequence", {"heads": 5}, "sequence, option heads=5: expected a divisor of dim=32"),
        ("sequence", {"batch": -1}, "batch=-1"),
        ("sequence", {"dropout": 1}, "dropout=1: expected a number from 0 to below 1"),
        ("sequence", {"dropout": [0.1]}, "a list of two"),
        ("sequence", {"dropout": [0.1, "x"]}, "a list of two"),
        ("sequence", {"optimizer": ["adam"]}, "expected adam or adam_then_sgd"),
        ("decoder", {"epochs": []}, "decoder, option epochs="),
    ],
)
def test_options_that_cannot_be_are_named(kind: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        options(kind, **given)


def test_losses_that_a_kind_cannot_learn_are_named() -> None:
    with pytest.raises(InputError, match="a decoder has one output and loss auxiliary needs two"):
        options("decoder", "auxiliary")
    with pytest.raises(InputError, match="lambdamart has one output"):
        options("gbdt", "self-auxiliary", objective="lambdamart")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    package = importlib.import_module("promptrank.students.gbdt")
    monkeypatch.delattr(package, "trees")
    for name in ("trees", "boosting", "lambdamart"):
        monkeypatch.delitem(sys.modules, f"promptrank.students.gbdt.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(InputError, match=r"pip install 'promptrank\[students\]'"):
        kind_of("gbdt")
