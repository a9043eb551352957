"""The encoder of a task: its template and a model's tokenizer."""

from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.telling import Say
from promptrank.errors import TaskError
from promptrank.workspace.tasks import OpenTask

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.prompt.template import Template
    from promptrank.prompt.tokenizer import TextTokenizer


def open_encoder(
    opened: OpenTask,
    model_folder: Path,
    max_tokens: int,
    tokenizer: "TextTokenizer | None" = None,
) -> "Encoder":
    """The encoder of a task for one model's tokenizer.

    Args:
        tokenizer: the model's, where it is open already.

    Raises:
        TemplateError: the template is missing or cannot work.
        TaskError: answers that collide, merge with the prompt's tail, or vanish.
    """
    from promptrank.prompt.encode import Encoder
    from promptrank.prompt.tokenizer import open_tokenizer

    words = tokenizer if tokenizer is not None else open_tokenizer(model_folder)
    encoder = Encoder(opened.task, _template(opened), words, max_tokens=max_tokens)
    if encoder.problems:
        raise TaskError(str(opened.place.path), encoder.problems)
    return encoder


def encoder_of(opened: OpenTask, model: str | None, say: Say) -> "Encoder":
    """The encoder of a task where no model is open: for the one named, else the task's own.

    Raises:
        ModelError: there is no such model.
        TemplateError, TaskError: as `open_encoder`.
    """
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits

    folder = resolve_model(model or opened.task.model, say=say)
    return open_encoder(opened, folder, model_limits(folder).max_tokens)


def template_digest(opened: OpenTask) -> str:
    """What tells the template of a task from others, blocks that are left out included.

    Raises:
        TemplateError: the template is missing or cannot work.
    """
    return _template(opened).digest


def _template(opened: OpenTask) -> "Template":
    from promptrank.prompt.template import load_template

    template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    return template.without(opened.left_out) if opened.left_out else template
