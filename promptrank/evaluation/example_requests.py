"""Example requests for a report: half where the rankers' orders differ most, half by chance.

A candidate is shown where it is among the first `TOP` of the reference or the first `TOP_OTHERS` of
another ranker; distances between orders are taken over the candidates shown, so that they tell
whether the rankers agree where it counts. A request's distance is the mean over the other rankers
of their Kendall distance to the reference: the share of pairs of candidates that stand in opposite
orders, where a pair that is tied on one side only counts half (Fagin et al. 2006, K^(1/2)). Among
those that differ, requests with relevant and other candidates come before those whose labels are
all alike, where no order is better than another. Chance is the MD5 of the request's id, as for
``--limit``, so that the same examples come each time.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from promptrank.basics.arrays import Floats
from promptrank.records import Candidate, Request

if TYPE_CHECKING:  # it loads Arrow, and a report is only read in many places
    from promptrank.scores.scores import Scores

EXAMPLES = 20
POOL = 1_000
"""Where requests are more, those that differ most are looked for among so many, drawn by hash."""
TOP = 10
TOP_OTHERS = 3
LONG = 300
"""A candidate's text is shortened to so many characters."""

Gain = Callable[[Candidate], float | None]


@dataclass(frozen=True, slots=True)
class ExampleCandidate:
    """A candidate of an example request.

    Attributes:
        gain: the label's value, None where it is unlabelled; ``relevant`` says what that means.
        scores, ranks: by ranker; None where it has no score. Ties share their mean rank.
        text: what the item says, where texts were asked for.
    """

    candidate_id: str
    item_id: str
    gain: float | None
    relevant: bool | None
    scores: Mapping[str, float | None]
    ranks: Mapping[str, float | None]
    text: str | None = None


@dataclass(frozen=True, slots=True)
class PromptPiece:
    """A fragment of a prompt: its kind, such as ``event``, and its text."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class ExampleRequest:
    """A request with every ranker's order.

    Attributes:
        distance: how far the rankers' orders are from the reference's, 0 to 1; None where there is
            nothing to compare.
        differs: it is here because rankers differ; otherwise it came by chance.
        num_candidates: that the request has; ``candidates`` are those shown, in the order of the
            reference.
        prompt: what the reference's first candidate was asked with, where texts were asked for.
    """

    request_id: str
    subject_id: str
    distance: float | None
    differs: bool
    num_candidates: int
    candidates: tuple[ExampleCandidate, ...]
    prompt: tuple[PromptPiece, ...] = ()


def examples_of(
    requests: Iterable[Request],
    ids: Iterable[str],
    scores: "Mapping[str, Scores]",
    *,
    gain_of: Gain,
    relevant_at: float,
    most: int = EXAMPLES,
) -> tuple[ExampleRequest, ...]:
    """Examples among requests, those that differ most first.

    Args:
        ids: of all requests, which are read once.
        scores: of the rankers to show, the reference first. One whose scores are all alike, as a
            random order's, has no order to show.
    """
    pool = set(nsmallest(POOL, set(ids), key=_by_chance))
    scores = {name: given for name, given in scores.items() if _orders(given)}
    if not scores:
        return ()
    made = [
        example
        for request in requests
        if request.request_id in pool
        and (example := _example(request, scores, gain_of, relevant_at)) is not None
    ]
    made.sort(key=lambda example: _by_chance(example.request_id))
    ranked = sorted((e for e in made if e.distance), key=_by_distance)
    differ = ranked[: most // 2]
    names = {example.request_id for example in differ}
    chance = [e for e in made if e.request_id not in names][: most - len(differ)]
    return (*(replace(example, differs=True) for example in differ), *chance)


def kendall_distance(first: Floats, second: Floats) -> float | None:
    """The share of pairs in opposite orders, pairs tied on one side only counting half.

    Args:
        first, second: (candidates,) scores; a candidate that lacks one (NaN) is left out.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    if both.sum() < 2:
        return None
    pairs = np.array(list(combinations(np.flatnonzero(both), 2)))
    ours, theirs = (np.sign(x[pairs[:, 0]] - x[pairs[:, 1]]) for x in (first, second))
    return float((np.abs(ours - theirs) / 2).mean())


def _by_distance(example: ExampleRequest) -> tuple[bool, float]:
    """Requests whose labels tell a good order from a bad one come first."""
    labels = {candidate.relevant for candidate in example.candidates}
    return not labels >= {True, False}, -(example.distance or 0.0)


def _by_chance(request_id: str) -> bytes:
    text = request_id.encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).digest()


def _orders(scores: "Scores") -> bool:
    values = scores.numbers("score")
    values = values[~np.isnan(values)]
    return len(values) > 0 and bool(np.ptp(values) > 0)


def _example(
    request: Request, scores: "Mapping[str, Scores]", gain_of: Gain, relevant_at: float
) -> ExampleRequest | None:
    candidates = request.candidates
    keys = [(request.request_id, candidate.candidate_id) for candidate in candidates]
    values = {name: given.at("score", given.rows(keys)) for name, given in scores.items()}
    ranks = {name: _ranks(each) for name, each in values.items()}
    reference, *others = values
    if np.isnan(values[reference]).all():
        return None
    last = {name: TOP if name == reference else TOP_OTHERS for name in values}
    shown = [
        i for i in range(len(candidates)) if any(ranks[n][i] <= last[n] for n in values)
    ]  # NaN is no rank
    # Where every ranker ties the many candidates at its top, their mean rank is beyond it.
    scored = [i for i in range(len(candidates)) if not np.isnan(ranks[reference][i])]
    shown = shown or sorted(scored, key=lambda i: candidates[i].candidate_id)[:TOP]
    first = ranks[reference]
    shown.sort(key=lambda i: (np.isnan(first[i]), first[i], candidates[i].candidate_id))
    distances = [
        distance
        for name in others
        if (distance := kendall_distance(values[reference][shown], values[name][shown])) is not None
    ]
    rows = []
    for i in shown:
        gain = gain_of(candidates[i])
        rows.append(
            ExampleCandidate(
                candidates[i].candidate_id,
                candidates[i].item.item_id,
                gain,
                None if gain is None else gain >= relevant_at,
                {name: _known(each[i]) for name, each in values.items()},
                {name: _known(each[i]) for name, each in ranks.items()},
            )
        )
    return ExampleRequest(
        request.request_id,
        request.subject.subject_id,
        float(np.mean(distances)) if distances else None,
        False,
        len(candidates),
        tuple(rows),
    )


def _ranks(values: Floats) -> Floats:
    """(candidates,) ranks from 1, the best first; NaN where there is no score."""
    ranks = np.full(len(values), np.nan)
    scored = ~np.isnan(values)
    _, place, ties = np.unique(-values[scored], return_inverse=True, return_counts=True)
    ranks[scored] = (np.cumsum(ties) - (ties - 1) / 2)[place]
    return ranks


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def short(text: str) -> str:
    """A candidate's text on one line, not longer than `LONG` characters."""
    text = " ".join(text.split())
    return text if len(text) <= LONG else text[: LONG - 1] + "…"


Tell = Callable[[Request, str], tuple[Mapping[str, str], tuple[PromptPiece, ...]]]
"""A request and the id of one of its candidates -> texts of candidates by id, and the prompt of
that one."""


def with_texts(
    examples: Sequence[ExampleRequest], requests: Iterable[Request], tell: Tell
) -> tuple[ExampleRequest, ...]:
    """The same examples with what their candidates say, and the prompt of the first."""
    wanted = {example.request_id for example in examples}
    by_id = {r.request_id: r for r in requests if r.request_id in wanted}
    told = []
    for example in examples:
        texts, prompt = tell(by_id[example.request_id], example.candidates[0].candidate_id)
        rows = tuple(
            replace(row, text=short(texts.get(row.candidate_id, ""))) for row in example.candidates
        )
        told.append(replace(example, candidates=rows, prompt=prompt))
    return tuple(told)
