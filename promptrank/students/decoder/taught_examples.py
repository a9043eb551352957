"""What a decoder student learns from, encoded once into an Arrow file and read from it.

Lessons become examples some at a time, as an encoder tokenizes them, so that memory does not grow
with their number; the file is that of `promptrank.training.example_store`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from promptrank.prompt import Encoder
from promptrank.prompt.encode import WINDOW
from promptrank.records import Request
from promptrank.schema.task import Task
from promptrank.students.lessons import Learning, Lesson, collect
from promptrank.students.targets import targets
from promptrank.training.encoding import EncodedChunk
from promptrank.training.example_facts import Facts
from promptrank.training.example_rows import to_batch
from promptrank.training.example_store import StoredExamples, writing
from promptrank.training.examples import Example, Soft, examples
from promptrank.training.label_shares import Share


def store(
    folder: Path, task: Task, encoder: Encoder, lessons: Iterable[Lesson], settings: Learning
) -> tuple[StoredExamples, Facts]:
    """Write the examples of all lessons but those of part ``valid`` to a new folder.

    Returns:
        the examples, in the order of the lessons; and their counts.
    """
    whole = Facts()
    with writing(folder) as written:
        for facts in written.rows(_chunks(task, encoder, lessons, settings)):
            whole.join(facts)
    return StoredExamples(folder, 0), whole


def _chunks(
    task: Task, encoder: Encoder, lessons: Iterable[Lesson], settings: Learning
) -> Iterator[EncodedChunk]:
    waiting = (lesson for lesson in lessons if lesson.request.split != "valid")
    place = 0
    while chunk := list(islice(waiting, WINDOW)):
        facts = Facts()
        made = list(taught_examples(task, encoder, chunk, settings))
        for example in made:
            facts.add(example)
        yield EncodedChunk(to_batch(range(place, place + len(made)), made), facts)
        place += len(made)


def taught_examples(
    task: Task, encoder: Encoder, lessons: Sequence[Lesson], settings: Learning
) -> Iterator[Example]:
    """The examples of some lessons."""
    bare, soft = [], {}
    for lesson in lessons:
        request, targets_of = _bare(task, lesson, settings)
        bare.append(request)
        soft[request.request_id] = targets_of
    shares = {request.request_id: Share(len(request.candidates)) for request in bare}
    return examples(task, encoder, bare, shares, soft=soft)


def _bare(task: Task, lesson: Lesson, settings: Learning) -> tuple[Request, Soft]:
    """The request without its outcomes, some of which are hidden, and what it is to learn.

    Target shares are per candidate and question, those with weight. An example has one weight per
    candidate: the mean over its questions that have any.
    """
    rows = collect(task, [lesson])
    soft: dict[str, dict[str, dict[str, float]]] = {}
    weights: dict[str, list[float]] = {}
    for name, known in rows.known.items():
        main, _ = targets(known, settings.loss, settings.alpha, known.labels)
        answers = list(task.questions[name].answers)
        for i, candidate in enumerate(lesson.request.candidates):
            if main.weight[i] > 0:
                given = dict(zip(answers, main.answers[i].tolist(), strict=True))
                soft.setdefault(candidate.candidate_id, {})[name] = given
                weights.setdefault(candidate.candidate_id, []).append(float(main.weight[i]))
    means = {name: sum(each) / len(each) for name, each in weights.items()}
    candidates = tuple(
        replace(c, outcomes={}, weight=means.get(c.candidate_id, 0.0))
        for c in lesson.request.candidates
    )
    return replace(lesson.request, candidates=candidates), soft
