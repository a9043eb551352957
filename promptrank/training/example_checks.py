"""Faults in the data that no training can make good, reported before it starts."""

from collections import Counter
from collections.abc import Mapping

from promptrank.errors import DataError, InputError
from promptrank.schema.task import Task
from promptrank.training.example_facts import Facts


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


def check_examples(name: str, task: Task, facts: Facts, requests: int) -> None:
    """Refuse what teaches nothing.

    Args:
        facts: of the task's examples.
        requests: of the training part.

    Raises:
        DataError: no requests, no labels, no example within the budget, or labels of one kind.
    """
    if not requests:
        raise DataError(f"{name}: no request in the part train; see split and the tables")
    if not facts.examples:
        whole = {r: count for r, count in facts.lost.items() if not r.startswith("event_")}
        if whole:
            reason, count = Counter(whole).most_common(1)[0]
            raise DataError(
                f"{name}: none of its requests can be trained on; {count:,} times {reason}: "
                f"{facts.why[reason]}"
            )
        raise DataError(
            f"{name}: none of {requests:,} training requests has a label; see label and answers"
        )
    turns = [(q, a, count) for q, counts in facts.turns.items() for a, count in counts.items()]
    if len(turns) == 1:
        question, answer, count = turns[0]
        raise DataError(
            f"{name}: all {count:,} events of the history answer {question} with {answer!r}; as "
            "turns that would only teach to say so. Show such a log with history.as: list"
        )
    for (question, asked), kinds in zip(task.questions.items(), facts.kinds, strict=False):
        several = len(kinds) != 1 or len(facts.turns.get(question, ())) > 1
        if not several and max(kinds[0]) == 1.0:
            answer = list(asked.answers)[kinds[0].index(1.0)]
            raise DataError(
                f"{name}: every label of question {question} is {answer!r}; ranking needs "
                "candidates of both kinds (ratings and judgements can add some: negatives)"
            )
