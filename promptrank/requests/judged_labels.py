"""From judgements to labels: what most labellers say of a candidate is its label."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from promptrank.basics.spreadsheets import guarded
from promptrank.requests.judgement_file import read_judgements
from promptrank.requests.judgement_rows import Judgement, Standing, standing

Key = tuple[str, str, str]
"""Ids of a request and of its candidate, and the question."""


@dataclass(frozen=True, slots=True)
class JudgedLabels:
    """Answers by candidate.

    Attributes:
        settled: what most of those who answered say; the last row that says so.
        split: candidates on which no answer has more voices than any other; these stay as they are
            logged.
    """

    settled: Mapping[Key, Judgement]
    split: tuple[Key, ...]


def judged_labels(held: Standing) -> JudgedLabels:
    """What most labellers say."""
    by_label: dict[Key, list[Judgement]] = defaultdict(list)
    for row in held.answers:
        by_label[row.request_id, row.candidate_ids[0], row.question].append(row)
    settled, split = {}, []
    for key, rows in by_label.items():
        answer = _most(rows)
        if answer is None:
            split.append(key)
        else:
            settled[key] = [row for row in rows if row.answer == answer][-1]
    return JudgedLabels(settled, tuple(split))


def _most(rows: Sequence[Judgement]) -> str | None:
    counted = Counter(row.answer for row in rows).most_common(2)
    if len(counted) > 1 and counted[0][1] == counted[1][1]:
        return None
    return counted[0][0]


def judged_cells(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The labels of a judgements file as the rows of a file of corrections, with their lines.

    Raises:
        DataError: the file holds what is no judgement.
    """
    held = standing(read_judgements(path))
    for row in judged_labels(held).settled.values():
        yield (
            row.line,
            {
                "request_id": guarded(row.request_id),
                "candidate_id": guarded(row.candidate_ids[0]),
                "subject_id": guarded(row.subject_id),
                "question": row.question,
                "answer": guarded(row.answer),
            },
        )
