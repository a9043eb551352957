"""``pointwise``: every candidate is asked about by itself, once; its answers are its score."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from promptrank.engine.contract import BranchScore, Failure, TreeScore
from promptrank.errors import ErrorRow, RowError
from promptrank.ranking.answered import Answered, answer
from promptrank.ranking.method import AdapterOf, Asking
from promptrank.ranking.posing import Posed, Posing
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.records import Request
from promptrank.schema.expression import compile_expression
from promptrank.schema.task import Task

_Row = tuple[float, str, dict[str, Answered]]  # score, candidate, answers


class Pointwise:
    """Scores of candidates one by one, from the answers to the task's questions.

    A candidate that cannot be scored is among the ranking's errors, never in ``scored``. Ties keep
    the request's order.
    """

    name = "pointwise"
    answers = True

    def __init__(self, task: Task, posing: Posing) -> None:
        self.task, self.posing = task, posing
        self._combine = compile_expression(task.score_expression)
        self._single = next(iter(task.questions)) if len(task.questions) == 1 else None

    @property
    def fingerprint(self) -> str:
        """Of all that turns a request into what is scored."""
        return self.posing.fingerprint

    def start(self, requests: Iterable[Request], adapter_of: AdapterOf | None) -> Iterator[Asking]:
        """One round for each request: all its candidates side by side."""
        return (self._ask(posed) for posed in self.posing.pose(requests, adapter_of))

    def _ask(self, posed: Posed) -> Asking:
        if posed.work is None:
            return self._ranking(posed, ())
        (result,) = yield [posed.work]
        return self._ranking(posed, result)

    def _ranking(self, posed: Posed, result: TreeScore) -> Ranking:
        request, errors, rows = posed.request, list(posed.errors), list[_Row]()
        if isinstance(result, Failure):
            reason, message = result.reason, result.message
            errors.append(ErrorRow(request.request_id, None, "engine", reason, message))
            result = ()
        for name, branch in zip(posed.candidate_ids, result, strict=False):
            try:
                answered = self._answered(posed.answers, branch)
                rows.append((self._score(answered), name, answered))
            except RowError as error:
                errors.append(error.row("engine", request.request_id, name))
        rows.sort(key=lambda row: -row[0])  # which keeps the order of equals
        items = {c.candidate_id: c.item.item_id for c in request.candidates}
        lengths = dict(zip(posed.candidate_ids, posed.prompt_tokens, strict=False))
        scored = tuple(
            Scored(
                name,
                items[name],
                score,
                rank,
                answered[self._single].probability if self._single is not None else None,
                score,
                answered,
                posed.cuts.candidates.get(name, ()),
                prompt_tokens=lengths.get(name),
            )
            for rank, (score, name, answered) in enumerate(rows, 1)
        )
        return Ranking(
            request.request_id,
            request.subject.subject_id,
            scored,
            len(scored) < len(request.candidates) or bool(request.meta.get("partial")),
            tuple(errors),
            posed.cuts,
            request,
        )

    def _answered(
        self, answers: Mapping[str, Sequence[str]], branch: BranchScore
    ) -> dict[str, Answered]:
        if isinstance(branch, Failure):
            raise RowError(branch.reason, branch.message)
        return {
            name: answer(self.task.questions[name], names, slot)
            for (name, names), slot in zip(answers.items(), branch, strict=True)
        }

    def _score(self, answered: Mapping[str, Answered]) -> float:
        try:
            score = self._combine({name: given.score for name, given in answered.items()})
        except (ZeroDivisionError, OverflowError) as error:
            message = f"the task's score cannot be computed: {error}"
            raise RowError("score_undefined", message) from None
        if not math.isfinite(score):
            raise RowError("score_undefined", f"the task's score is {score}; see its answers")
        return score
