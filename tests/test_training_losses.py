"""Losses against numbers worked out by hand, and by what gets a gradient."""

from math import exp, log
from typing import Any

import pytest
import torch

from promptrank.engine import attention
from promptrank.engine.contract import Branch, Slot
from promptrank.training import answer_losses as losses
from promptrank.training import objective
from promptrank.training.collate import Collator
from promptrank.training.examples import Example, PathTarget, TurnTarget
from promptrank.training.settings import SAMPLED_ROWS, Settings
from support.engines import llama

YES, NO = (5,), (6,)
SLOT = Slot((7,), (YES, NO))


def target(share: float, weight: float = 1.0) -> PathTarget:
    return PathTarget(((0,), (1,)), (share, 1 - share), (True, False), share, weight)


def example(*shares: float, turns: tuple[TurnTarget, ...] = ()) -> Example:
    branches = tuple((Branch((10 + n, 20), (SLOT,)), (target(s),)) for n, s in enumerate(shares))
    return Example("r", 0, (3, 4, 7, 5, 8), branches, turns)


@pytest.fixture(scope="module")
def model() -> Any:
    attention.register()
    made: Any = llama()
    made.set_attn_implementation(attention.NAME)
    made.reads_rows = False
    return made


def plain_logprob(model: Any, ids: list[int], token: int) -> float:
    """log P(token | ids) by an ordinary forward."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
    return float(torch.log_softmax(logits, -1)[token])


def test_an_answer_is_its_wordings_together_each_along_its_path() -> None:
    probabilities = torch.tensor([[0.5, 0.2, 0.2, 0.1], [0.1, 0.6, 0.2, 0.1]])
    # Answer 0: token 0, or token 1 and then token 2 (.2 x .2); answer 1: token 2; a third: none.
    logprobs = losses.answer_logprobs(
        probabilities.log(),
        torch.tensor([0, 0, 1, 0]),
        torch.tensor([0, 1, 2, 2]),
        torch.tensor([0, 1, 1, 2]),
        torch.tensor([[[0, 1], [2, -1], [-1, -1]]]),
    )
    assert logprobs[0, 0].exp().item() == pytest.approx(0.5 + 0.2 * 0.2)
    assert logprobs[0, 1].exp().item() == pytest.approx(0.2)
    assert logprobs[0, 2].item() == float("-inf")


def test_cross_entropy_with_soft_targets_and_weights() -> None:
    logprobs = torch.tensor([[0.5, 0.25], [0.1, 0.4]]).log()
    loss = losses.answers_loss(
        logprobs, torch.tensor([[1.0, 0.0], [0.25, 0.75]]), torch.tensor([2.0, 1.0])
    )
    by_hand = 2 * -log(0.5) - 0.25 * log(0.1) - 0.75 * log(0.4)
    assert loss.total.item() == pytest.approx(by_hand)
    assert loss.count.item() == 3


def test_an_absent_answer_has_no_say_and_no_gradient_that_is_no_number() -> None:
    logprobs = torch.tensor([[-0.5, float("-inf")]], requires_grad=True)
    loss = losses.answers_loss(logprobs, torch.tensor([[1.0, 0.0]]), torch.ones(1))
    (grad,) = torch.autograd.grad(loss.total, logprobs)
    assert grad.tolist() == [[-1.0, 0.0]]


def test_log_odds() -> None:
    logprobs = torch.tensor([[0.1, 0.3, 0.2]]).log()
    odds = losses.log_odds(logprobs, torch.tensor([[True, False, True]]))
    assert odds.item() == pytest.approx(log(0.3 / 0.3))


def test_listwise_is_the_softmax_over_a_requests_candidates() -> None:
    odds, values = torch.tensor([1.0, 0.0, 2.0, 9.0]), torch.tensor([1.0, 0.0, 0.5, 1.0])
    lists = [torch.tensor([0, 1, 2]), torch.tensor([3])]
    loss = losses.listwise_loss(odds, values, torch.ones(len(values)), lists)
    norm = log(exp(1) + exp(0) + exp(2))
    assert loss.total.item() == pytest.approx(-(1 / 1.5 * (1 - norm) + 0.5 / 1.5 * (2 - norm)))
    assert loss.count.item() == 1  # a list of one says nothing
    moved = losses.listwise_loss(odds, values - 5, torch.ones(len(values)), lists)
    assert moved.total.item() == pytest.approx(loss.total.item())


def test_ranknet_is_the_mean_over_pairs_of_different_value() -> None:
    odds, values = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([1.0, 0.0, 0.0])
    loss = losses.ranknet_loss(
        odds, values, torch.ones(3), [torch.tensor([0, 1, 2]), torch.tensor([1, 2])]
    )
    by_hand = (log(1 + exp(-1)) + log(1 + exp(1))) / 2
    assert loss.total.item() == pytest.approx(by_hand)
    assert loss.count.item() == 1


def test_a_list_weighs_as_much_as_its_candidates() -> None:
    odds, values = torch.tensor([1.0, 0.0, 2.0, 0.5]), torch.tensor([1.0, 0.0, 0.0, 1.0])
    weights = torch.tensor([2.0, 2.0, 0.5, 0.5])
    lists = [torch.tensor([0, 1]), torch.tensor([2, 3])]
    for loss in (losses.listwise_loss, losses.ranknet_loss):
        first, second = (
            loss(odds, values, torch.ones(4), [candidates]).total.item() for candidates in lists
        )
        both = loss(odds, values, weights, lists)
        assert both.total.item() == pytest.approx(2 * first + 0.5 * second)
        assert both.count.item() == 2.5


def test_what_is_read_at_slots_is_what_a_plain_forward_says(model: Any) -> None:
    turn = TurnTarget("q", "yes", 3, (5,), (), 1.0)
    batch = Collator().batch([example(1.0, 0.0), example(0.5, turns=(turn,))])
    logprobs = objective.answer_logprobs(model, batch)
    prefix = [3, 4, 7, 5, 8]
    rows = [prefix[:3], *([*prefix, 10 + n, 20, 7] for n in (0, 1, 0))]
    # Slots in their order: two of the first request, then the second's turn and its candidate.
    order = [rows[1], rows[2], rows[0], rows[3]]
    for answers, ids in zip(logprobs, order, strict=True):
        assert answers[0].item() == pytest.approx(plain_logprob(model, ids, 5), abs=1e-5)
    assert logprobs[1, 1].item() == pytest.approx(plain_logprob(model, order[1], 6), abs=1e-5)
    assert batch.labels == 4 and [p.tolist() for p in batch.lists] == [[0, 1], [3]]


def test_the_whole_loss_by_hand(model: Any) -> None:
    turn = TurnTarget("q", "yes", 3, (5,), (), 1.0)
    batch = Collator().batch([example(1.0, turns=(turn,))])
    counts = objective.counts_of(batch)
    logprobs = objective.answer_logprobs(model, batch)
    answers = objective.answers_total(logprobs, batch, {"answers": 1.0}, counts)
    in_turn = plain_logprob(model, [3, 4, 7], 5)
    in_branch = plain_logprob(model, [3, 4, 7, 5, 8, 10, 20, 7], 5)
    assert answers.item() == pytest.approx(-(in_turn + in_branch) / 2, abs=1e-5)
    # Every token but the first and the answer at index 3 is prompt.
    ids = [3, 4, 7, 5, 8, 10, 20, 7]
    by_hand = [-plain_logprob(model, ids[:n], ids[n]) for n in range(1, len(ids)) if n != 3]
    hidden = model.model(input_ids=batch.forward.ids, position_ids=batch.forward.positions)
    prompt = objective.prompt_total(
        model.lm_head, hidden.last_hidden_state[0].detach().requires_grad_(), batch, counts
    )
    assert len(batch.prompt_ids) == len(by_hand)
    assert prompt.item() == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-4)


def test_the_prompts_gradient_is_that_of_plain_cross_entropy(model: Any) -> None:
    batch = Collator().batch([example(1.0, 0.0)])
    counts = objective.counts_of(batch)
    hidden = torch.randn(batch.tokens, 32, requires_grad=True)
    ours = objective.prompt_total(model.lm_head, hidden, batch, counts)
    logits = model.lm_head(hidden[batch.prompt_rows])
    plain = torch.nn.functional.cross_entropy(logits, batch.prompt_ids)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, hidden), torch.autograd.grad(3 * plain, hidden)
    )


def test_a_sample_of_the_prompt_is_an_estimate_without_bias(model: Any) -> None:
    batch = Collator().batch([example(1.0, 0.0)])
    counts, count = objective.counts_of(batch), len(batch.prompt_rows)
    hidden = torch.randn(batch.tokens, 32, requires_grad=True)

    def loss_and_grad(some: Any) -> torch.Tensor:
        total = objective.prompt_total(model.lm_head, hidden, some, counts)
        (grad,) = torch.autograd.grad(total, hidden)
        return torch.cat([total.detach()[None], grad.flatten()])

    draws = [objective.thinned(batch, 1, f"0 {n} 0 0") for n in range(300)]
    by_row = {int(d.prompt_rows[0]) * 100 + int(d.prompt_ids[0]): d for d in draws}
    pairs = zip(batch.prompt_rows.tolist(), batch.prompt_ids.tolist(), strict=True)
    assert by_row.keys() == {row * 100 + token for row, token in pairs}
    # Each token has the same chance, so the mean over tokens is what is expected of a draw.
    mean = torch.stack([loss_and_grad(d) for d in by_row.values()]).mean(0)
    torch.testing.assert_close(mean, loss_and_grad(batch))
    times = [sum(int(d.prompt_ids[0]) == int(t) for d in draws) for t in batch.prompt_ids]
    assert min(times) > 300 / count / 3
    half = objective.thinned(batch, 3, "x")
    assert len(set(zip(half.prompt_rows.tolist(), half.prompt_ids.tolist(), strict=True))) == 3
    assert half.prompt_scale == count / 3
    assert objective.thinned(batch, 3, "x").prompt_rows.tolist() == half.prompt_rows.tolist()
    assert objective.thinned(batch, count, "x") is batch


def test_large_vocabularies_sample_unless_told() -> None:
    rows = [Settings().for_vocabulary(n).prompt_rows for n in (49_152, 262_144)]
    assert rows == [0, SAMPLED_ROWS]
    assert Settings(prompt_rows=0).for_vocabulary(262_144).prompt_rows == 0
    assert Settings(prompt_weight=0.0).for_vocabulary(262_144).prompt_rows == 0


def test_without_prompt_weight_only_answers_get_a_gradient(model: Any) -> None:
    turn = TurnTarget("q", "yes", 3, (5,), (), 1.0)
    batch = Collator().batch([example(1.0, 0.0, turns=(turn,))])
    read: list[torch.Tensor] = []
    hook = model.lm_head.register_forward_hook(lambda m, i, out: read.append(out))
    logprobs = objective.answer_logprobs(model, batch)
    hook.remove()
    (logits,) = read
    # Logits exist at the three slots and nowhere else: the turn's, and one of each candidate.
    assert logits.shape[1] == 3
    total = objective.answers_total(
        logprobs,
        batch,
        {"answers": 1.0, "listwise": 0.5, "ranknet": 0.5},
        objective.counts_of(batch),
    )
    (grad,) = torch.autograd.grad(total, logits)
    assert bool((grad.abs().sum(-1) > 0).all())


def test_several_questions_are_weighted(model: Any) -> None:
    slots = (SLOT, Slot((9,), (YES, NO)))
    targets = (target(1.0, 3.0), target(0.0, 1.0))
    example = Example("r", 0, (3, 4), ((Branch((10,), slots), targets),))
    batch = Collator().batch([example])
    logprobs = objective.answer_logprobs(model, batch)
    total = objective.answers_total(logprobs, batch, {"answers": 1.0}, objective.counts_of(batch))
    first = plain_logprob(model, [3, 4, 10, 7], 5)
    second = plain_logprob(model, [3, 4, 10, 9], 6)
    assert total.item() == pytest.approx(-(3 * first + second) / 4, abs=1e-5)


def test_a_step_in_two_forwards_weighs_labels_as_one_forward_does(model: Any) -> None:
    parts = [[example(1.0, 0.0, 1.0)], [example(0.0)]]
    whole = Collator().batch([e for part in parts for e in part])
    weights = {"answers": 1.0}
    at_once = objective.answers_total(
        objective.answer_logprobs(model, whole), whole, weights, objective.counts_of(whole)
    )
    batches = [Collator().batch(part) for part in parts]
    counts = objective.LossCounts(
        *sum(objective.counts_of(b).as_tensor() for b in batches).tolist()  # type: ignore[union-attr]
    )
    in_parts = sum(
        objective.answers_total(objective.answer_logprobs(model, b), b, weights, counts).item()
        for b in batches
    )
    assert in_parts == pytest.approx(at_once.item(), abs=1e-5)
