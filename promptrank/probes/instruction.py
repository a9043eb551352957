"""``instruction``: prompts without the instruction, and without the note in it."""

from promptrank.probes.edits import Edit, Probe, ProbedTask, refused

NOTE = "note"


def _edits(probed: ProbedTask, _: str) -> list[Edit]:
    made = []
    if probed.has("instruction"):
        block = frozenset({"instruction"})
        made.append(Edit("instruction", "prompts without the instruction", left_out=block))
    if probed.prints(f"vars.{NOTE}") and probed.task.vars.get(NOTE):
        constants = {**probed.task.vars, NOTE: ""}
        task = probed.task.model_copy(update={"vars": constants})
        made.append(Edit("instruction:note", f"prompts with an empty vars.{NOTE}", task=task))
    if not made:
        raise refused(
            "instruction",
            f"template {probed.task.template} has no block instruction and prints no "
            f"vars.{NOTE}, so there is none to leave out",
        )
    return made


INSTRUCTION = Probe(
    "instruction",
    "the template's block instruction left out; and vars.note emptied, where it prints one",
    _edits,
    prompts=True,
)
