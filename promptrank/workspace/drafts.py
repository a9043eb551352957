"""A task as somebody is editing it: texts that stand in for its files, and are nowhere on disk."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from promptrank.errors import InputError
from promptrank.workspace.tasks import OpenTask


@dataclass(frozen=True, slots=True)
class TaskTexts:
    """What the editor holds: the two files that word a task.

    Attributes:
        task: of the YAML file.
        template: of the template file ``template_name``.
        template_name: as the task names it, such as ``movies/like.j2``.
    """

    task: str
    template: str
    template_name: str


def template_path(opened: OpenTask) -> Path:
    """The file that the task's template is read from.

    Raises:
        InputError: there is none.
    """
    for folder in opened.place.template_folders:
        path = folder / opened.task.template
        if path.is_file():
            return path
    raise InputError(f"template {opened.task.template}: not found; see `promptrank validate`")


def saved_texts(opened: OpenTask) -> TaskTexts:
    """What the files hold now.

    Raises:
        InputError: a file that is not there, or no UTF-8.
    """
    return TaskTexts(_text(opened.place.path), _text(template_path(opened)), opened.task.template)


def drafted(opened: OpenTask, texts: TaskTexts, settings: Iterable[str] = ()) -> OpenTask:
    """The task as the texts say, in the place of the one that was opened.

    Whatever takes an `OpenTask` takes it: ranking, checks, evaluation.

    Args:
        settings: ``a.b=c`` overrides, as the task was opened with.

    Raises:
        TaskError: the task's text has problems; all of them are in the message.
    """
    from promptrank.schema.load import override, parse_task, yaml_mapping

    where = str(opened.place.path)
    values = yaml_mapping(texts.task.encode("utf-8", "surrogatepass"), where)
    task = parse_task(override(values, list(settings)), where)
    drafts: Mapping[str, str] = {texts.template_name: texts.template}
    return replace(opened, task=task, drafts=drafts)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); save it as UTF-8") from None
