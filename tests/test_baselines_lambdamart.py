"""LambdaMART: an order that no sum of fields has, and what it may and may not look at."""

import builtins
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from promptrank.baselines.baseline import Baseline
from promptrank.baselines.baseline_fit import baseline_scores, fit_baselines, made
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.labelled import label_rows
from promptrank.records import Item, Request, Subject
from promptrank.students.history_columns import HistoryColumns
from support.baselines import an_aim, candidate, event

AIM = an_aim()


def planted(split: str, seed: int, num: int = 60, sign: int = 1) -> Iterator[Request]:
    """Liked is what has two numbers of one sign: a logistic regression sees nothing of that."""
    generator = np.random.default_rng(seed)
    for i in range(num):
        rows = []
        for j in range(8):
            a, b = generator.normal(size=2)
            rows.append(candidate(f"c{j}", int(a * b * sign > 0), fields={"a": a, "b": b}))
        yield Request(f"{split}{i}", Subject(f"m{i}"), tuple(rows), split=split)


def fit(requests: list[Request], name: str = "lambdamart") -> Baseline:
    return fit_baselines(requests, AIM, [name])[name]


def test_it_learns_an_order_that_no_sum_of_fields_has() -> None:
    train, test = list(planted("train", 0)), list(planted("test", 1))
    fitted = fit_baselines([*train, *test], AIM, ["lambdamart", "logistic"])
    scores = baseline_scores(test, made(fitted))
    labelled = label_rows(test, scores, gain_of=AIM.gain_of, relevant_at=1)
    report = report_of(labelled, ["gauc"], reference="lambdamart", draws=20)
    values = {row.name: row.cells["gauc"].value or 0 for row in report.rankers}
    assert values["lambdamart"] > 0.9
    assert 0.35 < values["logistic"] < 0.65
    facts = fitted["lambdamart"].facts
    assert facts["rows"] == 480
    assert facts["columns"] == ["item.a", "item.b"]
    assert 1 <= facts["trees"] <= 300


def test_it_looks_at_train_alone_and_is_deterministic() -> None:
    train = list(planted("train", 0, num=30))
    request = next(planted("test", 1))

    def scores(requests: list[Request]) -> list[float | None]:
        rank = fit(requests).rank
        assert rank is not None
        return list(rank(request).scores)

    alone = scores(train)
    others = [*planted("test", 2, sign=-1), *planted("valid", 3, sign=-1)]
    assert scores([*others, *train]) == alone
    assert scores([replace(r, split="train") for r in others] + train) != alone


def one(*labels: int, weight: float | None = None, **fields: Any) -> Request:
    rows = [
        candidate(f"c{i}", label, fields={n: v * i for n, v in fields.items()}, weight=weight)
        for i, label in enumerate(labels)
    ]
    return Request(f"r{labels}", Subject("m"), tuple(rows), split="train")


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "no labelled training requests"),
        ([one(0, 1, weight=0.0, a=1.0)], "no labelled training requests"),
        ([one(1, 1, a=1.0)], "of one class"),
        ([one(0, 1)], "no usable field"),
        ([one(0, 0, a=1.0), one(1, 1, a=2.0)], "no order to learn"),
    ],
)
def test_reasons(requests: list[Request], reason: str) -> None:
    fitted = fit(requests)
    assert fitted.rank is None
    assert reason in str(fitted.reason)


def test_very_little_is_learned_from_too() -> None:
    rank = fit([one(0, 1, a=1.0)]).rank
    assert rank is not None
    assert np.isfinite(np.array(rank(one(0, 1, 1, a=1.0)).scores, dtype=float)).all()
    assert list(rank(Request("none", Subject("m"), ())).scores) == []


def test_without_lightgbm_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "lightgbm":
            raise ModuleNotFoundError("No module named 'lightgbm'", name="lightgbm")
        return real(name, *rest)

    for name in [n for n in sys.modules if n.startswith(("lightgbm", "promptrank.students.gbdt"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    fitted = fit(list(planted("train", 0, num=2)))
    assert fitted.rank is None
    assert fitted.reason == "it needs LightGBM: pip install 'promptrank[students]'"


def test_the_order_of_an_item_s_words_changes_no_column() -> None:
    """Words are sets, in another order in every process; trees would grow otherwise by one bit."""
    words = tuple(f"word{i}" for i in range(40))
    draw = np.random.default_rng(0)
    history = tuple(
        event(f"i{i}", int(draw.integers(2)), float(i), t=" ".join(draw.choice(words, 15)))
        for i in range(11)
    )
    request = Request("r", Subject("m"), (), history, time=99.0)

    def words_of(item: Item) -> tuple[frozenset[str], ...]:
        return (frozenset(item.fields["t"].split()),)

    question = AIM.task.questions["q"]
    columns = HistoryColumns(request, question, {"0": 0.0, "1": 1.0}, words_of)
    seen = {
        tuple(columns.columns("new", cast(Any, (tuple(draw.permutation(words)),))))
        for _ in range(50)
    }
    assert len(seen) == 1
