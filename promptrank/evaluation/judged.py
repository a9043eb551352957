"""Labelled candidates beside every ranker's scores, as flat arrays."""

import difflib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.errors import DataError
from promptrank.records import Candidate, Request

Label = Callable[[Candidate], float | None]
"""A candidate -> its label's value, or None where it is unlabelled."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a ranker says about one request's candidates, in their order.

    Attributes:
        scores: larger is better; None or NaN where there is no score.
        probabilities: P(relevant) in [0, 1], for rankers that offer it.
    """

    scores: Sequence[float | None]
    probabilities: Sequence[float | None] | None = None


Ranker = Callable[[Request], Scored]


@dataclass(frozen=True)
class Judged:
    """One row per labelled candidate; all arrays are aligned.

    Attributes:
        request: code of the row's request, an index into ``request_ids``.
        subject: code of the row's subject, an index into ``subject_ids``; a request has one.
        gain: the label's value.
        relevant: whether that value counts as relevant.
        weight: at least 0.
        scores: per ranker; NaN where the ranker has no score, which is never read as a number.
        probabilities: P(relevant) per ranker that offers it; NaN where it has none.
        unlabelled: candidates that were left out because nothing is known of them.
    """

    request: Codes
    subject: Codes
    request_ids: Sequence[str]
    subject_ids: Sequence[str]
    gain: Floats
    relevant: Flags
    weight: Floats
    scores: Mapping[str, Floats]
    probabilities: Mapping[str, Floats] = field(default_factory=dict)
    unlabelled: int = 0

    def __post_init__(self) -> None:
        problems = [*_shape_problems(self), *_name_problems(self)]
        problems = problems or _value_problems(self)
        if problems:
            raise DataError("\n".join(problems))

    def __len__(self) -> int:
        return len(self.gain)


def judge(
    requests: Iterable[Request],
    rankers: Mapping[str, Ranker],
    *,
    gain_of: Label,
    relevant_at: float,
) -> Judged:
    """Label and score every candidate of ``requests`` in one pass.

    A candidate is relevant where its value is ``relevant_at`` or more. A request without any
    subject is a subject of its own, so that the bootstrap still draws something independent.
    Memory is about 40 bytes a candidate and 8 more per ranker, besides the ids.
    """
    request_codes, subject_codes = dict[str, int](), dict[str, int]()
    request, subject = array("q"), array("q")
    gain, weight = array("d"), array("d")
    scores = {name: array("d") for name in rankers}
    probabilities = {name: array("d") for name in rankers}
    unlabelled = 0
    for one in requests:
        if one.request_id in request_codes:
            raise DataError(
                f"request '{one.request_id}' comes twice; give each request an id of its own"
            )
        gains = [gain_of(candidate) for candidate in one.candidates]
        keep = [i for i, value in enumerate(gains) if value is not None]
        unlabelled += len(gains) - len(keep)
        if not keep:
            continue
        code = request_codes.setdefault(one.request_id, len(request_codes))
        name = one.subject.subject_id or f"request {one.request_id}"
        owner = subject_codes.setdefault(name, len(subject_codes))
        request.extend([code] * len(keep))
        subject.extend([owner] * len(keep))
        gain.extend(float(value) for value in gains if value is not None)
        weights = [one.candidates[i].weight for i in keep]
        weight.extend(1.0 if value is None else value for value in weights)
        for ranker, score in rankers.items():
            said = score(one)
            scores[ranker].extend(_numbers(said.scores, keep, one, ranker))
            chances = said.probabilities or (None,) * len(one.candidates)
            probabilities[ranker].extend(_numbers(chances, keep, one, ranker))
    gains_array = np.array(gain, dtype=np.float64)
    offered = {name: np.array(values, dtype=np.float64) for name, values in probabilities.items()}
    return Judged(
        request=np.array(request, dtype=np.int64),
        subject=np.array(subject, dtype=np.int64),
        request_ids=tuple(request_codes),
        subject_ids=tuple(subject_codes),
        gain=gains_array,
        relevant=gains_array >= relevant_at,
        weight=np.array(weight, dtype=np.float64),
        scores={name: np.array(values, dtype=np.float64) for name, values in scores.items()},
        probabilities={name: v for name, v in offered.items() if not np.isnan(v).all()},
        unlabelled=unlabelled,
    )


def lookup(
    scores: Mapping[tuple[str, str], float | None],
    probabilities: Mapping[tuple[str, str], float | None] | None = None,
) -> Ranker:
    """A ranker that reads scores kept by (request_id, candidate_id); absent ones are missing."""

    def ranker(request: Request) -> Scored:
        keys = [(request.request_id, one.candidate_id) for one in request.candidates]
        chances = None if probabilities is None else [probabilities.get(key) for key in keys]
        return Scored([scores.get(key) for key in keys], chances)

    return ranker


def _numbers(
    values: Sequence[float | None], keep: Sequence[int], request: Request, ranker: str
) -> list[float]:
    if len(values) != len(request.candidates):
        raise DataError(
            f"ranker '{ranker}', request '{request.request_id}': {len(values)} values for "
            f"{len(request.candidates)} candidates; give one per candidate, None where unknown"
        )
    return [float("nan") if (value := values[i]) is None else float(value) for i in keep]


def _shape_problems(judged: Judged) -> list[str]:
    rows = len(judged.gain)
    arrays: dict[str, NDArray[np.generic]] = {
        "request": judged.request,
        "subject": judged.subject,
        "gain": judged.gain,
        "relevant": judged.relevant,
        "weight": judged.weight,
    }
    arrays |= {f"scores['{name}']": values for name, values in judged.scores.items()}
    arrays |= {f"probabilities['{name}']": v for name, v in judged.probabilities.items()}
    problems = [
        f"judged.{name}: shape {values.shape}, expected ({rows},), one number per row"
        for name, values in arrays.items()
        if values.shape != (rows,)
    ]
    if not rows:
        problems.append(
            "nothing to evaluate: no candidate has a label; check the outcomes, their window and "
            "the split"
        )
    if judged.relevant.dtype != np.bool_:
        problems.append(f"judged.relevant: expected booleans, got {judged.relevant.dtype}")
    return problems


def _name_problems(judged: Judged) -> list[str]:
    problems = [] if judged.scores else ["judged.scores: no ranker; give the scores of one"]
    for name in judged.probabilities:
        if name not in judged.scores:
            near = difflib.get_close_matches(name, judged.scores, 1)
            hint = f"; did you mean '{near[0]}'?" if near else "; give its scores too"
            problems.append(f"judged.probabilities['{name}']: no ranker of that name{hint}")
    return problems


def _value_problems(judged: Judged) -> list[str]:
    problems = []
    for name, codes, ids in (
        ("request", judged.request, judged.request_ids),
        ("subject", judged.subject, judged.subject_ids),
    ):
        if codes.min() < 0 or codes.max() >= len(ids):
            problems.append(f"judged.{name}: codes must lie in 0..{len(ids) - 1}")
    if not np.isfinite(judged.gain).all():
        problems.append("judged.gain: every row needs a finite value; leave unlabelled rows out")
    if not np.isfinite(judged.weight).all() or judged.weight.min() < 0:
        problems.append("judged.weight: weights must be finite and at least 0")
    elif judged.weight.sum() <= 0:
        problems.append("judged.weight: all weights are 0, so nothing counts; leave them out")
    for name, values in judged.probabilities.items():
        wrong = int(((values < 0) | (values > 1)).sum())
        if wrong:
            problems.append(
                f"judged.probabilities['{name}']: {wrong} outside [0, 1]; give P(relevant), not "
                "a score"
            )
    return problems or _owner_problems(judged)


def _owner_problems(judged: Judged) -> list[str]:
    owner = np.full(len(judged.request_ids), -1, dtype=np.int64)
    owner[judged.request] = judged.subject
    wrong = np.flatnonzero(owner[judged.request] != judged.subject)
    if not len(wrong):
        return []
    name = judged.request_ids[judged.request[wrong[0]]]
    return [f"request '{name}' has several subjects; a request is one subject at one moment"]
