"""The columns that a question has in a scores file."""

from collections.abc import Iterable, Iterator


def logprob_column(question: str, answer: str) -> str:
    """The column of an answer's log-prob."""
    return f"{question}_logprob_{answer}"


def question_columns(question: str, answers: Iterable[str]) -> Iterator[str]:
    """All of a question's columns, in their order."""
    for what in ("score", "probability", "label_mass", "argmax"):
        yield f"{question}_{what}"
    for answer in answers:
        yield logprob_column(question, answer)
