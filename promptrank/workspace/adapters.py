"""An adapter for a task: found by name, and checked against model, template and answers."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from promptrank.adapters.card import AdapterCard, prompting, read_card
from promptrank.adapters.changes import PromptChange, changes
from promptrank.adapters.shelf import AdapterPath, check_base, find_adapter
from promptrank.basics.telling import Say
from promptrank.errors import InputError, ModelError
from promptrank.workspace.tasks import OpenTask

AdapterFolder = Callable[[str | Path], str]


def adapter_folders(
    opened: OpenTask, model: str, model_folder: Path, *, allow_changed: bool, say: Say
) -> AdapterFolder:
    """From names, paths and aliases to folders; each adapter is checked once, when first named.

    The function raises ModelError for an adapter that is not there, is incomplete, belongs to
    another base, or (unless ``allow_changed``) was trained on another template or other answers.
    """

    @cache
    def folder_of(name: str | Path) -> str:
        adapter = find_adapter(name, opened.project)
        check_base(adapter.folder, model, model_folder)
        _check_words(opened, adapter, allow_changed, say)
        return str(adapter.folder)

    return folder_of


def changed(opened: OpenTask, card: AdapterCard) -> tuple[PromptChange, ...]:
    """What changed in a task since an adapter was trained on it; nothing if it never was."""
    from promptrank.prompt.template import load_template

    if opened.name not in card.tasks:
        return ()
    template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    now = prompting(opened.task, template.sources)
    return changes(card.tasks[opened.name].prompting, now)


def unseen_task(task: str, folder: str | None) -> str | None:
    """What a report says of an adapter that never trained on the task; None if it did.

    None, too, where there is no adapter, or nobody knows what it trained on.

    Args:
        folder: of the adapter, as scores state it; it may be gone.
    """
    try:
        card = read_card(folder) if folder is not None else None
    except ModelError:
        card = None
    if folder is None or card is None or task in card.tasks:
        return None
    return (
        f"the adapter {Path(folder).name} never trained on {task} (T2, an unseen task), but on "
        f"{', '.join(card.tasks)}"
    )


def _check_words(opened: OpenTask, adapter: AdapterPath, allow_changed: bool, say: Say) -> None:
    card = read_card(adapter.folder)
    if card is None:
        say(f"{adapter.name} has no card.json: what it was trained on is not known")
        return
    if opened.name not in card.tasks:
        say(f"{adapter.name} was trained on {', '.join(card.tasks)}, not on {opened.name}")
        return
    differences = changed(opened, card)
    if not differences:
        return
    parts = " and ".join(change.part for change in differences)
    lines = [line for change in differences for line in change.difference]
    text = f"{adapter.name} was trained on {opened.name} with other {parts}:\n" + "\n".join(lines)
    if not allow_changed:
        raise InputError(
            f"{text}\nits scores would not be those it was tuned and measured for; undo the "
            "change, train again, or rank all the same with --allow-changed"
        )
    say(f"warning: {text}")
