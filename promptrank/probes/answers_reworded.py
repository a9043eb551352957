"""``answers``: the answers' other wordings in place of the first ones."""

from promptrank.probes.edits import Edit, Probe, ProbedTask, refused
from promptrank.schema.parts import Question


def _edits(probed: ProbedTask, _: str) -> list[Edit]:
    questions = probed.task.questions
    worded = [a.say for q in questions.values() for a in q.answers.values()]
    if not any(len(say) > 1 for say in worded):
        raise refused(
            "answers",
            "no answer of the task has a second wording; list some under say, such as "
            "say: [Yes, Sure]",
        )
    words = ", ".join(dict.fromkeys(say[1] for say in worded if len(say) > 1))
    others = {name: _reworded(question) for name, question in questions.items()}
    task = probed.task.model_copy(update={"questions": others})
    return [Edit("answers", f"answers worded {words} in place of the first wordings", task=task)]


def _reworded(question: Question) -> Question:
    """A question whose answers have lost their first wordings, where they have others."""
    answers = {
        name: answer.model_copy(update={"say": answer.say[1:] or answer.say})
        for name, answer in question.answers.items()
    }
    return question.model_copy(update={"answers": answers})


ANSWERS = Probe(
    "answers",
    "the answers' other wordings (say) in place of the first ones, asked and in turns",
    _edits,
    prompts=True,
)
