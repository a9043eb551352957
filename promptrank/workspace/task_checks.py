"""Checks of a task: its file, template, tables and answers against each other."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from promptrank.basics.hints import near_names
from promptrank.basics.telling import Say
from promptrank.errors import InputError, TaskError
from promptrank.workspace.policy_checks import check_fields
from promptrank.workspace.request_checks import check_requests
from promptrank.workspace.sample_checks import check_corrections, check_sample
from promptrank.workspace.tasks import OpenTask, data_folder
from promptrank.workspace.trial import gain_problems
from promptrank.workspace.validated import Validated

if TYPE_CHECKING:
    from promptrank.prompt.template import Template
    from promptrank.ranking.ranker import Ranker
    from promptrank.tables.supplied import Supplied

T = TypeVar("T")

_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
_NUMBERS = (
    *_INTEGERS,
    *(f"U{name}" for name in _INTEGERS),
    "FLOAT",
    "DOUBLE",
    "DECIMAL",
    "BOOLEAN",
)

_GIVEN = {"event": ("action", "time", "age"), "question": ("name", "ask", "answers")}


def check_task(
    opened: OpenTask,
    model: str | None,
    requests: str | Path | None,
    say: Say,
    *,
    leaks: bool = False,
) -> Validated:
    """All checks of a task, each whether or not others have failed; see `validate`."""
    validated = Validated(opened.name)
    if requests is not None:
        _try(validated, lambda: check_requests(opened, requests, validated, say))
    template = _try(validated, lambda: _template(opened))
    supplied = _try(validated, lambda: _supplied(opened, say))
    if supplied is not None:
        validated.problems += supplied.problems
        validated.warnings += supplied.warnings
        validated.problems += _unfusable(opened, supplied)
        _try(validated, lambda: check_fields(opened, supplied, validated))
    if template is not None and supplied is not None:
        validated.problems += unsupplied(opened, template, supplied)
    ranker = _try(validated, lambda: _ranker(opened, model, say)) if template is not None else None
    if ranker is not None:
        with ranker:
            validated.warnings += ranker.encoder.notes if ranker.encoder is not None else ()
            validated.warnings += gain_problems(opened.task)
            if not validated.problems and opened.task.corrections is not None:
                _try(validated, lambda: check_corrections(opened, validated, say))
            if not validated.problems:
                _try(validated, lambda: check_sample(opened, ranker, validated, supplied, say))
    if leaks and not validated.problems:
        from promptrank.workspace.leak_checks import check_leaks

        _try(validated, lambda: check_leaks(opened, validated, say))
    return validated


def _try(validated: Validated, check: Callable[[], T]) -> T | None:
    try:
        return check()
    except TaskError as error:
        # Steps are opened by several checks, and each would tell the same of them.
        validated.problems += [p for p in error.problems if p not in validated.problems]
    except InputError as error:
        validated.problems += str(error).split("\n")
    return None


def _template(opened: OpenTask) -> "Template":
    from promptrank.prompt.template import load_template

    return load_template(opened.task.template, opened.place.template_folders, opened.drafts)


def _supplied(opened: OpenTask, say: Say) -> "Supplied":
    from promptrank.tables.supplied import columns_of

    return columns_of(opened.task, data_folder(opened, say))


def _ranker(opened: OpenTask, model: str | None, say: Say) -> "Ranker":
    """The ranker of `rank`, over an engine that needs no weights, before anything is fused."""
    from promptrank.workspace.rankers import open_ranker

    unfused = replace(opened, task=opened.task.unfused)
    return open_ranker(unfused, engine="fake", model=model, say=say)


def unsupplied(opened: OpenTask, template: "Template", supplied: "Supplied") -> Iterator[str]:
    """Template variables that nothing supplies, such as ``item.titel``: a problem for each."""
    fields: dict[str, Mapping[str, Any]] = dict(supplied.fields)
    if "source" in fields:
        fields["source"] = {**fields["item"], **fields["source"]}
    turns = opened.task.history is not None and opened.task.history.as_ == "turns"
    for block, use in template.uses.items():
        if block == "event" and (opened.task.history is None or turns):
            continue  # never rendered
        known = {**fields, **{name: dict.fromkeys(names) for name, names in _GIVEN.items()}}
        known["vars"] = opened.task.vars
        if block == "event":
            known["context"] = fields.get("event_context", {})
        where = f"template {template.files[block]}, block {block}"
        for path in sorted(use.paths):
            root, dot, name = path.partition(".")
            if not dot or root not in known or name in known[root]:
                continue
            near = near_names(name, known[root], cutoff=0.6)
            hint = f"did you mean {root}.{near[0]}?" if near else _have(root, known[root])
            yield f"{where}: nothing supplies {path}; {hint}"


def _unfusable(opened: OpenTask, supplied: "Supplied") -> Iterator[str]:
    """Fields of the task's fusion that nothing supplies, or that hold no numbers."""
    for path in opened.task.fusion.fields if opened.task.fusion is not None else ():
        root, _, name = path.partition(".")
        known = supplied.fields.get("item" if root == "source" else root, {})
        if name not in known:
            yield f"fusion.fields: nothing supplies {path}; {_have(root, known)}"
        elif not known[name].type.startswith(_NUMBERS):
            yield f"fusion.fields: {path} is {known[name].type}, and fusion takes numbers"


def _have(root: str, names: Mapping[str, Any]) -> str:
    return f"{root} has {', '.join(sorted(names))}" if names else f"{root} has no fields here"
