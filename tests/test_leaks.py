"""Leaks: planted ones are found and named, fields that are merely good are not."""

import csv
import math
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import promptrank
from promptrank.evaluation.leaks import FEWEST, LeakSearch, find_leaks
from promptrank.evaluation.single_fields import FieldColumns, single_scores
from promptrank.records import Candidate, Item, Request, Subject


def columns_of(seed: int, leaks: bool, subjects: int = 150) -> FieldColumns:
    """Ten candidates of each subject; an item is liked by its quality, and by chance.

    Args:
        leaks: whether some fields know what came later.
    """
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    quality = fixed.normal(size=400)
    kinds = fixed.choice(["war", "love", "crime"], size=400)
    columns = FieldColumns()
    number = seed * 100_000
    for subject in range(subjects):
        candidates = []
        for place in rng.choice(400, 10, replace=False):
            liked = rng.random() < 1 / (1 + np.exp(-1.5 * quality[place] + 0.5))
            number += 1
            context: dict[str, Any] = {
                "price": float(np.round(10 * np.exp(rng.normal()), 2)),
                "note": str(rng.choice(["new in", "last one", "on sale now"])),
                "row_id": number,
            }
            if leaks:
                context["outcome"] = bool(liked ^ (rng.random() < 0.03))
                # A clock that was only written where something was done.
                context["clicked"] = 1e6 + number if liked and rng.random() < 0.85 else None
                told = "thanks for your order" if liked else "still in your basket"
                context["mail"] = told if rng.random() < 0.75 else "welcome"
            fields = {"title": f"{kinds[place]} story", "stars": quality[place] + rng.normal()}
            candidates.append(
                Candidate(
                    str(number),
                    Item(str(place), {**fields, "sku": f"A-{place:05d}"}),
                    context,
                    outcomes={"q": "1" if liked else "0"},
                )
            )
        who = f"s{seed}-{subject}"
        columns.add(
            Request(who, Subject(who, {"age": int(rng.integers(18, 80))}), tuple(candidates)),
            lambda c: float(c.outcomes["q"]),
            1.0,
        )
    return columns


def search(leaks: bool) -> LeakSearch:
    found = find_leaks(columns_of(1, leaks), columns_of(2, leaks), draws=200)
    assert isinstance(found, LeakSearch)
    return found


@pytest.mark.long
def test_planted_leaks_are_found_and_named_and_good_fields_are_not() -> None:
    found = search(True)
    assert {leak.field for leak in found.leaks} == {
        "context.outcome",
        "context.clicked",
        "context.mail",
    }
    clicked, worst = (
        next(leak for leak in found.leaks if leak.field == f"context.{name}")
        for name in ("clicked", "outcome")
    )
    assert worst.low >= 0.95 and worst.perfect
    # Not perfect, but far above the rest, from which the other leaks are taken.
    assert clicked.low < 0.95 and not clicked.perfect
    assert clicked.rest is not None and 0.6 < clicked.rest < 0.8
    assert worst.told().startswith("context.outcome alone tells the label with AUC 0.9")
    assert worst.told().endswith("was it known at the time of the request?")
    assert set(found.ids) == {"context.row_id", "item.sku"}


@pytest.mark.long
def test_a_placebo_is_not_named() -> None:
    found = search(False)
    assert found.leaks == ()
    # The field that is worth something leads, and the rest is near chance.
    assert next(iter(found.aucs)) in ("item.stars", "item.sku")
    assert 0.6 < found.aucs["item.stars"] < 0.8
    assert 0.44 < found.aucs["context.price"] < 0.56


def test_a_field_alone_worked_out() -> None:
    columns = FieldColumns()
    held_out = FieldColumns()
    rows = [(1.0, 1), (1.0, 1), (2.0, 0), (None, 0)]
    for side in (columns, held_out):
        for n, (value, label) in enumerate(rows):
            context = {} if value is None else {"x": value}
            candidate = Candidate("c", Item("i", {}), context, outcomes={"q": str(label)})
            request = Request(f"r{n}", Subject(f"m{n}"), (candidate,))
            side.add(request, lambda c: float(c.outcomes["q"]), 1.0)
    made = single_scores(columns, held_out)
    assert made.names == ["context.x"]
    # Rates drawn towards 1/2 by five rows: (2 + 2.5) / 7, (0 + 2.5) / 6 and, missing, the same.
    rates = np.array([4.5 / 7, 4.5 / 7, 2.5 / 6, 2.5 / 6])
    np.testing.assert_allclose(made.held_out[:, 0], np.log(rates / (1 - rates)))
    assert find_leaks(columns, held_out) == (
        "2 relevant and 2 other training candidates are too few to look for leaks; it takes 50 of "
        "each"
    )


def of_contexts(contexts: Iterable[tuple[dict[str, Any], bool]]) -> FieldColumns:
    columns = FieldColumns()
    for n, (context, liked) in enumerate(contexts):
        candidate = Candidate("c", Item("i", {}), context, outcomes={"q": str(int(liked))})
        request = Request(f"r{n}", Subject(f"m{n}"), (candidate,))
        columns.add(request, lambda c: float(c.outcomes["q"]), 1.0)
    return columns


@pytest.mark.parametrize(
    ("liked", "other", "name"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "context.a.b"),
        ({"a": {"b": "x"}}, {"a": {"b": None}}, "context.a.b"),
        ({"a": [1.5, 2.5]}, {"a": [0.5, 0.5]}, "context.a (mean)"),
        ({"a": [3, 4]}, {"a": [2, 5]}, "context.a"),
        ({"a": ["x", "x"]}, {"a": ["x"]}, "context.a (length)"),
        ({"a": []}, {"a": None}, "context.a (length)"),
        ({"a": ""}, {"a": None}, "context.a"),
        ({"a": timedelta(1)}, {"a": timedelta(2)}, "context.a"),
    ],
)
def test_every_kind_of_value_is_looked_at(
    liked: dict[str, Any], other: dict[str, Any], name: str
) -> None:
    columns = of_contexts([(liked, True), (other, False)] * 20)
    made = single_scores(columns, columns)
    told = made.held_out[:, list(made.names).index(name)]
    assert told[0::2].min() > told[1::2].max()
    assert not columns.unread


def test_a_field_of_numbers_and_texts_is_looked_at_as_either() -> None:
    rows: list[tuple[dict[str, Any], bool]]
    rows = [({"a": "yes"}, True), ({"a": "no"}, False), ({"a": 1}, True), ({"a": 2}, False)]
    made = single_scores(of_contexts(rows[::-1] * 10), of_contexts(rows))
    numbers, texts = (list(made.names).index(n) for n in ("context.a", "context.a (texts)"))
    assert made.held_out[2, numbers] > made.held_out[3, numbers]
    assert made.held_out[0, texts] > made.held_out[1, texts]


def test_what_cannot_be_looked_at_is_said() -> None:
    deep = {"deep": {"a": {"b": 1}}, "raw": b"x", "list": [{"a": 1}], "null": None, "nan": math.nan}
    columns = of_contexts([(deep, True), (deep, False)] * FEWEST)
    found = find_leaks(columns, columns, draws=10)
    assert isinstance(found, LeakSearch)
    assert found.told() == (
        "leaks: no field tells 100 held-out candidates apart; 3 fields could not be looked at, or "
        "not whole: context.deep, context.list, context.raw"
    )
    keyed = of_contexts([({"a": {f"k{n}": 1.0}}, n % 2 == 0) for n in range(1100)])
    assert len(keyed.names) == 1000 and keyed.unread == {"context.a"}


def ratings(path: Path, leaky: bool) -> None:
    """Toys of no quality, with a column of their mean over all time, or of noise."""
    rng = np.random.default_rng(3)
    rows = [
        {"person_id": f"p{p % 12}", "toy_id": f"t{t}", "at": 1000 * t + p, "stars": 5 * int(s) or 2}
        for t in range(400)
        for p, s in zip(rng.choice(12, 3, replace=False), rng.random(3) < 0.5, strict=True)
    ]
    with (path / "ratings.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    toys = []
    for t in range(400):
        mean = np.mean([r["stars"] for r in rows if r["toy_id"] == f"t{t}"])
        rating = mean if leaky else rng.uniform(2, 5)
        toys.append(
            {"toy_id": f"t{t}", "title": f"Toy {t}", "color": "", "rating": f"{rating:.2f}"}
        )
    with (path / "toys.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(toys[0]))
        writer.writeheader()
        writer.writerows(toys)


@pytest.mark.slow
@pytest.mark.parametrize("leaky", [True, False])
def test_an_average_over_all_time_is_named_by_validate(toys: Path, leaky: bool) -> None:
    ratings(toys, leaky)
    settings = ["split={by: time, test: 200000s}"]
    checked = promptrank.validate("toys/like", project=toys, settings=settings, leaks=True)
    assert not checked.problems
    named = [line for line in checked.warnings if "was it known" in line]
    assert len(named) == leaky
    assert all(line.startswith("item.rating alone tells the label with AUC") for line in named)
    assert any(line.startswith(f"leaks: {int(leaky)} of ") for line in checked.facts)
    assert not any("looks like an id" in line for line in checked.warnings)  # keys are not printed
