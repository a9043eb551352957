"""Requests to training examples: the very trees that are ranked, with a target at every label."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from promptrank.engine.contract import Branch, Ids, Slot
from promptrank.errors import DataError, ErrorRow
from promptrank.prompt import Encoded, Encoder
from promptrank.prompt.encoded import Turn
from promptrank.records import Candidate, Request
from promptrank.schema.parts import Question
from promptrank.schema.task import Task
from promptrank.training.label_shares import Share

Soft = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Candidate id -> question -> answer -> probability, of one request."""


@dataclass(frozen=True, slots=True)
class PathTarget:
    """What is to be learned at one slot.

    Attributes:
        paths: per answer of the question, the indices of the slot's paths that word it.
        shares: per answer, the probability it should get; they add up to 1.
        relevant: per answer, whether it counts as relevant.
        value: the answers' values weighted by ``shares``.
        weight: of this label.
    """

    paths: tuple[tuple[int, ...], ...]
    shares: tuple[float, ...]
    relevant: tuple[bool, ...]
    value: float
    weight: float


@dataclass(frozen=True, slots=True)
class TurnTarget:
    """A label in the prefix: the answer's path begins at index ``at`` of the prefix.

    Attributes:
        question, answer: what was asked, and what came true.
        path: the tokens that stand there.
        others: wordings of the same answer that are one token long.
    """

    question: str
    answer: str
    at: int
    path: tuple[int, ...]
    others: tuple[int, ...]
    weight: float


@dataclass(frozen=True, slots=True)
class Example:
    """One request as it trains.

    Attributes:
        prefix: as in the tree that is ranked.
        branches: of the tree, those with a label; each question's target, None where unlabelled.
        turns: labels in the prefix.
        task: the task's number.
        blank: whether nothing of it counts, see `blank_of`.
        candidate_ids: of the branches, in their order.
    """

    request_id: str
    task: int
    prefix: Ids
    branches: tuple[tuple[Branch, tuple[PathTarget | None, ...]], ...]
    turns: tuple[TurnTarget, ...] = ()
    blank: bool = False
    candidate_ids: tuple[str, ...] = ()

    @property
    def labels(self) -> int:
        """Slots with a target."""
        return len(self.turns) + sum(t is not None for _, ts in self.branches for t in ts)

    @property
    def tokens(self) -> int:
        """Rows of its forward pass."""
        return len(self.prefix) + sum(_branch_tokens(branch) for branch, _ in self.branches)

    @property
    def longest(self) -> int:
        """Tokens of its longest path."""
        tails = (
            len(b.ids) + max(len(s.ids) + max(map(len, s.paths)) for s in b.slots)
            for b, _ in self.branches
        )
        return len(self.prefix) + max(tails, default=0)


def blank_of(example: Example) -> Example:
    """A short example that teaches nothing.

    Where an epoch's end leaves one of several processes without an example it takes this one, for
    all of them must run the same number of forwards.
    """
    slot = Slot((), ((0,),))
    target = PathTarget(((0,),), (1.0,), (True,), 0.0, 0.0)
    first = example.prefix[:1]
    return Example("", example.task, first, ((Branch(first, (slot,)), (target,)),), blank=True)


def _branch_tokens(branch: Branch) -> int:
    inner = [{p[:n] for p in s.paths for n in range(1, len(p))} for s in branch.slots]
    return len(branch.ids) + sum(
        len(s.ids) + len(nodes) for s, nodes in zip(branch.slots, inner, strict=True)
    )


def examples(
    task: Task,
    encoder: Encoder,
    requests: Iterable[Request],
    shares: Mapping[str, Share],
    *,
    number: int = 0,
    turns: bool = False,
    weights: Mapping[str, float] | None = None,
    soft: Mapping[str, Soft] | None = None,
    errors: Callable[[ErrorRow], None] = lambda row: None,
    dropped: Callable[[int], None] = lambda events: None,
) -> Iterator[Example]:
    """One example per request that holds a label; what cannot be encoded is passed over.

    Args:
        requests: as they are ranked; the encoder is the one that ranks.
        shares: what of each request trains.
        turns: whether the answered questions of the history train too.
        weights: per question; 1 where left out.
        soft: request id -> soft targets, in place of outcomes.
        errors: is told what could not be encoded.
        dropped: is told how many events of a history did not fit.
    """
    makers = makers_of(task, weights)
    for encoded in encoder.encode_many(requests, turns=turns):
        for row in encoded.errors:
            errors(row)
        if encoded.tree is None:
            continue
        dropped(encoded.cuts.events_dropped)
        share = shares[encoded.request.request_id]
        wanted = (soft or {}).get(encoded.request.request_id, {})
        made = example_of(encoded, share, makers, number=number, turns=turns, soft=wanted)
        if made is not None:
            yield made


def makers_of(task: Task, weights: Mapping[str, float] | None = None) -> dict[str, "Maker"]:
    """Who makes the targets of each question; ``weights`` as in `examples`."""
    chosen = dict.fromkeys(task.questions, 1.0) | dict(weights or {})
    return {name: Maker(q, chosen[name], name) for name, q in task.questions.items()}


def example_of(
    encoded: Encoded,
    share: Share,
    makers: Mapping[str, "Maker"],
    *,
    number: int = 0,
    turns: bool = False,
    soft: Soft | None = None,
) -> Example | None:
    """The example of one encoded request, see `examples`; None where it has no label."""
    tree = encoded.tree
    assert tree is not None
    labelled = tuple(_branches(encoded, share, makers.values(), soft or {}))
    learned: tuple[TurnTarget, ...] = ()
    if turns:
        own = (t for t in encoded.turns if _key(t) not in share.turns)
        learned = tuple(makers[t.question].turn(t) for t in own)
    if not (labelled or learned):
        return None
    branches = tuple((branch, targets) for _, branch, targets in labelled)
    names = tuple(name for name, *_ in labelled)
    prefix = tuple(tree.prefix)
    return Example(tree.tree_id, number, prefix, branches, learned, candidate_ids=names)


def _key(turn: Turn) -> tuple[str, float | None]:
    return turn.event.item.item_id, turn.event.time


def _branches(
    encoded: Encoded, share: Share, makers: Iterable["Maker"], soft: Soft
) -> Iterator[tuple[str, Branch, tuple[PathTarget | None, ...]]]:
    assert encoded.tree is not None
    by_id = {c.candidate_id: c for c in encoded.request.candidates}
    for name, branch in zip(encoded.candidate_ids, encoded.tree.branches, strict=True):
        candidate = by_id[name]
        if candidate.item.item_id in share.items:
            continue
        given = soft.get(name, {})
        targets = tuple(maker.target(candidate, given.get(maker.name)) for maker in makers)
        if any(target is not None for target in targets):
            yield name, branch, targets


class Maker:
    """Targets of one question."""

    def __init__(self, question: Question, weight: float, name: str) -> None:
        self.name, self._weight = name, weight
        self._answers = tuple(question.answers)
        self._values = tuple(a.value for a in question.answers.values())
        self._relevant = tuple(v >= question.relevant_at for v in self._values)
        words = [a for a, answer in question.answers.items() for _ in answer.say]
        self._paths = tuple(tuple(i for i, w in enumerate(words) if w == a) for a in self._answers)
        self._by_path = words

    def target(self, candidate: Candidate, soft: Mapping[str, float] | None) -> PathTarget | None:
        weight = self._weight * (1.0 if candidate.weight is None else candidate.weight)
        if soft is None and (answer := candidate.outcomes.get(self.name)) is not None:
            soft = {answer: 1.0}
        if soft is None or not weight:
            return None
        if unknown := sorted(soft.keys() - set(self._answers)):
            raise DataError(
                f"candidate {candidate.candidate_id}: {unknown[0]!r} is no answer of question "
                f"{self.name}; answers: {', '.join(self._answers)}"
            )
        total = sum(soft.values())
        shares = tuple(soft.get(a, 0.0) / total for a in self._answers)
        value = sum(s * v for s, v in zip(shares, self._values, strict=True))
        return PathTarget(self._paths, shares, self._relevant, value, weight)

    def turn(self, turn: Turn) -> TurnTarget:
        slot: Slot = turn.slot
        mine = self._paths[self._answers.index(self._by_path[turn.path])]
        others = tuple(slot.paths[i][0] for i in mine if i != turn.path and len(slot.paths[i]) == 1)
        answer = self._by_path[turn.path]
        path = tuple(slot.paths[turn.path])
        return TurnTarget(self.name, answer, turn.at, path, others, self._weight)
