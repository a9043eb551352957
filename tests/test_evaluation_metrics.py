"""Metric values: by hand, over all orders of ties, and beside sklearn and ir_measures."""

import math
from itertools import permutations

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from promptrank.errors import InputError
from promptrank.evaluation.metrics import MEANING, parse_metrics
from promptrank.schema.metric_names import METRICS
from support.measured import measured, rows_of, value

RANKED = ["ndcg@1", "ndcg@3", "ndcg@9", "mrr", "mrr@2", "recall@1", "recall@3"]


def test_every_metric_has_a_definition() -> None:
    assert set(MEANING) == set(METRICS)


def test_names_are_taken_apart() -> None:
    ndcg, loss = parse_metrics(["ndcg@10", "log_loss", "ndcg@10"])
    assert (ndcg.base, ndcg.cutoff, ndcg.lower_is_better) == ("ndcg", 10, False)
    assert (loss.base, loss.cutoff, loss.lower_is_better) == ("log_loss", None, True)


def test_all_bad_names_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_metrics(["auc", "ngcd@10", "auc@5", "nonsense"])
    for word in ("ngcd@10", "ndcg", "auc@5", "nonsense"):
        assert word in str(caught.value)


def test_no_metric_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="none is named"):
        parse_metrics([])


# By hand. Order by score: gains 0, 2, 1, 0.
HAND = rows_of([2, 0, 1, 0])
HAND_SCORE = [0.8, 0.9, 0.4, 0.1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", 2 / 4),  # of the four pairs (2 or 1) x (0 or 0): above .1 twice, above .9 never
        ("gauc", 2 / 4),
        ("mrr", 1 / 2),
        ("mrr@1", 0.0),
        ("recall@1", 0.0),
        ("recall@2", 1 / 2),
        ("recall@3", 1.0),
        ("ndcg@1", 0.0),
        ("ndcg@2", (2 / math.log2(3)) / (2 + 1 / math.log2(3))),
        ("ndcg@4", (2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3))),
        ("log_loss", -(math.log(0.8) + math.log(0.1) + math.log(0.4) + math.log(0.9)) / 4),
        # Four values of p are four bins of a quarter each: |.8-1|, |.9-0|, |.4-1|, |.1-0|.
        ("ece", (0.2 + 0.9 + 0.6 + 0.1) / 4),
    ],
)
def test_worked_by_hand(name: str, expected: float) -> None:
    assert value(name, HAND, HAND_SCORE) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auc", 0.5),
        ("gauc", 0.5),
        ("mrr", (1 / 1) * (2 / 4) + (1 / 2) * (2 / 4) * (2 / 3) + (1 / 3) * (2 / 4) * (1 / 3)),
        ("recall@1", 1 / 4),
        ("recall@3", 3 / 4),
        ("ndcg@1", 0.75 / 2),
        ("ece", abs(0.7 - 0.5)),
    ],
)
def test_equal_scores_give_the_expectation_of_a_random_order(name: str, expected: float) -> None:
    for order in ([0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0]):
        rows = rows_of([[2, 0, 1, 0][i] for i in order])
        assert value(name, rows, [0.7] * 4) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=6),
    st.sampled_from(RANKED),
)
def test_ties_are_the_mean_over_all_their_orders(rows: list[tuple[int, int]], name: str) -> None:
    gain, score = [r[0] for r in rows], [r[1] for r in rows]
    data = rows_of(gain)
    if measured(name, data, score).estimate is None:
        return
    # A tiny different number for every row, in every order, breaks the ties in every way.
    broken = [
        value(name, data, [s + 1e-3 * place for s, place in zip(score, order, strict=True)])
        for order in permutations(range(len(rows)))
    ]
    assert value(name, data, score) == pytest.approx(np.mean(broken), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(1, 4)), min_size=2, max_size=30
    )
)
def test_agrees_with_sklearn(rows: list[tuple[int, int, int]]) -> None:
    gain, probability = [r[0] for r in rows], [r[1] / 5 for r in rows]
    weight = [r[2] for r in rows]
    data = rows_of(gain, weight=weight)
    truth = data.relevant
    if truth.any() and not truth.all():
        expected = roc_auc_score(truth, probability, sample_weight=weight)
        assert value("auc", data, probability) == pytest.approx(expected, abs=1e-9)
        assert value("gauc", data, probability) == pytest.approx(expected, abs=1e-9)
        expected = log_loss(truth, probability, sample_weight=weight)
        assert value("log_loss", data, probability) == pytest.approx(expected, abs=1e-9)
    if len(set(gain)) > 1:
        for k in (1, 3, 10):
            expected = ndcg_score([gain], [probability], k=k)
            assert value(f"ndcg@{k}", data, probability) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=8), min_size=1, max_size=5))
def test_agrees_with_ir_measures(requests: list[list[int]]) -> None:
    generator = np.random.default_rng(0)
    gain = [g for one in requests for g in one]
    request = [i for i, one in enumerate(requests) for _ in one]
    score = generator.permutation(len(gain)) / len(gain)  # no ties: ir_measures breaks them by id
    data = rows_of(gain, request)
    qrels = [ir_measures.Qrel(str(r), str(i), gain[i]) for i, r in enumerate(request)]
    run = [ir_measures.ScoredDoc(str(r), str(i), score[i]) for i, r in enumerate(request)]
    for name, theirs in (
        ("ndcg@3", ir_measures.nDCG @ 3),
        ("mrr", ir_measures.RR),
        ("mrr@2", ir_measures.RR @ 2),
        ("recall@2", ir_measures.R @ 2),
    ):
        differ = {
            str(i)
            for i, one in enumerate(requests)
            if (len(set(one)) > 1 if name.startswith("ndcg") else any(one))
        }
        found = [
            one.value
            for one in ir_measures.iter_calc([theirs], qrels, run)
            if one.query_id in differ
        ]
        ours = measured(name, data, score)
        assert ours.used == len(differ)
        assert ours.left_out == len(requests) - len(differ)
        if differ:
            assert value(name, data, score) == pytest.approx(np.mean(found), abs=1e-9)


def test_gauc_weighs_subjects_by_impressions_and_leaves_one_class_out() -> None:
    # Subject 0: 2 rows, AUC 1. Subject 1: 4 rows, AUC 1/2 over two requests. Subject 2: one class.
    data = rows_of(
        [1, 0, 1, 0, 0, 1, 1, 1], request=[0, 0, 1, 1, 2, 2, 3, 3], subject=[0, 0, 1, 1, 1, 1, 2, 2]
    )
    one = measured("gauc", data, [2, 1, 4, 1, 3, 2, 0, 0])
    # Subject 1: positives 4, 2; negatives 1, 3; of four pairs (4>1, 4>3, 2>1) three are right.
    assert (one.used, one.left_out, one.unit) == (2, 1, "subjects")
    assert value("gauc", data, [2, 1, 4, 1, 3, 2, 0, 0]) == pytest.approx((2 * 1 + 4 * 3 / 4) / 6)


def test_a_weight_counts_as_that_many_rows() -> None:
    gain, score, weight = [1, 0, 1, 0, 0], [0.9, 0.8, 0.3, 0.3, 0.1], [1, 3, 2, 1, 2]
    repeated = [i for i, times in enumerate(weight) for _ in range(times)]
    once = rows_of(gain, weight=weight)
    many = rows_of([gain[i] for i in repeated])
    for name in ("auc", "gauc", "log_loss", "ece"):
        expected = value(name, many, [score[i] for i in repeated])
        assert value(name, once, score) == pytest.approx(expected, abs=1e-12), name


def test_a_request_counts_with_its_mean_weight() -> None:
    data = rows_of([1, 0, 1, 0], request=[0, 0, 1, 1], weight=[1, 1, 4, 2])
    # Request 0 is right (1), request 1 wrong (1/2); weights 1 and 3.
    assert value("mrr", data, [2, 1, 1, 2]) == pytest.approx((1 * 1 + 3 * 0.5) / 4)


def test_ece_bins_have_equal_mass() -> None:
    # 20 rows, 10 bins of two; each bin holds one relevant row: its gap is |mean p - 1/2|.
    probability = np.arange(20) / 20
    data = rows_of([i % 2 for i in range(20)])
    pairs = probability.reshape(10, 2).mean(axis=1)
    assert value("ece", data, probability) == pytest.approx(np.abs(pairs - 0.5).mean())
    assert value("ece", data, np.full(20, 0.5)) == 0.0


def test_equal_probabilities_share_the_bin_where_their_middle_lies() -> None:
    # Of 100 rows the 6 at .2 have their middle at .03 (bin 0), the 8 at .4 at .10 (bin 1).
    probability = np.repeat([0.2, 0.4, 0.9], [6, 8, 86])
    data = rows_of([0] * 6 + [1] * 94)
    assert value("ece", data, probability) == pytest.approx((6 * 0.2 + 8 * 0.6 + 86 * 0.1) / 100)


@pytest.mark.parametrize(
    ("name", "gain", "reason"),
    [
        ("auc", [1, 1, 1], "all candidates are relevant"),
        ("auc", [0, 0, 0], "all candidates are not relevant"),
        ("gauc", [1, 1, 1], "no subject has labels of both kinds"),
        ("ndcg@10", [2, 2, 2], "no request has labels of different value"),
        ("ndcg@10", [-1, 0, 2], "below 0"),
        ("mrr", [0, 0, 0], "no request has a relevant candidate"),
        ("recall@2", [0, 0, 0], "no request has a relevant candidate"),
    ],
)
def test_undefined_has_a_reason(name: str, gain: list[float], reason: str) -> None:
    one = measured(name, rows_of(gain), [3, 2, 1])
    assert one.estimate is None
    assert reason in str(one.reason)


def test_infinite_scores_keep_their_place() -> None:
    data = rows_of([1, 0, 0])
    assert value("mrr", data, [-math.inf, 0.0, math.inf]) == pytest.approx(1 / 3)
    assert value("auc", data, [math.inf, 0.0, -math.inf]) == 1.0


@pytest.mark.parametrize("name", ["auc", "gauc", *RANKED, "log_loss", "ece"])
def test_the_order_of_rows_changes_nothing(name: str) -> None:
    generator = np.random.default_rng(3)
    size = 200
    request = np.sort(generator.integers(0, 30, size))
    request = np.unique(request, return_inverse=True)[1]
    gain, score = generator.integers(0, 3, size), generator.integers(0, 6, size) / 6
    expected = value(name, rows_of(list(gain), list(request)), score)
    for _ in range(5):
        order = generator.permutation(size)
        rows = rows_of(list(gain[order]), list(request[order]))
        assert value(name, rows, score[order]) == pytest.approx(expected, abs=1e-12)
