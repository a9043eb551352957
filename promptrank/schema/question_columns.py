"""The columns that a question has in a scores file."""

from collections.abc import Iterable, Iterator, Mapping


def logprob_column(question: str, answer: str) -> str:
    """The column of an answer's log-prob."""
    return f"{question}_logprob_{answer}"


def question_columns(question: str, answers: Iterable[str]) -> Iterator[str]:
    """All of a question's columns, in their order."""
    for what in ("score", "probability", "label_mass", "argmax"):
        yield f"{question}_{what}"
    for answer in answers:
        yield logprob_column(question, answer)


def shared_columns(answers: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str]]:
    """Questions that would share a column of scores files with something else, and what to do.

    Args:
        answers: by question, its answers.
    """
    taken = {"method_score": "the ranking itself"}
    for name, own in answers.items():
        for column in question_columns(name, own):
            if column in taken:
                yield (
                    name,
                    f"{taken[column]} has the column {column} in scores files too; rename the "
                    "question",
                )
            taken.setdefault(column, f"question {name}")
