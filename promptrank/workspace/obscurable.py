"""Whether made-up texts in a field would be a control at all."""

from collections.abc import Iterable
from itertools import islice

from promptrank.errors import InputError
from promptrank.records import Request
from promptrank.requests.obscure import Obscuring
from promptrank.workspace.tasks import OpenTask

_LOOKED_AT = 1000  # requests


def check_obscurable(
    opened: OpenTask, obscuring: Obscuring, sample: Iterable[Request], *, student: bool
) -> None:
    """Refuse fields that are not there, hold no texts, or never reach a prompt.

    Args:
        student: whether it is a student that ranks, which reads fields and no template.

    Raises:
        InputError: any of that.
    """
    requests = list(islice(sample, _LOOKED_AT))
    if problem := obscuring.missing_from(requests):
        raise InputError(problem)
    for request in requests[:50]:
        obscuring(request)
    if student:
        return
    from promptrank.prompt.template import load_template

    template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    printed = {path for use in template.uses.values() for path in use.paths}
    for field in obscuring.fields:
        roots = {field, field.partition(".")[0]}
        if field.startswith("item."):  # a source item has the same fields
            roots |= {f"source.{field.removeprefix('item.')}", "source"}
        if not printed & roots:
            raise InputError(
                f"--obscure {field}: {template.name} never prints it, so no prompt would change"
            )
