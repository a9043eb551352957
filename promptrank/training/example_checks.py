"""Faults in the data that no training can make good, reported before it starts."""

from collections import Counter
from collections.abc import Mapping, Sequence

from promptrank.errors import DataError, ErrorRow, InputError
from promptrank.schema.task import Task
from promptrank.training.examples import Example


def check_answers(tasks: Mapping[str, Task]) -> None:
    """Refuse tasks that ask the same words and mean opposite things by the same answer.

    Raises:
        InputError: with both tasks, the question and the wording.
    """
    meant: dict[tuple[str, str, str], tuple[str, bool]] = {}
    for name, task in tasks.items():
        for question in task.questions.values():
            for answer in question.answers.values():
                relevant = answer.value >= question.relevant_at
                for word in answer.say:
                    # Without words of its own a question is what the template makes of it.
                    key = (question.ask or "", "" if question.ask else task.template, word)
                    other, known = meant.setdefault(key, (name, relevant))
                    if known != relevant:
                        raise InputError(
                            f"{other} and {name} both ask {question.ask or task.template!r}, and "
                            f"{word!r} is a relevant answer in one of them only; one adapter "
                            "cannot learn both. Word one of them differently, or train two adapters"
                        )


def check_examples(
    name: str, task: Task, examples: Sequence[Example], requests: int, lost: Sequence[ErrorRow]
) -> None:
    """Refuse what teaches nothing.

    Args:
        requests: of the training part.
        lost: what could not be encoded.

    Raises:
        DataError: no requests, no labels, no example within the budget, or labels of one kind.
    """
    if not requests:
        raise DataError(f"{name}: no request in the part train; see split and the tables")
    if not examples:
        whole = [row for row in lost if not row.reason.startswith("event_")]
        if whole:
            reason, count = Counter(row.reason for row in whole).most_common(1)[0]
            first = next(row.message for row in whole if row.reason == reason)
            raise DataError(
                f"{name}: none of its requests can be trained on; {count:,} times {reason}: {first}"
            )
        raise DataError(
            f"{name}: none of {requests:,} training requests has a label; see label and answers"
        )
    turns = Counter((t.question, t.answer) for example in examples for t in example.turns)
    if len(turns) == 1:
        (question, answer), count = next(iter(turns.items()))
        raise DataError(
            f"{name}: all {count:,} events of the history answer {question} with {answer!r}; as "
            "turns that would only teach to say so. Show such a log with history.as: list"
        )
    for place, question in enumerate(task.questions):
        kinds = {
            target.shares
            for example in examples
            for _, targets in example.branches
            if (target := targets[place]) is not None
        }
        asked = {answer for name_, answer in turns if name_ == question}
        if len(kinds) == 1 and len(asked) < 2 and max(next(iter(kinds))) == 1.0:
            answer = list(task.questions[question].answers)[next(iter(kinds)).index(1.0)]
            raise DataError(
                f"{name}: every label of question {question} is {answer!r}; ranking needs "
                "candidates of both kinds (ratings and judgements can add some: negatives)"
            )
