"""Two rankings of one request beside each other: who moved, how far, and what changed for them."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from promptrank.prompt.preview import Preview
from promptrank.ranking.ranking import Ranking, Scored
from promptrank.records import Candidate
from promptrank.schema.task import Task
from promptrank.workbench.prompt_view import TITLES, titles_of


@dataclass(frozen=True, slots=True)
class QuestionShown:
    """One question's answer about a candidate.

    Attributes:
        probability: of the relevant answers among the declared ones.
        label_mass: of the declared answers among all that the model could write.
        label: the answer in the data; None where there is none.
        relevant: whether that label counts as relevant.
    """

    name: str
    probability: float
    label_mass: float
    label: str | None
    relevant: bool


@dataclass(frozen=True, slots=True)
class Moved:
    """A candidate of a ranking.

    Attributes:
        up: places up since the saved version; None where that has no place for it, or is not
            ranked yet.
        gain: of the probability (of the score where there are several questions), since then.
        changed: the fragments of its prompt that differ, as people call them.
        why: what steps did, in words.
    """

    candidate_id: str
    title: str
    rank: int
    score: float
    probability: float | None
    questions: tuple[QuestionShown, ...]
    up: int | None
    gain: float | None
    changed: tuple[str, ...]
    why: tuple[str, ...]


def moves_of(
    task: Task,
    ranking: Ranking,
    saved: Ranking | None,
    changed: Mapping[str, Sequence[str]],
) -> list[Moved]:
    """The candidates in their order.

    Args:
        saved: the same request ranked by the saved version; None where nothing changed.
        changed: candidate -> titles of the fragments that differ.
    """
    titles = titles_of(ranking.request)
    candidates = {each.candidate_id: each for each in ranking.request.candidates}
    before = {each.candidate_id: each for each in saved.scored} if saved is not None else {}
    return [
        _moved(
            task,
            scored,
            candidates[scored.candidate_id],
            titles[scored.candidate_id],
            before.get(scored.candidate_id),
            changed.get(scored.candidate_id, ()),
        )
        for scored in ranking.scored
    ]


def _moved(
    task: Task,
    scored: Scored,
    candidate: Candidate,
    title: str,
    before: Scored | None,
    changed: Sequence[str],
) -> Moved:
    gain = None
    if before is not None:
        now, then = scored.probability, before.probability
        gain = now - then if now is not None and then is not None else scored.score - before.score
    return Moved(
        scored.candidate_id,
        title,
        scored.rank,
        scored.score,
        scored.probability,
        tuple(_questions(task, scored, candidate)),
        before.rank - scored.rank if before is not None else None,
        gain,
        tuple(changed),
        tuple(change.why for change in scored.changes),
    )


def _questions(task: Task, scored: Scored, candidate: Candidate) -> Iterator[QuestionShown]:
    for name, answered in scored.questions.items():
        question = task.questions[name]
        label = candidate.outcomes.get(name)
        answer = question.answers.get(label) if label is not None else None
        relevant = answer is not None and answer.value >= question.relevant_at
        yield QuestionShown(name, answered.probability, answered.label_mass, label, relevant)


def changed_fragments(saved: Preview, draft: Preview) -> dict[str, list[str]]:
    """For each candidate of the draft the titles of the fragments that are not as they were.

    Answers count by their token paths. A candidate that had no prompt before has all of them new.
    """
    before, after = _texts(saved), _texts(draft)
    changed = {}
    for name, texts in after.items():
        old = before.get(name, {})
        kinds = [kind for kind in TITLES if texts.get(kind, "") != old.get(kind, "")]
        changed[name] = [TITLES[kind] for kind in kinds]
    return changed


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a difference; its mark is ``+``, ``-`` or a space."""

    mark: str
    text: str


def differences(
    saved: Preview, draft: Preview, candidate_id: str
) -> list[tuple[str, list[DiffLine]]]:
    """For each fragment that differs its title and lines, those that stay among them."""
    old, new = _texts(saved).get(candidate_id, {}), _texts(draft).get(candidate_id, {})
    told = []
    for kind, title in TITLES.items():
        before, after = old.get(kind, ""), new.get(kind, "")
        if before == after:
            continue
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=2, lineterm="")
        shown = [DiffLine(line[0], line[1:]) for line in list(lines)[2:] if line[0] in "+- "]
        told.append((title, shown or [DiffLine(" ", "white space differs")]))
    return told


def _texts(preview: Preview) -> dict[str, dict[str, str]]:
    """Candidate -> kind of fragment -> its whole text, answers with their token ids."""
    encoded = preview.encoded
    if encoded.tree is None:
        return {}
    shared: dict[str, str] = {}
    for piece in preview.prefix:
        shared[piece.kind] = shared.get(piece.kind, "") + piece.text
    texts = {}
    for candidate, branch in zip(preview.candidates, encoded.tree.branches, strict=True):
        own = dict(shared)
        asked = [piece for question in candidate.questions for piece in question]
        for piece in (*candidate.pieces, *asked):
            own[piece.kind] = own.get(piece.kind, "") + piece.text
        for name, paths, slot in zip(encoded.questions, encoded.paths, branch.slots, strict=True):
            words = [
                f"{name}: {answer} <- {wording} {list(path)}"
                for (answer, wording), path in zip(paths, slot.paths, strict=True)
            ]
            own["answer"] = own.get("answer", "") + "\n".join(words) + "\n"
        texts[candidate.candidate_id] = own
    return texts
