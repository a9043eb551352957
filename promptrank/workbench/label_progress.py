"""How far labelling has come: who said how much, and how far people agree."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from promptrank.evaluation.labeller_agreement import LabellerAgreement, labeller_agreements
from promptrank.requests.judged_labels import judged_labels
from promptrank.requests.judgement_file import read_judgements
from promptrank.requests.judgement_rows import standing

_MOST = 5  # people and pairs of people that are named


@dataclass(frozen=True, slots=True)
class LabelProgress:
    """Counts of what holds.

    Attributes:
        mine, skipped: of one labeller, on this question or on pairs.
        total: how much there is to judge; None where that is not counted.
        labels: candidates whose answer is settled, on all questions.
        split: candidates on which labellers are evenly split.
        pairs: choices between two candidates.
        labellers: (name, judgements), the most first.
    """

    mine: int
    skipped: int
    labels: int
    split: int
    pairs: int
    labellers: tuple[tuple[str, int], ...]
    agreements: tuple[LabellerAgreement, ...]
    total: int | None = None


def progress_of(path: Path, what: str, who: str | None, total: int | None = None) -> LabelProgress:
    """What a judgements file holds; nothing where it is not there yet.

    Args:
        what: a question, or anything else for pairs.

    Raises:
        DataError: a file that is none.
    """
    held = standing(read_judgements(path))
    said = [*held.answers, *held.preferences]
    people = Counter(row.labeller for row in said)
    asked = [row for row in said if (row.question or "pairs") == what]
    skipped = [row for row in held.skipped if (row.question or "pairs") == what]
    labels = judged_labels(held)
    return LabelProgress(
        sum(row.labeller == who for row in asked),
        sum(row.labeller == who for row in skipped),
        len(labels.settled),
        len(labels.split),
        len({row.pair for row in held.preferences}),
        tuple(people.most_common(_MOST)),
        tuple(labeller_agreements(held))[:_MOST],
        total,
    )
