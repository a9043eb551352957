"""The texts of a task's items, for baselines that need to know which words are rare."""

from collections.abc import Iterator, Sequence

from promptrank.requests.source import RequestFile, Sample
from promptrank.requests.texts import text_of
from promptrank.workspace.tasks import OpenTask


def printed_item_fields(opened: OpenTask) -> list[str] | None:
    """The item fields that the task's template prints, sorted; None where it may print any.

    Raises:
        TemplateError: a template that cannot be read.
    """
    from promptrank.prompt.template import load_template

    template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    paths = {path for use in template.uses.values() for path in use.paths}
    if "item" in paths:  # all of it is handed on to something that the template does not show
        return None
    return sorted(path.removeprefix("item.") for path in paths if path.startswith("item."))


def catalogue_texts(
    file: RequestFile, sample: Sample, names: Sequence[str] | None
) -> Iterator[str]:
    """The texts of all items that were known before the first request of a sample."""
    times = [request.time for request in sample if request.time is not None]
    with file.catalogue() as table:
        if table is not None:
            for fields in table.known(min(times, default=None), names):
                yield text_of(fields, names)
