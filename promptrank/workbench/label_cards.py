"""What is shown to a labeller, and in which order: one candidate at a time, or two of a request.

Requests come in the order of a hash of their ids, with a few cards of each before the next, so that
a reader need not take in another history for every answer; who comes back goes on where the hash
says. By default the candidates of a request come in such an order too. Labels of candidates that a
model chose, for being unsure of them, are worth more for training, and bias an evaluation.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from promptrank.records import Request
from promptrank.requests.judgement_rows import Standing

RANDOM, UNCERTAIN, DIFFERENT = "random", "uncertain", "different"
ANSWERS_EACH, PAIRS_EACH = 5, 3
"""Cards of one request before the next request's."""
SHARED = 5
"""One card in so many is shown to every labeller, so that their agreement can be measured."""
MOST_PAIRS = 30
"""Pairs of one request."""

Pair = tuple[str, ...]
"""One candidate, or two: the left one and the right one."""


@dataclass(frozen=True, slots=True)
class Card:
    """Something to judge.

    Attributes:
        question: None for two candidates.
        candidate_ids: one, or two as they stand from left to right.
        key: tells it from all others; of a pair whichever stands on the left.
    """

    request: Request
    question: str | None
    candidate_ids: Pair
    key: str


@dataclass(frozen=True, slots=True)
class CardsWanted:
    """What a labeller asks for.

    Attributes:
        question: None for pairs.
        labels: ``all`` candidates, those ``without`` a label, or ``with`` one.
        passed_over: keys of cards that the page holds already.
    """

    labeller: str
    question: str | None
    labels: str = "all"
    passed_over: Collection[str] = ()


def cards(
    requests: Sequence[Request],
    held: Standing,
    wanted: CardsWanted,
    order: Callable[[Request], Sequence[Pair]],
) -> Iterator[Card]:
    """Cards that this labeller has not judged yet, lazily.

    What somebody else has judged is passed over too, unless it is one in `SHARED`.

    Args:
        order: a request's cards, the first to be shown first (`random_order`, or by scores).
    """
    mine, others = set[str](), set[str]()
    done = Counter[str]()
    for row in held.every():
        key = card_key(row.request_id, row.question or None, row.candidate_ids)
        if row.labeller == wanted.labeller:
            mine.add(key)
            done[row.request_id] += (row.question or None) == wanted.question
        elif row.kind != "skip":
            others.add(key)
    gone = mine | set(wanted.passed_over)
    each = PAIRS_EACH if wanted.question is None else ANSWERS_EACH
    orders = dict[str, Sequence[Pair]]()
    left = [(request, 0) for request in sorted(requests, key=lambda r: _hash(r.request_id))]
    while left:
        later = []
        for request, start in left:
            if done[request.request_id] >= start + each:
                # Nothing is ranked for cards that this labeller is through with.
                later.append((request, start + each))
                continue
            if request.request_id not in orders:
                orders[request.request_id] = order(request)
            ordered = orders[request.request_id]
            for ids in ordered[start : start + each]:
                key = card_key(request.request_id, wanted.question, ids)
                settled = key in others and int(key, 16) % SHARED != 0
                if key not in gone and not settled and _is_wanted(request, ids, wanted):
                    yield Card(request, wanted.question, ids, key)
            if start + each < len(ordered):
                later.append((request, start + each))
        left = later


def _is_wanted(request: Request, ids: Pair, wanted: CardsWanted) -> bool:
    if wanted.question is None or wanted.labels == "all":
        return True
    candidate = next(c for c in request.candidates if c.candidate_id == ids[0])
    return (wanted.question in candidate.outcomes) == (wanted.labels == "with")


def card_key(request: str, question: str | None, ids: Pair) -> str:
    """The key of a card, as hexadecimal digits."""
    return _hash(request, question or "", *sorted(ids))[:16]


def random_order(request: Request, *, pairs: bool) -> list[Pair]:
    """A request's candidates, or pairs of them, in the order of a hash."""
    names = [c.candidate_id for c in request.candidates]
    names.sort(key=lambda name: _hash(request.request_id, name))
    if not pairs:
        return [(name,) for name in names]
    count = len(names)
    made: dict[frozenset[str], Pair] = {}
    for shift in range(1, count // 2 + 1):
        for i, name in enumerate(names):
            pair = name, names[(i + shift) % count]
            made.setdefault(frozenset(pair), _sided(request, pair))
            if len(made) == MOST_PAIRS:
                return list(made.values())
    return list(made.values())


def uncertain_order(
    request: Request, doubt: Callable[[str], float], score: Callable[[str], float], *, pairs: bool
) -> list[Pair]:
    """What a model is least sure of first; candidates without a score are left out.

    Args:
        doubt: of a candidate: the entropy of its answers; NaN without a score.
        score: of a candidate; two are as uncertain as they are near.
    """
    names = [c.candidate_id for c in request.candidates if doubt(c.candidate_id) >= 0]
    if not pairs:
        return [(name,) for name in sorted(names, key=lambda name: -doubt(name))]
    names.sort(key=score)
    # Of all pairs the nearest are neighbours in the ranking.
    near = sorted(pairwise(names), key=lambda p: score(p[1]) - score(p[0]))
    return [_sided(request, pair) for pair in near[:MOST_PAIRS]]


def differing_order(
    request: Request, first: Mapping[str, float], second: Mapping[str, float], *, pairs: bool
) -> list[Pair]:
    """Where two rankers differ most: the candidates that move furthest, or pairs that change sides.

    Args:
        first, second: scores by candidate; candidates without both are left out.
    """
    names = [c.candidate_id for c in request.candidates if c.candidate_id in first]
    names = sorted(name for name in names if name in second)
    ranks = [
        {name: place for place, name in enumerate(sorted(names, key=lambda n: -scores[n]))}
        for scores in (first, second)
    ]
    before, after = ranks
    if not pairs:
        moved = [name for name in names if before[name] != after[name]]
        return [(n,) for n in sorted(moved, key=lambda n: -abs(before[n] - after[n]))]

    def apart(pair: Pair) -> int:
        return abs(before[pair[0]] - before[pair[1]]) + abs(after[pair[0]] - after[pair[1]])

    turned = [
        (a, b)
        for a, b in combinations(names, 2)
        if (first[a] - first[b]) * (second[a] - second[b]) < 0
    ]
    return [_sided(request, pair) for pair in sorted(turned, key=apart, reverse=True)[:MOST_PAIRS]]


def _sided(request: Request, pair: Pair) -> Pair:
    """Left or right by a hash, so that no side is the better one."""
    first, second = sorted(pair)
    turned = int(_hash(request.request_id, first, second)[-1], 16) % 2
    return (second, first) if turned else (first, second)


def _hash(*parts: str) -> str:
    text = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()
