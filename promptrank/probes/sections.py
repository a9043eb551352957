"""``sections``: subject, history and item text, each left out in turn."""

from dataclasses import replace
from typing import Any

from promptrank.probes.edits import Edit, Probe, ProbedTask, refused
from promptrank.prompt.template import Template
from promptrank.records import EMPTY, Candidate, Fields, Item, Request

_SUBJECT = {"member", "query", "source"}


def _edits(probed: ProbedTask, _: str) -> list[Edit]:
    made = [_subject(probed), _history(probed), _item(probed)]
    if all(edit.impossible for edit in made):
        why = "; ".join(f"{edit.name}: {edit.impossible}" for edit in made)
        raise refused("sections", f"there is nothing to leave out: {why}")
    return made


def _subject(probed: ProbedTask) -> Edit:
    name, change = "sections:subject", "nothing said of the subject"
    if probed.template is None:
        known = any(r.subject.member or r.subject.query or r.subject.source for r in probed.some())
        why = None if known else "no request has fields of a member, a query or a source item"
        return Edit(name, change, request=without_subject, impossible=why)
    why = None if probed.has("subject") else f"{probed.task.template} has no block subject"
    if others := _who_names_it(probed.template):
        change = f"no block subject, though the subject is in {' and '.join(others)} too"
    return Edit(name, change, left_out=frozenset({"subject"}), impossible=why)


def _who_names_it(template: Template) -> list[str]:
    """Blocks that say something of the subject too."""
    uses = template.uses.items()
    return [block for block, use in uses if block != "subject" and use.names & _SUBJECT]


def _history(probed: ProbedTask) -> Edit:
    why = None
    if probed.template is not None and probed.task.history is None:
        why = "the task has no history"
    elif not any(request.history for request in probed.some()):
        why = "no request has a past event"
    return Edit("sections:history", "no past events", request=without_history, impossible=why)


def _item(probed: ProbedTask) -> Edit:
    why = None
    if probed.template is not None and not probed.prints("item"):
        why = f"{probed.task.template} prints nothing of an item"
    elif not any(
        _is_text(value)
        for request in probed.some()
        for candidate in request.candidates
        for value in candidate.item.fields.values()
    ):
        why = "no candidate has a text"
    change = "candidates whose texts are empty"
    return Edit("sections:item", change, request=without_item_text, impossible=why)


def without_subject(request: Request) -> Request:
    """The same request by the same subject, of whom nothing is known."""
    subject = request.subject
    source = subject.source
    return replace(
        request,
        subject=replace(
            subject,
            member=None if subject.member is None else EMPTY,
            query=None if subject.query is None else EMPTY,
            source=None if source is None else Item(source.item_id, EMPTY),
        ),
    )


def without_history(request: Request) -> Request:
    """The same request without past events."""
    return replace(request, history=())


def without_item_text(request: Request) -> Request:
    """The same request, with candidates whose texts are empty; numbers stay."""
    return replace(request, candidates=tuple(map(_wordless, request.candidates)))


def _wordless(candidate: Candidate) -> Candidate:
    item = candidate.item
    # Equal keys mean equal fields, and these fields are new.
    key = None if item.key is None else ("without text", item.key)
    return replace(candidate, item=Item(item.item_id, _emptied(item.fields), key))


def _emptied(fields: Fields) -> Fields:
    return {name: _empty(value) if _is_text(value) else value for name, value in fields.items()}


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(each, str) for each in value)
    return isinstance(value, str) and bool(value)


def _empty(value: Any) -> Any:
    return [] if isinstance(value, list) else ""


SECTIONS = Probe(
    "sections",
    "what is said of the subject, past events, and the candidate's texts, each left out in turn",
    _edits,
)
