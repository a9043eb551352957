"""Metric values: by hand, over all orders of ties, and beside sklearn and ir_measures."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau
from sklearn.metrics import brier_score_loss, log_loss, ndcg_score, roc_auc_score

from promptrank.errors import InputError
from promptrank.evaluation.bootstrap import value_of
from promptrank.evaluation.measure import function_of, rank_rows
from promptrank.evaluation.measures import order_pairs
from promptrank.evaluation.measures.order_pairs import kendall_tau, top1
from promptrank.evaluation.metrics import parse_metrics
from promptrank.schema.metric_kinds import KINDS
from promptrank.schema.metric_names import METRICS, parse_metric
from support.measured import measured, rows_of, value

RANKED = ["ndcg@1", "ndcg@3", "ndcg@9", "mrr", "mrr@2", "recall@1", "recall@3"]
RANKED += ["map", "map@2", "map@4", "precision@2", "precision@5", "hit@1", "hit@2", "hit@4"]


def test_every_metric_has_a_function_and_a_source() -> None:
    assert set(KINDS) == set(METRICS)
    for kind in KINDS.values():
        assert callable(function_of(kind)), kind.name
        assert kind.meaning.endswith(".")
        assert kind.source


def test_names_over_sampled_negatives() -> None:
    assert parse_metric("ndcg@10~u99") == ("ndcg", 10)
    assert parse_metric("auc~p5") == ("auc", None)
    for bad, said in [
        ("auc~x5", "no sampler 'x'"),
        ("auc~u", "no metric"),
        ("auc~u0", "no metric"),
    ]:
        with pytest.raises(ValueError, match=said):
            parse_metric(bad)


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
        ("wauc", 2 / 4),
        # The relevant rows are at ranks 2 and 3: precision there is 1/2 and 2/3.
        ("map", (1 / 2 + 2 / 3) / 2),
        ("map@2", (1 / 2) / 2),
        ("precision@2", 1 / 2),
        ("precision@8", 2 / 8),
        ("hit@1", 0.0),
        ("hit@2", 1.0),
        ("brier", (0.2**2 + 0.9**2 + 0.6**2 + 0.1**2) / 4),
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
        ("precision@2", 1 / 2),
        ("hit@1", 1 / 2),
        ("hit@2", 1 - (2 / 4) * (1 / 3)),
        ("hit@3", 1.0),
        # Of the six pairs of places, each as likely: (1,2) (1,3) (1,4) (2,3) (2,4) (3,4).
        ("map", (2 + (1 + 2 / 3) + (1 + 1 / 2) + (1 / 2 + 2 / 3) + 1 + (1 / 3 + 1 / 2)) / 12),
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
    # A tiny different number for every row breaks its ties. What the orders of tied rows give is
    # what all orders of all rows give: each stands for equally many of them.
    tied = [[i for i, s in enumerate(score) if s == shared] for shared in set(score)]
    broken = []
    for orders in product(*map(permutations, tied)):
        places = {row: place for order in orders for place, row in enumerate(order)}
        broken.append(value(name, data, [s + 1e-3 * places[i] for i, s in enumerate(score)]))
    assert value(name, data, score) == pytest.approx(np.mean(broken), abs=1e-9)


@pytest.mark.long
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
        expected = brier_score_loss(truth, probability, sample_weight=weight)
        assert value("brier", data, probability) == pytest.approx(expected, abs=1e-9)
    if len(set(gain)) > 1:
        for k in (1, 3, 10):
            expected = ndcg_score([gain], [probability], k=k)
            assert value(f"ndcg@{k}", data, probability) == pytest.approx(expected, abs=1e-9)


@pytest.mark.long
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
        ("map", ir_measures.AP),
        ("map@2", ir_measures.AP @ 2),
        ("precision@3", ir_measures.P @ 3),
        ("hit@1", ir_measures.Success @ 1),
        ("hit@2", ir_measures.Success @ 2),
    ):
        differ = {
            str(i)
            for i, one in enumerate(requests)
            if name.startswith("precision")
            or (len(set(one)) > 1 if name.startswith("ndcg") else any(one))
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
    for name in ("auc", "gauc", "wauc", "log_loss", "brier", "ece"):
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
        ("map", [0, 0, 0], "no request has a relevant candidate"),
        ("hit@2", [0, 0, 0], "no request has a relevant candidate"),
        ("wauc", [1, 1, 1], "no domain has labels of both kinds"),
    ],
)
def test_undefined_has_a_reason(name: str, gain: list[float], reason: str) -> None:
    one = measured(name, rows_of(gain), [3, 2, 1])
    assert one.estimate is None
    assert reason in str(one.reason)


@pytest.mark.long
def test_smooth_ece_of_equal_probabilities_is_their_distance_from_the_share() -> None:
    # However wide the kernel, what it smooths is .7 - .5 everywhere.
    assert value("smooth_ece", rows_of([1, 0] * 20), [0.7] * 40) == pytest.approx(0.2, abs=1e-3)


@pytest.mark.long
def test_smooth_ece_has_the_width_at_which_it_is_the_width_itself() -> None:
    """Against the definition by sums over all pairs: the kernel is reflected at 0 and 1."""
    generator = np.random.default_rng(5)
    probability = generator.random(400)
    relevant = generator.random(400) < probability**2
    t = (np.arange(2000) + 0.5) / 2000

    def smoothed(width: float) -> float:
        apart = [t[:, None] - probability, t[:, None] + probability, t[:, None] + probability - 2]
        kernel = (
            sum(np.exp(-((d / width) ** 2) / 2) for d in apart) / width / math.sqrt(2 * math.pi)
        )
        residual = kernel @ (probability - relevant) / len(probability)
        return float(np.abs(residual).mean())

    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if smoothed(middle) > middle else (low, middle)
    rows = rows_of([int(r) for r in relevant])
    assert value("smooth_ece", rows, probability) == pytest.approx(low, abs=2e-3)
    assert value("ece", rows, probability) == pytest.approx(low, abs=0.05)


@pytest.mark.long
def test_smooth_ece_has_no_draws_and_takes_no_weights() -> None:
    drawn = measured("smooth_ece", rows_of([1, 0, 1]), [0.9, 0.2, 0.4]).estimate
    assert drawn is not None
    assert np.isnan(drawn(np.ones((4, 3)))).all()
    weighted = measured("smooth_ece", rows_of([1, 0], weight=[1, 2]), [0.9, 0.2])
    assert "different weights" in str(weighted.reason)


def test_a_metric_whose_library_is_not_there_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("promptrank.evaluation.metrics.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"smooth_ece is computed by relplot.*promptrank\[calib"):
        parse_metrics(["auc", "smooth_ece"])


def test_infinite_scores_keep_their_place() -> None:
    data = rows_of([1, 0, 0])
    assert value("mrr", data, [-math.inf, 0.0, math.inf]) == pytest.approx(1 / 3)
    assert value("auc", data, [math.inf, 0.0, -math.inf]) == 1.0


@pytest.mark.parametrize("name", ["auc", "gauc", "wauc", *RANKED, "log_loss", "brier", "ece"])
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
        assert value(name, rows, score[order]) == pytest.approx(expected, abs=1e-9)


def test_precision_counts_requests_without_a_relevant_candidate() -> None:
    data = rows_of([1, 0, 0, 0], request=[0, 0, 1, 1])
    one = measured("precision@1", data, [2, 1, 2, 1])
    assert (one.used, one.left_out) == (2, 0)
    assert value("precision@1", data, [2, 1, 2, 1]) == 1 / 2


def test_wauc_weighs_domains_by_impressions_and_leaves_one_class_out() -> None:
    gain, score = [1, 0, 1, 0, 0, 1, 1], [0.9, 0.1, 0.2, 0.3, 0.1, 0.5, 0.6]
    domain = np.array([0, 0, 1, 1, 1, 2, 2])
    one = rows_of(gain, request=list(range(7)))
    data = replace(one, domain=domain)
    reduced = measured("wauc", data, score)
    assert (reduced.used, reduced.left_out, reduced.unit) == (2, 1, "domains")
    # Domain 0: AUC 1 of 2 rows. Domain 1: .2 is above .1 and below .3, so 1/2 of 3 rows.
    assert value("wauc", data, score) == pytest.approx((2 * 1 + 3 * 1 / 2) / 5)
    # Subjects 2 to 4 (domain 1) not drawn: domain 0 alone. Subject 1 not drawn: domain 1 alone.
    assert reduced.estimate is not None
    times = np.array([[1, 1, 0, 0, 0, 1, 1], [1, 0, 1, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0, 0]], float)
    assert reduced.estimate(times) == pytest.approx([1, 1 / 2, np.nan], nan_ok=True)
    plain = rows_of(gain, request=list(range(7)))
    assert value("wauc", plain, score) == value("auc", plain, score)


def orders(
    first: Sequence[float], second: Sequence[float], request: list[int]
) -> tuple[float, float]:
    """top1 and kendall_tau."""
    rows = rows_of([0] * len(first), request)
    one, two = (rank_rows(rows.request, np.array(each, dtype=float)) for each in (first, second))
    usable = np.ones(rows.num_requests, dtype=np.bool_)
    found = []
    for function in (top1, kendall_tau):
        estimate = function(rows, one, two, usable).estimate
        assert estimate is not None
        found.append(value_of(estimate, rows.num_subjects))
    return found[0], found[1]


def test_two_orders_by_hand() -> None:
    # Request 0: the same first candidate; of three pairs the last is turned. Request 1: opposite.
    found = orders([3, 2, 1, 5, 6], [9, 7, 8, 6, 5], [0, 0, 0, 1, 1])
    assert found == pytest.approx(((1 + 0) / 2, ((2 - 1) / 3 - 1) / 2))
    # All tied against an order: any candidate is first as often, and no pair has a direction.
    assert orders([1, 1, 1], [3, 2, 1], [0, 0, 0]) == pytest.approx((1 / 3, 0))
    assert orders([1, math.inf, 0], [2, 3, -math.inf], [0, 0, 0]) == (1, 1)


@pytest.mark.parametrize("ties", [3, 50, 10_000])
def test_long_lists_are_counted_by_sorting_with_the_same_numbers(
    ties: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(ties)
    first, second = (generator.integers(0, ties, 300).tolist() for _ in range(2))
    second[:100] = first[:100]
    sorted_pairs = orders(first, second, [0] * 300)
    monkeypatch.setattr(order_pairs, "_MANY", 1000)
    assert orders(first, second, [0] * 300) == pytest.approx(sorted_pairs)
    assert orders([1] * 300, second, [0] * 300)[1] == 0


def test_requests_of_one_candidate_say_nothing_of_orders() -> None:
    rows = rows_of([0, 0, 0], request=[0, 1, 1])
    ranked = rank_rows(rows.request, np.array([1.0, 2.0, 3.0]))
    for function in (top1, kendall_tau):
        every = function(rows, ranked, ranked, np.ones(2, dtype=np.bool_))
        assert (every.used, every.left_out) == (1, 1)
        none = function(rows, ranked, ranked, np.array([True, False]))
        assert none.reason == "no request has two candidates in both"


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(7)), st.permutations(range(7)))
def test_tau_agrees_with_scipy(first: list[int], second: list[int]) -> None:
    found = orders([*first, 1, 2], [*second, 1, 2], [0] * 7 + [1] * 2)[1]
    assert found == pytest.approx((kendalltau(first, second).statistic + 1) / 2)


@pytest.mark.long
@settings(max_examples=8, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=2, max_size=4))
def test_agreement_of_ties_is_the_mean_over_both_sides_orders(rows: list[tuple[int, int]]) -> None:
    first, second = [r[0] for r in rows], [r[1] for r in rows]
    request = [0] * len(rows)
    every = list(permutations(range(len(rows))))
    broken = [
        orders(
            [s + 1e-3 * i for s, i in zip(first, one, strict=True)],
            [s + 1e-3 * i for s, i in zip(second, two, strict=True)],
            request,
        )
        for one in every
        for two in every
    ]
    assert orders(first, second, request) == pytest.approx(np.mean(broken, axis=0), abs=1e-9)


def test_ece_takes_off_what_noise_adds_and_keeps_what_is_there() -> None:
    generator = np.random.default_rng(2)
    chance = generator.uniform(0.1, 0.9, 1200)
    happened = (generator.random(1200) < chance).astype(float)
    rows = rows_of(list(happened), list(np.repeat(np.arange(100), 12)))
    gaps = [
        abs((part - fact).mean())
        for part, fact in zip(
            np.split(np.sort(chance), 10),
            np.split(happened[np.argsort(chance)], 10),
            strict=True,
        )
    ]
    assert np.mean(gaps) > 0.02  # what a calibrated ranker is said to be off by
    assert value("ece", rows, chance) < np.mean(gaps) / 2
    assert value("ece", rows, chance + 0.1) == pytest.approx(0.1, abs=0.03)


def test_the_page_of_metrics_has_all_of_them() -> None:
    text = (Path(__file__).parents[1] / "docs/reference/metrics.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    told = {names.strip("| ").split("`")[1].partition("@")[0]: rest for names, *rest in rows}
    assert [*told] == [*KINDS]
    for name, (_, unit, better, needs) in told.items():
        kind = KINDS[name]
        assert unit == kind.unit
        assert better == ("lower" if kind.lower_is_better else "higher")
        assert needs.strip(" |") == kind.needs
