"""Baselines: numbers by hand, a planted field that is found, and test rows that are never seen."""

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import pytest

from promptrank.baselines.baseline_fit import baseline_scores, fit_baselines, made
from promptrank.baselines.chance import any_order
from promptrank.baselines.item_member_mean import item_member_mean
from promptrank.baselines.logistic import Logistic, LogisticFit
from promptrank.baselines.popularity import popularity
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.field_features import MAX_VALUES
from promptrank.evaluation.labelled import label_rows
from promptrank.evaluation.seen import Seen, SeenInTraining
from promptrank.records import Candidate, Event, Item, Request, Subject
from support.baselines import an_aim, candidate
from support.measured import scores_by

AIM = an_aim()


def gain_of(candidate: Candidate) -> float | None:
    return float(candidate.outcomes["q"]) if "q" in candidate.outcomes else None


def planted(split: str, seed: int, sign: int = 1, num: int = 80) -> Iterator[Request]:
    """Labels follow a number, a word and a missing value; the rest is noise."""
    generator = np.random.default_rng(seed)
    for i in range(num):
        made = []
        for j in range(6):
            signal, word = generator.normal(), str(generator.choice(["red", "blue"]))
            gone = generator.random() < 0.3
            logit = sign * (2 * signal + 2 * (word == "red") - 1 - 2 * gone)
            made.append(
                candidate(
                    f"c{j}",
                    int(generator.random() < 1 / (1 + math.exp(-logit))),
                    fields={"word": word, "noise": generator.normal(), "title": f"t{i}-{j}"},
                    context={"signal": signal * 50 + 1000},
                    stats={} if gone else {"rate": generator.normal()},
                    baseline={"item_count": 1.0},
                )
            )
        member = {"age": float(generator.integers(20, 60))}
        yield Request(f"{split}{i}", Subject(f"m{i}", member), tuple(made), split=split)


def fit(requests: list[Request]) -> Logistic:
    learner = LogisticFit(AIM)
    for request in requests:
        learner.add(request)
    fitted = learner.model()
    assert isinstance(fitted, Logistic), fitted
    return fitted


def test_popularity_is_the_count_and_a_new_item_has_none() -> None:
    assert popularity(candidate(baseline={"item_count": 7.0})) == 7.0
    assert popularity(candidate(baseline={"item_count": None, "mean": 0.5})) == 0.0
    assert popularity(candidate()) is None


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"item_mean": 4.0, "member_mean": 3.0, "mean": 3.5}, 3.5),
        ({"item_mean": None, "member_mean": 3.0, "mean": 3.5}, 3.0),
        ({"item_mean": 4.5, "mean": 3.5}, 4.5),
        ({"mean": 3.5}, 3.5),
        ({"item_mean": 4.0, "member_mean": 3.0}, None),
        ({}, None),
    ],
)
def test_item_and_member_mean(numbers: dict[str, float | None], expected: float | None) -> None:
    assert item_member_mean(candidate(baseline=numbers)) == expected


def test_random_is_what_all_orders_give_on_average() -> None:
    """Of three candidates the second is relevant: each place is as likely as another."""
    asked = tuple(candidate(name, int(name == "b")) for name in "abc")
    requests = [Request("r", Subject("m"), asked)]
    labelled = label_rows(
        requests, scores_by(requests, {"random": any_order}), gain_of=gain_of, relevant_at=1
    )
    metrics = ["auc", "ndcg@3", "mrr", "recall@1", "recall@2"]
    cells = report_of(labelled, metrics, reference="random", draws=50).ranker("random").cells
    ndcg = (1 + 1 / math.log2(3) + 1 / math.log2(4)) / 3
    expected = [1 / 2, ndcg, (1 + 1 / 2 + 1 / 3) / 3, 1 / 3, 2 / 3]
    assert [cells[m].value for m in metrics] == pytest.approx(expected)


def test_logistic_finds_what_was_planted() -> None:
    model = fit(list(planted("train", 0)))
    test = list(planted("test", 1))
    scores = scores_by(test, {"logistic": model.rank, "random": any_order})
    labelled = label_rows(test, scores, gain_of=gain_of, relevant_at=1)
    report = report_of(labelled, ["auc", "ece"], reference="random", draws=50)
    auc = report.ranker("logistic").cells["auc"].value
    ece = report.ranker("logistic").cells["ece"].value
    assert auc is not None and auc > 0.85
    assert ece is not None and ece < 0.1
    assert model.numeric["context.signal"][0] * 50 > 5 * abs(model.numeric["item.noise"][0])
    assert model.texts["item.word", "red"] > model.texts["item.word", "blue"] + 0.5
    assert model.missing["stats.rate"] < -0.5


def test_logistic_says_what_it_used() -> None:
    facts = fit(list(planted("train", 0))).facts()
    assert facts["rows"] == 480
    assert facts["numeric"] == ["context.signal", "item.noise", "member.age", "stats.rate"]
    assert facts["categorical"] == ["item.word"]
    assert facts["skipped"] == {
        "baseline.item_count": "it never changes",
        "item.title": f"more than {MAX_VALUES} distinct texts",
    }
    assert facts["notes"] == []


def test_logistic_never_learns_from_other_splits_and_is_deterministic() -> None:
    train = list(planted("train", 0))
    model = fit(train)
    opposite = [*planted("test", 1, sign=-1), *planted("valid", 2, sign=-1)]
    assert fit([*opposite[:80], *train, *opposite[80:]]) == model
    unsplit = [dataclasses.replace(one, split=None) for one in opposite]
    assert fit([*unsplit, *train]) == model
    assert fit([*train, *(dataclasses.replace(o, split="train") for o in opposite)]) != model


def test_a_score_is_the_candidate_own_and_probabilities_follow_it() -> None:
    model = fit(list(planted("train", 0)))
    request = next(planted("test", 1))
    whole = model.rank(request)
    assert whole.probabilities is not None
    for i, one in enumerate(request.candidates):
        alone = model.rank(dataclasses.replace(request, candidates=(one,)))
        assert alone.scores[0] == whole.scores[i]
        score = whole.scores[i]
        assert score is not None
        assert whole.probabilities[i] == pytest.approx(1 / (1 + math.exp(-score)))


def test_logistic_equals_sklearn_on_the_same_columns() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    x = generator.normal(5, 3, size=200)
    y = (generator.random(200) < 1 / (1 + np.exp(-(x - 5)))).astype(int)
    weight = generator.integers(1, 4, 200)
    rows = [
        candidate(str(i), int(y[i]), fields={"x": x[i]}, weight=float(weight[i]))
        for i in range(200)
    ]
    request = Request("r", Subject("m"), tuple(rows), split="train")
    scaled = ((x - x.mean()) / x.std())[:, None]
    expected = LogisticRegression(max_iter=1000).fit(scaled, y, sample_weight=weight)
    chances = fit([request]).rank(request).probabilities
    assert chances is not None
    assert list(chances) == pytest.approx(expected.predict_proba(scaled)[:, 1], abs=1e-6)
    assert fit([request]) != fit(
        [dataclasses.replace(request, candidates=tuple(with_weight(one) for one in rows))]
    )


def with_weight(one: Candidate) -> Candidate:
    return dataclasses.replace(one, weight=None)


def test_values_of_every_kind_are_taken_or_left() -> None:
    odd = {
        "flag": True,
        "genres": ["drama", "war"],
        "broken": math.nan,
        "nothing": None,
        "nested": {"a": 1},
        "count": np.int64(3),
    }
    other = {"flag": False, "genres": ["drama"], "broken": math.inf, "count": 4}
    rows = tuple(candidate(str(i), i % 2, fields=odd if i % 2 else other) for i in range(20))
    model = fit([Request("r", Subject("m"), rows, split="train")])
    assert sorted(model.numeric) == ["item.count", "item.flag"]
    assert sorted(model.texts) == [("item.genres", "drama"), ("item.genres", "war")]
    assert model.texts["item.genres", "war"] > 0
    unknown = candidate("new", fields={"genres": ["opera"], "flag": 1, "later": 1.0})
    (score,) = model.rank(Request("t", Subject(), (unknown,))).scores
    assert score is not None and math.isfinite(score)


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ([], "there are no labelled training requests"),
        (list(planted("test", 0)), "there are no labelled training requests"),
        (
            [Request("r", Subject("m"), (candidate("a", 1), candidate("b", 1)), split="train")],
            "all training labels are of one class",
        ),
        (
            [Request("r", Subject("m"), (candidate("a", 1), candidate("b", 0)), split="train")],
            "the training requests have no usable field",
        ),
    ],
)
def test_without_training_data_logistic_is_absent_with_a_reason(
    requests: list[Request], reason: str
) -> None:
    fitted = fit_baselines(requests, AIM)
    assert fitted["logistic"].rank is None
    assert fitted["logistic"].reason == reason
    absent = [name for name, baseline in fitted.items() if baseline.rank is None]
    assert absent == ["bm25", "logistic"]  # nothing to look for, either


def test_all_baselines_in_one_report() -> None:
    requests = [*planted("train", 0), *planted("test", 1)]
    fitted = fit_baselines(requests, AIM)
    test = [request for request in requests if request.split == "test"]
    scores = baseline_scores(test, made(fitted))
    named = {n: n for n, baseline in fitted.items() if baseline.rank is not None}
    assert {name: given.origin.ranker for name, given in scores.items()} == named
    labelled = label_rows(test, scores, gain_of=gain_of, relevant_at=1)
    report = report_of(labelled, ["auc", "log_loss"], reference="logistic", draws=20)
    assert set(report.absent) == {"logged", "item_member_mean"}
    names = [row.name for row in report.rankers]
    assert names == ["logistic", "popularity", "random"]
    assert report.rankers[1].cells["auc"].value == 0.5


def test_a_logged_score_is_a_ranker() -> None:
    rows = (candidate("a", 1, logged_score=2.0), candidate("b", 0, logged_score=1.0))
    rank = fit_baselines([], AIM)["logged"].rank
    assert rank is not None
    assert list(rank(Request("r", Subject("m"), rows)).scores) == [2.0, 1.0]


def test_seen_in_training_counts_ids() -> None:
    history = (Event(Item("old", {}), time=0.0),)
    train = Request("a", Subject("m1"), (candidate("x"),), history, time=1.0, split="train")
    tests = [
        Request("b", Subject("m1"), (candidate("x"), candidate("y")), split="test"),
        Request("c", Subject("m2"), (candidate("z", item="old"),), split="test"),
        Request("d", Subject("m3"), (candidate("w"),), split="valid"),
    ]
    source = Request(
        "e", Subject("m4", source=Item("w", {})), (candidate("x"),), time=1.0, split="train"
    )
    training = SeenInTraining()
    for request in [*tests, train]:
        training.add(request)
    assert training.among(tests[:2]) == Seen(2, 1, 3, 2)
    assert training.among(tests) == Seen(3, 1, 4, 2)
    training.add(source)
    assert training.among(tests[2:]) == Seen(1, 0, 1, 1)


def test_without_a_clock_popularity_and_means_come_from_training() -> None:
    def request(name: str, split: str, labels: dict[str, int]) -> Request:
        candidates = tuple(candidate(item, label) for item, label in labels.items())
        return Request(name, Subject(query_id=name), candidates, split=split)

    train = [
        request("a", "train", {"x": 1, "y": 0}),
        request("b", "train", {"x": 1, "y": 1}),
        request("c", "test", {"y": 1}),
    ]
    fitted = fit_baselines(train, AIM)
    later = request("d", "test", {"x": 0, "y": 0, "new": 0})
    popular, means = fitted["popularity"].rank, fitted["item_member_mean"].rank
    assert popular is not None
    assert means is not None
    assert list(popular(later).scores) == [2, 1, 0]
    # Overall mean 3/4; the subject is new; x has mean 1, y 1/2.
    assert list(means(later).scores) == [1.0, 0.5, 0.75]
