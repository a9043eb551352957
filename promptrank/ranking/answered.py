"""From log-probs of answer paths to one number per question, and from those to one score.

An answer's log-prob is the logsumexp over its wordings (they are different continuations, so their
probabilities add). With p(a) the answers' probabilities renormalised to sum to 1:

* ``expected``: sum of value(a) * p(a), in the unit of the values;
* ``log_odds``: logsumexp over relevant answers - logsumexp over the others, in nats;
* ``log_likelihood``: logsumexp over relevant answers, not renormalised, in nats.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from promptrank.basics.numbers import logsumexp
from promptrank.engine.contract import SlotScore
from promptrank.schema.parts import Question


@dataclass(frozen=True, slots=True)
class Answered:
    """What the model says to one question about one candidate.

    Attributes:
        score: by the question's kind of score.
        probability: of the relevant answers, among the declared answers, in [0, 1].
        logprobs: answer -> natural log-probability, its wordings together.
        label_mass: probability of all declared answers in the whole vocabulary, in [0, 1].
        argmax: the answer that greedy decoding would write, or None if it writes none of them.
    """

    score: float
    probability: float
    logprobs: Mapping[str, float]
    label_mass: float
    argmax: str | None


def answer(question: Question, names: Sequence[str], slot: SlotScore) -> Answered:
    """The question's answer from one slot; ``names[i]`` is the answer that path i words."""
    logprobs = dict(zip(names, slot.logprobs, strict=True))
    if len(logprobs) < len(names) or list(logprobs) != list(question.answers):
        by_name: dict[str, list[float]] = {name: [] for name in question.answers}
        for name, logprob in zip(names, slot.logprobs, strict=True):
            by_name[name].append(logprob)
        logprobs = {name: logsumexp(wordings) for name, wordings in by_name.items()}
    total = logsumexp(logprobs.values())
    least = question.relevant_at
    relevant = [n for n, a in question.answers.items() if a.value >= least]
    yes = logsumexp([logprobs[n] for n in relevant])
    match question.score:
        case "expected":
            answers = question.answers
            score = sum(answers[n].value * math.exp(lp - total) for n, lp in logprobs.items())
        case "log_odds":
            score = yes - logsumexp(v for n, v in logprobs.items() if n not in relevant)
        case "log_likelihood":
            score = yes
    return Answered(
        score=score,
        probability=math.exp(yes - total),
        logprobs=logprobs,
        label_mass=slot.label_mass,
        argmax=None if slot.argmax is None else names[slot.argmax],
    )
