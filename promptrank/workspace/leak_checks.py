"""A task's fields searched for leaks, on the requests that its tables give."""

import hashlib

from promptrank.basics.telling import Say
from promptrank.evaluation.gains import gain_of
from promptrank.evaluation.leaks import find_leaks
from promptrank.evaluation.single_fields import FieldColumns
from promptrank.requests.source import RequestFile, Sample
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask
from promptrank.workspace.validated import Validated

_MOST = 4000  # requests of each side
_HELD_OUT = 4  # one subject in so many, where no split is declared


def check_leaks(opened: OpenTask, validated: Validated, say: Say) -> None:
    """Say which fields tell the label best, and warn of those that tell too much.

    Learned on ``train``; told on ``valid`` where the split has one, else on ``test``; where there
    is no split, on a quarter of the subjects.
    """
    with request_file(opened, None, splits=None, say=say) as file:
        say("searching fields for leaks")
        sides = _sides(opened, file)
    search = find_leaks(*sides)
    if isinstance(search, str):
        validated.warnings.append(search)
        return
    validated.facts.append(search.told())
    validated.warnings += [leak.told() for leak in search.leaks]
    for name in (name for name in search.ids if name not in _keys(opened)):
        validated.warnings.append(
            f"{name} looks like an id: it names candidates and says nothing of them; leave it out "
            "of the prompt (where ids count up, they may tell what came later)"
        )


def _keys(opened: OpenTask) -> set[str]:
    """Keys of the task's tables that its template does not print: they are ids by their nature."""
    from promptrank.prompt.template import load_template

    template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    printed = {path for use in template.uses.values() for path in use.paths}
    refs = {where.rpartition(".")[2]: ref for where, ref in opened.task.refs().items()}
    keys = {
        f"{role}.{opened.task.tables[ref.table].key}"
        for role, ref in refs.items()
        if ref.table is not None
    }
    return keys - printed


def _sides(opened: OpenTask, file: RequestFile) -> tuple[FieldColumns, FieldColumns]:
    gain, relevant_at = gain_of(opened.task)
    train, held_out = FieldColumns(), FieldColumns()
    split = opened.task.split
    if split is None:
        for request in Sample(file, None, 2 * _MOST):
            digest = hashlib.md5(request.subject.subject_id.encode("utf-8", "surrogatepass"))
            side = held_out if digest.digest()[0] % _HELD_OUT == 0 else train
            side.add(request, gain, relevant_at)
        return train, held_out
    other = "valid" if split.validates else "test"
    for part, side in (("train", train), (other, held_out)):
        for request in Sample(file, {part}, _MOST):
            side.add(request, gain, relevant_at)
    return train, held_out
