"""Methods and steps as seams: rounds that depend on answers, several orders, traces of changes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pytest

from promptrank.engine.contract import Branch, Failure, Slot, Tree, TreeScore
from promptrank.engine.fake import FakeEngine
from promptrank.prompt.budget import Cuts
from promptrank.ranking.answered import Answered
from promptrank.ranking.loop import rankings
from promptrank.ranking.method import AdapterOf, Asking
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.ranking.step import Rescore, rescored
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.runtime.opened import Opened

YES_NO = ((1,), (2,))


def request_of(name: str, candidates: int) -> Request:
    items = tuple(Candidate(f"c{i}", Item(f"i{i}", {})) for i in range(candidates))
    return Request(name, Subject(member_id=name), items)


def tree_of(name: str, ids: Sequence[Sequence[int]]) -> Tree:
    branches = tuple(Branch(tuple(branch), (Slot((), YES_NO),)) for branch in ids)
    return Tree(name, (7, 8), branches)


def yes(score: TreeScore, branch: int = 0) -> float:
    assert not isinstance(score, Failure)
    slots = score[branch]
    assert not isinstance(slots, Failure)
    return slots[0].logprobs[0] - slots[0].logprobs[1]


def ranking_of(request: Request, scores: dict[str, float]) -> Ranking:
    order = sorted(scores, key=lambda name: -scores[name])
    items = {c.candidate_id: c.item.item_id for c in request.candidates}
    scored = tuple(
        Scored(name, items[name], scores[name], rank, None, scores[name], {})
        for rank, name in enumerate(order, 1)
    )
    return Ranking(request.request_id, request.request_id, scored, False, (), Cuts(), request)


class Tournament:
    """Pairwise: the winners of one round meet in the next, until one is left."""

    name = "tournament"
    fingerprint = ""
    answers = False

    def __init__(self) -> None:
        self.rounds: dict[str, int] = {}

    def start(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Asking]:
        return (self._ask(request) for request in requests)

    def _ask(self, request: Request) -> Asking:
        names = [c.candidate_id for c in request.candidates]
        won, left = dict.fromkeys(names, 0), list(range(len(names)))
        while len(left) > 1:
            self.rounds[request.request_id] = self.rounds.get(request.request_id, 0) + 1
            pairs = list(zip(left[::2], left[1::2], strict=False))
            # Each pair in both orders, as position bias wants it.
            works = [tree_of(request.request_id, [(a, b), (b, a)]) for a, b in pairs]
            results = yield works
            winners = []
            for (a, b), result in zip(pairs, results, strict=True):
                winner = a if yes(result, 0) - yes(result, 1) > 0 else b
                won[names[winner]] += 1
                winners.append(winner)
            left = winners + ([left[-1]] if len(left) % 2 else [])
        return ranking_of(request, {name: float(count) for name, count in won.items()})


class Listwise:
    """Several orders of the same candidates in one round; a score is the mean over them."""

    name, fingerprint, answers = "listwise", "", False

    def start(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Asking]:
        return (self._ask(request) for request in requests)

    def _ask(self, request: Request) -> Asking:
        size = len(request.candidates)
        orders = [tuple(range(size)), tuple(reversed(range(size)))]
        results = yield [
            tree_of(request.request_id, [(*o, i) for i in range(size)]) for o in orders
        ]
        means = {
            f"c{i}": sum(yes(result, i) for result in results) / len(results) for i in range(size)
        }
        return ranking_of(request, means)


def ranked(method: Tournament | Listwise, requests: Sequence[Request]) -> list[Ranking]:
    return list(rankings(method, Opened(FakeEngine(vocab=100)), requests))


def test_rounds_go_on_until_the_answers_end_them_and_order_is_kept() -> None:
    method = Tournament()
    requests = [request_of(f"r{n}", candidates) for n, candidates in enumerate((5, 1, 2, 8))]
    given = ranked(method, requests)
    assert [ranking.request_id for ranking in given] == ["r0", "r1", "r2", "r3"]
    assert method.rounds == {"r0": 3, "r2": 1, "r3": 3}
    assert [len(ranking.scored) for ranking in given] == [5, 1, 2, 8]
    assert given[3].scored[0].score == 3.0


@pytest.mark.parametrize("method", [Tournament, Listwise])
def test_neighbours_change_nothing(method: type[Tournament] | type[Listwise]) -> None:
    requests = [request_of(f"r{n}", 2 + n % 4) for n in range(9)]
    together = ranked(method(), requests)
    assert together == [ranked(method(), [request])[0] for request in requests]


def test_what_is_given_up_is_asked_no_more() -> None:
    asked = 0

    class Counted(FakeEngine):
        def size(self, work: Tree) -> int:
            nonlocal asked
            asked += 1
            return super().size(work)

    many = (request_of(f"r{n}", 3) for n in range(1000))
    stream = rankings(Tournament(), Opened(Counted(vocab=100)), many)
    next(stream)
    stream.close()
    assert asked < 200


def test_a_method_that_fails_ends_the_run_with_its_error() -> None:
    class Broken(Listwise):
        def _ask(self, request: Request) -> Asking:
            yield [tree_of(request.request_id, [(1,)])]
            raise ValueError("a bug of the method")

    with pytest.raises(ValueError, match="a bug of the method"):
        ranked(Broken(), [request_of("r", 2)])


def scored_of(name: str, score: float, rank: int) -> Scored:
    answered = Answered(score, 0.5, {"yes": -0.7, "no": -0.7}, 1.0, None)
    return Scored(name, f"item-{name}", score, rank, 0.5, score, {"like": answered})


def test_steps_keep_what_was_before_them_and_why() -> None:
    request = request_of("r", 3)
    before = Ranking(
        "r",
        "r",
        (scored_of("c0", 2.0, 1), scored_of("c1", 1.0, 2), scored_of("c2", 0.0, 3)),
        False,
        (),
        Cuts(),
        request,
    )
    once = rescored(
        before,
        "boost",
        {
            name: Rescore(score, None, f"{name} is new")
            for name, score in {"c0": 0.0, "c1": 5.0, "c2": 5.0}.items()
        },
    )
    assert [(s.candidate_id, s.rank) for s in once.scored] == [("c1", 1), ("c2", 2), ("c0", 3)]
    assert [s.method_score for s in once.scored] == [1.0, 0.0, 2.0]
    assert once.scored[0].questions == before.scored[1].questions
    twice = rescored(
        once, "cap", {"c1": Rescore(1.0, None, "one each"), "c0": Rescore(2.0, None, "")}
    )
    assert [s.candidate_id for s in twice.scored] == ["c0", "c1"]
    assert twice.partial and not once.partial
    (first, second) = twice.scored[1].changes
    assert (first.step, first.score, first.rank, first.why) == ("boost", 1.0, 2, "c1 is new")
    assert (second.step, second.score, second.rank, second.why) == ("cap", 5.0, 1, "one each")
    assert before == replace(before)
