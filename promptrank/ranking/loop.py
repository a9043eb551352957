"""The one loop from requests to rankings; every command and the Python API go through it."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from promptrank.engine.contract import Engine, Failure, SlotScore, Tree, TreeScore
from promptrank.errors import ErrorRow, RowError
from promptrank.prompt import Encoded, Encoder
from promptrank.prompt.budget import Cuts
from promptrank.ranking.answered import Answered, answer
from promptrank.records import Request
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task

Combine = Callable[[Mapping[str, float]], float]
Answers = Callable[[Request], Sequence[tuple[SlotScore, ...]]]
"""A request -> per candidate one `SlotScore` per question, a log-prob per answer in its order."""

_Found = tuple[float, int, str, dict[str, Answered]]  # score, place, candidate, answers


@dataclass(frozen=True, slots=True)
class Scored:
    """One candidate with its score and its place (1 is best) in the ranking.

    Attributes:
        shortened: fields of the candidate that the budget shortened.
    """

    candidate_id: str
    item_id: str
    score: float
    rank: int
    questions: Mapping[str, Answered]
    shortened: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """A request's candidates, best first.

    Attributes:
        partial: True where a candidate was lost on the way; ``errors`` says which and why.
        cuts: what the budget left out.
        request: the request that was ranked.
    """

    request_id: str
    subject_id: str
    scored: tuple[Scored, ...]
    partial: bool = False
    errors: tuple[ErrorRow, ...] = ()
    cuts: Cuts = field(default_factory=Cuts)
    request: Request | None = field(default=None, repr=False)


def rank_requests(
    task: Task,
    encoder: Encoder,
    engine: Engine,
    requests: Iterable[Request],
    *,
    adapter_of: Callable[[Request], str | None] | None = None,
) -> Iterator[Ranking]:
    """One ranking per request, in order, lazily.

    ``adapter_of`` names the adapter folder of a request (None: the base model); requests of several
    adapters may follow each other. A request or candidate that cannot be scored is in the
    ranking's ``errors`` and never in ``scored``. Ties keep the request's order.
    """
    combine = compile_expression(task.score_expression)
    waiting: deque[Encoded] = deque()

    def trees() -> Iterator[Tree]:
        for encoded in encoder.encode_many(requests):
            waiting.append(encoded)
            if encoded.tree is not None:
                tree = encoded.tree
                if adapter_of is not None:
                    tree = replace(tree, adapter=adapter_of(encoded.request))
                yield tree

    for result in engine.score(trees()):
        while waiting[0].tree is None:
            yield _ranking(task, waiting.popleft(), Failure("", ""), combine)
        yield _ranking(task, waiting.popleft(), result, combine)
    while waiting:
        encoded = waiting.popleft()
        assert encoded.tree is None, "the engine returned fewer results than trees"
        yield _ranking(task, encoded, Failure("", ""), combine)


def rank_answers(task: Task, answers: Answers, requests: Iterable[Request]) -> Iterator[Ranking]:
    """One ranking per request, in order, lazily, of whatever answers requests without a prompt.

    Scores, ties and errors are those of `rank_requests`; nothing is cut.
    """
    combine = compile_expression(task.score_expression)
    names = {name: list(question.answers) for name, question in task.questions.items()}
    for request in requests:
        found: list[_Found] = []
        errors: list[ErrorRow] = []
        for place, (candidate, slots) in enumerate(
            zip(request.candidates, answers(request), strict=True)
        ):
            answered = {
                name: answer(task.questions[name], said, slot)
                for (name, said), slot in zip(names.items(), slots, strict=True)
            }
            try:
                score = _combined(combine, answered)
            except RowError as error:
                errors.append(error.row("engine", request.request_id, candidate.candidate_id))
            else:
                found.append((score, place, candidate.candidate_id, answered))
        events = len(request.history)
        yield _ordered(request, found, errors, Cuts(events_given=events, events_kept=events))


def _ranking(
    task: Task,
    encoded: Encoded,
    result: TreeScore,
    combine: Combine,
) -> Ranking:
    request = encoded.request
    errors = list(encoded.errors)
    found: list[_Found] = []
    if encoded.tree is None:
        pass
    elif isinstance(result, Failure):
        errors.append(ErrorRow(request.request_id, None, "engine", result.reason, result.message))
    else:
        for place, (name, branch) in enumerate(zip(encoded.candidate_ids, result, strict=True)):
            try:
                answered = _answers(task, encoded, branch)
                found.append((_combined(combine, answered), place, name, answered))
            except RowError as error:
                errors.append(error.row("engine", request.request_id, name))
    return _ordered(request, found, errors, encoded.cuts)


def _ordered(request: Request, found: list[_Found], errors: list[ErrorRow], cuts: Cuts) -> Ranking:
    found.sort(key=lambda row: (-row[0], row[1]))
    items = {c.candidate_id: c.item.item_id for c in request.candidates}
    scored = tuple(
        Scored(name, items[name], score, rank, answered, cuts.candidates.get(name, ()))
        for rank, (score, _, name, answered) in enumerate(found, 1)
    )
    partial = len(scored) < len(request.candidates) or bool(request.meta.get("partial"))
    return Ranking(
        request.request_id,
        request.subject.subject_id,
        scored,
        partial,
        tuple(errors),
        cuts,
        request,
    )


def _answers(
    task: Task, encoded: Encoded, branch: tuple[SlotScore, ...] | Failure
) -> dict[str, Answered]:
    if isinstance(branch, Failure):
        raise RowError(branch.reason, branch.message)
    return {
        name: answer(task.questions[name], [p[0] for p in paths], slot)
        for name, paths, slot in zip(encoded.questions, encoded.paths, branch, strict=True)
    }


def _combined(combine: Combine, answered: Mapping[str, Answered]) -> float:
    try:
        score = combine({name: found.score for name, found in answered.items()})
    except (ZeroDivisionError, OverflowError) as error:
        raise RowError("score_undefined", f"the task's score cannot be computed: {error}") from None
    if not math.isfinite(score):
        raise RowError("score_undefined", f"the task's score is {score}; see its answers")
    return score
