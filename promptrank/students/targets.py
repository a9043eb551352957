"""What a student learns from a label and a teacher: targets and weights, one row per candidate.

Every loss is a cross-entropy between a target distribution over a question's answers and the
student's, with a weight per row. Three of them need a second output:

* ``labels``: the label alone.
* ``direct``: label and teacher on one output. Cross-entropy is linear in its target, so
  ``w CE(y, p) + a CE(q, p) = (w + a) CE((w y + a q) / (w + a), p)``: one target, one weight. A
  biased teacher shifts the output.
* ``auxiliary``: the label on the output that is served, the teacher on a second one that shares
  the trunk and is dropped (Bridging the Gap, arXiv 2408.14678). The bias stays in the second.
* ``self-auxiliary``: as before, but the second output learns ``max(label, teacher)``: a relevant
  label is kept, any other gives way to the teacher where the teacher thinks more of the candidate
  (SEAD, doi 10.1145/3640457.3688041). The teacher is the decoder's answer where there is one, else
  the student's own served output, taken as a constant.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from promptrank.basics.arrays import Floats

Loss = Literal["labels", "direct", "auxiliary", "self-auxiliary"]
LOSSES: tuple[Loss, ...] = ("labels", "direct", "auxiliary", "self-auxiliary")


@dataclass(frozen=True, slots=True)
class Target:
    """What one output learns.

    Attributes:
        answers: (rows, answers), each row sums to 1, or is anything finite where the weight is 0.
        weight: (rows,), 0 where nothing is known of a row.
    """

    answers: Floats
    weight: Floats


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the rows of one question.

    Attributes:
        labels: (rows, answers), one-hot; zeros where unlabelled.
        teacher: (rows, answers) probabilities; NaN where the teacher was not asked.
        weight: (rows,) of the candidates.
        values: (answers,) what each answer is worth, from 0 to 1.
    """

    labels: Floats
    teacher: Floats
    weight: Floats
    values: Floats

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Rows with a label."""
        rows: NDArray[np.bool_] = self.labels.sum(1) > 0
        return rows

    @property
    def taught(self) -> NDArray[np.bool_]:
        """Rows with a teacher's answer."""
        rows: NDArray[np.bool_] = ~np.any(np.isnan(self.teacher), axis=1)
        return rows


def targets(known: Known, loss: Loss, alpha: float, own: Floats) -> tuple[Target, Target | None]:
    """What the served output learns, and what the second one does, if the loss has one.

    Args:
        alpha: weight of the teacher beside a label's 1.
        own: (rows, answers) the served output's probabilities now; a constant, no gradient runs
            through it. Only ``self-auxiliary`` reads it.
    """
    label_weight = known.weight * known.labelled
    label = Target(known.labels, label_weight)
    taught = known.taught
    teacher = np.where(taught[:, None], known.teacher, 0.0)
    teacher_weight = alpha * known.weight * taught
    if loss == "labels":
        return label, None
    if loss == "direct":
        weight = label_weight + teacher_weight
        both = label_weight[:, None] * known.labels + teacher_weight[:, None] * teacher
        return Target(both / np.where(weight > 0, weight, 1.0)[:, None], weight), None
    if loss == "auxiliary":
        return label, Target(teacher, teacher_weight)
    teacher = np.where(taught[:, None], known.teacher, own)
    chosen = select(known.labels, teacher, known.values)
    seen = taught | known.labelled  # of an untaught, unlabelled row nothing is known but `own`
    return label, Target(chosen, alpha * known.weight * seen)


def select(labels: Floats, teacher: Floats, values: Floats) -> Floats:
    """``max(label, teacher)`` by worth: the teacher's answers where they are worth more.

    With two answers of worth 0 and 1: (0, 0.3) gives 0.3 and (1, 0.5) gives 1. Unlabelled rows
    (zeros) give the teacher's answers.
    """
    unlabelled = labels.sum(1) == 0
    more = unlabelled | (teacher @ values > labels @ values)
    chosen: Floats = np.where(more[:, None], teacher, labels)
    return chosen


def judged_by(train: Known, valid: Known) -> Loss:
    """The loss on ``valid`` that stops a training: ``labels`` where both parts have some.

    Else ``direct``, by the teacher's answers. Where training has no labels the student repeats the
    teacher, its bias too, and labels would stop it early.
    """
    both = ((known.labelled & (known.weight > 0)).any() for known in (train, valid))
    return "labels" if all(both) else "direct"


def cross_entropy(target: Target, probabilities: Floats) -> float:
    """Weighted mean of ``-sum t ln p`` in nats; NaN where all weights are 0."""
    rows = target.weight > 0
    if not rows.any():
        return float("nan")
    logs = np.log(np.maximum(probabilities[rows], 1e-300))
    each = -(target.answers[rows] * logs).sum(1)
    return float(np.average(each, weights=target.weight[rows]))
