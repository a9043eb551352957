"""One number to a distribution over answers, so that a tree's single output answers any question.

``p_k`` is proportional to ``exp(b_k + v_k f)``: f is the output, v_k the answer's worth from 0 to
1, b_k a log base rate. With two answers this is the logistic function; with grades the
adjacent-categories logit (Agresti, Analysis of Ordinal Categorical Data, 4.1). The expected worth
rises with f, so ranking by f and by the expected score agree.
"""

from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.schema.parts import Question
from promptrank.students.targets import Target

_FLOOR = 1e-3  # least base rate of an answer that was never seen


def worths(question: Question) -> Floats:
    """(answers,) values of the answers, moved and scaled to reach from 0 to 1."""
    values = np.array([a.value for a in question.answers.values()], dtype=np.float64)
    worth: Floats = (values - values.min()) / (values.max() - values.min())
    return worth


@dataclass(frozen=True, slots=True)
class Scale:
    """The base rates and worths of one question's answers.

    Attributes:
        base: (answers,) log base rates.
        worth: (answers,) from 0 to 1.
    """

    base: Floats
    worth: Floats

    def log_probabilities(self, output: Floats) -> Floats:
        """(rows,) outputs -> (rows, answers) natural-log probabilities."""
        logits = self.base + output[:, None] * self.worth
        top = logits.max(1, keepdims=True)
        logs: Floats = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
        return logs

    def gradients(self, target: Target, output: Floats) -> tuple[Floats, Floats]:
        """First and second derivative of the weighted cross-entropy by the output, per row.

        ``E_p[v] - E_t[v]`` and ``Var_p[v]``, times the weight; with two answers ``p - t`` and
        ``p (1 - p)``.
        """
        p = np.exp(self.log_probabilities(output))
        mean = p @ self.worth
        first = target.weight * (mean - target.answers @ self.worth)
        second = target.weight * np.maximum(p @ self.worth**2 - mean**2, 1e-9)
        return first, second


def fit_scale(target: Target, worth: Floats) -> Scale:
    """Base rates of a target; where nothing has weight, all answers are equally likely."""
    rates = (target.answers * target.weight[:, None]).sum(0)
    total = rates.sum()
    share = rates / total if total > 0 else np.full(len(worth), 1 / len(worth))
    return Scale(np.log(np.maximum(share, _FLOOR)), worth)
