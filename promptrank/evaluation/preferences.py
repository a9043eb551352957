"""Agreement with preferences: how often the preferred candidate of a pair has the higher score."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.evaluation.bootstrap import interval_of
from promptrank.evaluation.measure import Measured
from promptrank.evaluation.measured_rankers import draw_all
from promptrank.evaluation.measures.measurable import ratio, sums
from promptrank.evaluation.preference_rows import PreferenceRow, Preferences
from promptrank.records import Request
from promptrank.requests.judgement_rows import Judgement
from promptrank.scores.scores import Scores


@dataclass(frozen=True, slots=True)
class _Pair:
    request_id: str
    subject_id: str
    preferred: str
    other: str
    chosen: bool


def preferences_among(
    given: Sequence[Judgement],
    requests: Iterable[Request],
    scores: Mapping[str, Scores],
    *,
    draws: int,
    seed: int,
) -> Preferences | None:
    """Each ranker's agreement with preferences on these requests, with intervals by subject.

    Where several people judged a pair, what most of them say counts once. None where no pair of
    these requests was judged.

    Args:
        given: preferences that hold (`promptrank.requests.judgement_rows.standing`).
        scores: ranker -> its scores; only pairs that all of them score count.
    """
    voices: dict[tuple[str, frozenset[str]], list[Judgement]] = defaultdict(list)
    for row in given:
        voices[row.pair].append(row)
    asked = {request for request, _ in voices}
    here = {
        r.request_id: (r.subject.subject_id, {c.candidate_id for c in r.candidates})
        for r in requests
        if r.request_id in asked
    }
    pairs: list[_Pair] = []
    equal = split = 0
    for (request, both), rows in voices.items():
        subject, candidates = here.get(request, ("", set[str]()))
        if not both <= candidates:
            continue
        most = Counter(row.preferred for row in rows).most_common(2)
        preferred = most[0][0]
        if len(most) > 1 and most[0][1] == most[1][1]:
            split += 1
        elif preferred is None:
            equal += 1
        else:
            (other,) = both - {preferred}
            chosen = any(row.by != "random" for row in rows)
            pairs.append(_Pair(request, subject, preferred, other, chosen))
    if not pairs and not equal and not split:
        return None
    agreed = {name: _agreed(each, pairs) for name, each in scores.items()}
    keep = np.ones(len(pairs), dtype=np.bool_)
    for values in agreed.values():
        keep &= ~np.isnan(values)
    kept = [pair for pair, stays in zip(pairs, keep, strict=True) if stays]
    codes = {name: code for code, name in enumerate(dict.fromkeys(p.subject_id for p in kept))}
    unscored = len(pairs) - len(kept)
    if not kept:
        return Preferences((), 0, 0, equal, split, unscored)
    subjects = np.array([codes[pair.subject_id] for pair in kept], dtype=np.int64)
    weight = sums(subjects, np.ones(len(kept)))
    measured = {}
    for name, values in agreed.items():
        estimate = ratio(sums(subjects, values[keep]), weight, values[keep])
        measured[name, "preferences"] = Measured(estimate, "candidates")
    shares, drawn = draw_all(measured, len(codes), draws, seed)
    told = []
    for key, share in shares.items():
        ends = interval_of(measured[key].estimate, share, drawn[key]) if drawn else None
        low, high = (None, None) if ends is None else (ends.low, ends.high)
        told.append(PreferenceRow(key[0], share, low, high))
    by_model = sum(pair.chosen for pair in kept)
    return Preferences(tuple(told), len(kept), len(codes), equal, split, unscored, by_model)


def _agreed(scores: Scores, pairs: Sequence[_Pair]) -> Floats:
    """(pairs,) 1 where the preferred one has the higher score, 1/2 for a tie, NaN without both."""
    first = scores.at("score", scores.rows((p.request_id, p.preferred) for p in pairs))
    second = scores.at("score", scores.rows((p.request_id, p.other) for p in pairs))
    agreed: Floats = (1 + np.sign(first - second)) / 2
    return agreed
