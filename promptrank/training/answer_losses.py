"""Losses on the log-probs that scoring reads.

With P(a) the probability of answer a in the whole vocabulary, its wordings together and each along
its whole path of tokens:

* ``answers``: cross-entropy, -sum_a q(a) log P(a), with q the target (1 for the outcome, or soft).
  P is not renormalised over the answers: -log P(a) = -log(P(a) / mass) - log mass, so besides the
  answer the model learns to give one at all, and ``label_mass`` stays a warning that means
  something.
* ``listwise``: the softmax over a request's candidates (ListNet, Cao et al. 2007), -sum_i t_i log
  softmax(s)_i, with s the log-odds of the relevant answers against the others and t proportional
  to value above the list's least.
* ``ranknet``: mean over pairs with different values of log(1 + exp(s_low - s_high)) (Burges et al.
  2005).
* the prompt's own next-token cross-entropy: total = w_p * prompt + (1 - w_p) * the others.

Sums are returned with what they count, so that a step of several forwards is divided once.
"""

from dataclasses import dataclass

import torch

Tensor = torch.Tensor
NAMES = ("answers", "listwise", "ranknet")


@dataclass(frozen=True, slots=True)
class Summed:
    """A loss summed over what it counts: ``count`` labels (by weight) or lists."""

    total: Tensor
    count: Tensor


def answer_logprobs(
    logits: Tensor, step_rows: Tensor, step_ids: Tensor, step_paths: Tensor, slot_paths: Tensor
) -> Tensor:
    """Log P of every answer of every slot.

    Args:
        logits: (rows, vocab).
        step_rows, step_ids, step_paths: (steps,): a path's token: where its log-prob is read,
            which it is, and whose it is.
        slot_paths: (slots, answers, wordings) path numbers, -1 where there is none.

    Returns:
        (slots, answers), fp32, -inf where an answer has no path.
    """
    wide = logits.float()
    tokens = wide[step_rows, step_ids] - torch.logsumexp(wide, -1)[step_rows]
    paths = int(step_paths.max()) + 1
    sums = tokens.new_zeros(paths).index_add(0, step_paths, tokens)
    absent = slot_paths < 0
    by_wording = sums[slot_paths.clamp(min=0)].masked_fill(absent, float("-inf"))
    none = absent.all(-1)
    # An answer without any path: the gradient of logsumexp over nothing would not be a number.
    safe = by_wording.masked_fill(none[..., None], 0.0)
    return torch.logsumexp(safe, -1).masked_fill(none, float("-inf"))


def answers_loss(logprobs: Tensor, shares: Tensor, weights: Tensor) -> Summed:
    """Cross-entropy, summed over slots by weight; counts the weights."""
    terms = torch.where(shares > 0, shares * logprobs, 0.0)
    return Summed(-(terms.sum(-1) * weights).sum(), weights.sum())


def log_odds(logprobs: Tensor, relevant: Tensor) -> Tensor:
    """(slots,): logsumexp over relevant answers minus logsumexp over the others."""
    never = float("-inf")
    yes = torch.logsumexp(logprobs.masked_fill(~relevant, never), -1)
    no = torch.logsumexp(logprobs.masked_fill(relevant, never), -1)
    return yes - no


def listwise_loss(odds: Tensor, values: Tensor, weights: Tensor, lists: list[Tensor]) -> Summed:
    """Softmax over the candidates of each list, summed over lists with more than one value.

    A list weighs as much as its candidates on average.
    """
    total, count = odds.new_zeros(()), odds.new_zeros(())
    for places in lists:
        gains = values[places] - values[places].min()
        if len(places) < 2 or not bool(gains.any()):
            continue
        weight = weights[places].mean()
        logs = torch.log_softmax(odds[places], 0)
        total = total - weight * (gains / gains.sum() * logs).sum()
        count = count + weight
    return Summed(total, count)


def ranknet_loss(odds: Tensor, values: Tensor, weights: Tensor, lists: list[Tensor]) -> Summed:
    """Mean over a list's pairs of different value, summed over lists that have such pairs.

    A list weighs as much as its candidates on average.
    """
    total, count = odds.new_zeros(()), odds.new_zeros(())
    for places in lists:
        higher = values[places][:, None] > values[places][None, :]
        if not bool(higher.any()):
            continue
        apart = odds[places][:, None] - odds[places][None, :]
        weight = weights[places].mean()
        total = total + weight * torch.nn.functional.softplus(-apart[higher]).mean()
        count = count + weight
    return Summed(total, count)
