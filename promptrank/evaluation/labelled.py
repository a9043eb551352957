"""Labelled candidates beside every ranker's scores, as flat arrays."""

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from promptrank.basics.arrays import Codes, Flags, Floats
from promptrank.basics.hints import near_names
from promptrank.errors import DataError
from promptrank.evaluation.sampled import Sampled
from promptrank.evaluation.slices import Slicing
from promptrank.records import Candidate, Request
from promptrank.scores.scores import Scores

Label = Callable[[Candidate], float | None]
"""A candidate -> its label's value, or None where it is unlabelled."""


@dataclass(frozen=True)
class Labelled:
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
        slices: name of a slicing -> code of each row's slice.
        domain: code of each row's domain; None where all rows are of one.
        position: where a logged list showed it (1 is first), NaN where that is not known; None
            where it is known of no row.
        sampling: sampler and count of sampled negatives, as names of metrics write it (``u99``).
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
    slices: Mapping[str, Codes] = field(default_factory=dict)
    domain: Codes | None = None
    position: Floats | None = None
    sampling: str | None = None

    def __post_init__(self) -> None:
        problems = [*_shape_problems(self), *_name_problems(self)]
        problems = problems or _value_problems(self)
        if problems:
            raise DataError("\n".join(problems))

    def __len__(self) -> int:
        return len(self.gain)

    def take(self, keep: Flags, rankers: Iterable[str]) -> "Labelled":
        """Fewer rows and rankers; codes stay as they are."""
        rankers = list(rankers)
        chances = {n: self.probabilities[n][keep] for n in rankers if n in self.probabilities}
        return replace(
            self,
            request=self.request[keep],
            subject=self.subject[keep],
            gain=self.gain[keep],
            relevant=self.relevant[keep],
            weight=self.weight[keep],
            scores={name: self.scores[name][keep] for name in rankers},
            probabilities={n: v for n, v in chances.items() if not np.isnan(v).all()},
            unlabelled=0,
            slices={},
            domain=None if self.domain is None else self.domain[keep],
            position=None if self.position is None else self.position[keep],
        )


def label_rows(
    requests: Iterable[Request],
    scores: Mapping[str, Scores],
    *,
    gain_of: Label,
    relevant_at: float,
    slicings: Sequence[Slicing] = (),
) -> Labelled:
    """Every labelled candidate of ``requests`` beside each ranker's scores, in one pass.

    A candidate is relevant where its value is ``relevant_at`` or more. A request without any
    subject is a subject of its own, so that the bootstrap still draws something independent.
    ``slicings`` say which slice each row is in. Memory is about 56 bytes a candidate, 16 more per
    ranker and 8 per slicing, besides the ids.

    Raises:
        DataError: a request comes twice, or negatives were sampled in more than one way.
    """
    request_codes, subject_codes = dict[str, int](), dict[str, int]()
    request, subject = array("q"), array("q")
    gain, weight, position = array("d"), array("d"), array("d")
    domains, domain = dict[str, int](), array("q")
    sampled = Sampled()
    keys: list[tuple[str, str]] = []
    codes = {slicing.name: array("q") for slicing in slicings}
    unlabelled = 0
    for each in requests:
        if each.request_id in request_codes:
            raise DataError(
                f"request '{each.request_id}' comes twice; give each request an id of its own"
            )
        for candidate in each.candidates:
            value = gain_of(candidate)
            if value is None:
                unlabelled += 1
                continue
            name = each.subject.subject_id or f"request {each.request_id}"
            request.append(request_codes.setdefault(each.request_id, len(request_codes)))
            subject.append(subject_codes.setdefault(name, len(subject_codes)))
            gain.append(float(value))
            weight.append(1.0 if candidate.weight is None else candidate.weight)
            position.append(math.nan if candidate.position is None else candidate.position)
            domain.append(domains.setdefault(str(each.meta.get("domain")), len(domains)))
            sampled.add(each)
            for slicing in slicings:
                codes[slicing.name].append(slicing.code(each, candidate))
            keys.append((each.request_id, candidate.candidate_id))
    gains = np.array(gain, dtype=np.float64)
    positions = np.array(position, dtype=np.float64)
    rows = {name: given.rows(keys) for name, given in scores.items()}
    chances = {name: scores[name].at("probability", at) for name, at in rows.items()}
    return Labelled(
        request=np.array(request, dtype=np.int64),
        subject=np.array(subject, dtype=np.int64),
        request_ids=tuple(request_codes),
        subject_ids=tuple(subject_codes),
        gain=gains,
        relevant=gains >= relevant_at,
        weight=np.array(weight, dtype=np.float64),
        scores={name: scores[name].at("score", at) for name, at in rows.items()},
        probabilities={name: v for name, v in chances.items() if not np.isnan(v).all()},
        unlabelled=unlabelled,
        slices={name: np.array(code, dtype=np.int64) for name, code in codes.items()},
        domain=np.array(domain, dtype=np.int64) if len(domains) > 1 else None,
        position=None if np.isnan(positions).all() else positions,
        sampling=sampled.sampling,
    )


def _shape_problems(labelled: Labelled) -> list[str]:
    rows = len(labelled.gain)
    arrays: dict[str, NDArray[np.generic]] = {
        "request": labelled.request,
        "subject": labelled.subject,
        "gain": labelled.gain,
        "relevant": labelled.relevant,
        "weight": labelled.weight,
    }
    arrays |= {f"scores['{name}']": values for name, values in labelled.scores.items()}
    arrays |= {f"probabilities['{name}']": v for name, v in labelled.probabilities.items()}
    optional = {"domain": labelled.domain, "position": labelled.position}
    arrays |= {name: values for name, values in optional.items() if values is not None}
    problems = [
        f"labelled.{name}: shape {values.shape}, expected ({rows},), one number per row"
        for name, values in arrays.items()
        if values.shape != (rows,)
    ]
    if not rows:
        problems.append(
            "nothing to evaluate: no candidate has a label; check the outcomes, their window and "
            "the split"
        )
    if labelled.relevant.dtype != np.bool_:
        problems.append(f"labelled.relevant: expected booleans, got {labelled.relevant.dtype}")
    return problems


def _name_problems(labelled: Labelled) -> list[str]:
    problems = [] if labelled.scores else ["labelled.scores: no ranker; give the scores of one"]
    for name in labelled.probabilities:
        if name not in labelled.scores:
            near = near_names(name, labelled.scores, cutoff=0.6)
            hint = f"; did you mean '{near[0]}'?" if near else "; give its scores too"
            problems.append(f"labelled.probabilities['{name}']: no ranker of that name{hint}")
    return problems


def _value_problems(labelled: Labelled) -> list[str]:
    problems = []
    for name, codes, ids in (
        ("request", labelled.request, labelled.request_ids),
        ("subject", labelled.subject, labelled.subject_ids),
    ):
        if codes.min() < 0 or codes.max() >= len(ids):
            problems.append(f"labelled.{name}: codes must lie in 0..{len(ids) - 1}")
    if not np.isfinite(labelled.gain).all():
        problems.append("labelled.gain: every row needs a finite value; leave unlabelled rows out")
    if not np.isfinite(labelled.weight).all() or labelled.weight.min() < 0:
        problems.append("labelled.weight: weights must be finite and at least 0")
    elif labelled.weight.sum() <= 0:
        problems.append("labelled.weight: all weights are 0, so nothing counts; leave them out")
    for name, values in labelled.probabilities.items():
        wrong = int(((values < 0) | (values > 1)).sum())
        if wrong:
            problems.append(
                f"labelled.probabilities['{name}']: {wrong} outside [0, 1]; give P(relevant), not "
                "a score"
            )
    return problems or _owner_problems(labelled)


def _owner_problems(labelled: Labelled) -> list[str]:
    owner = np.full(len(labelled.request_ids), -1, dtype=np.int64)
    owner[labelled.request] = labelled.subject
    wrong = np.flatnonzero(owner[labelled.request] != labelled.subject)
    if not len(wrong):
        return []
    name = labelled.request_ids[labelled.request[wrong[0]]]
    return [f"request '{name}' has several subjects; a request is one subject at one moment"]
