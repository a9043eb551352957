"""``validate``: everything that can be known about a task before anything is scored."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from promptrank.api.build import build
from promptrank.api.requests import read
from promptrank.api.tasks import OpenTask, Say, data_folder, open_task, silent
from promptrank.errors import ErrorRow, InputError, TaskError
from promptrank.records import Request

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.prompt.template import Template
    from promptrank.tables.supplied import Supplied, SuppliedField

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

SAMPLE = 50
_GIVEN = {"event": ("action", "time", "age"), "question": ("name", "ask", "answers")}


@dataclass(slots=True)
class Validated:
    """What was found: a task is fine where ``problems`` is empty.

    Attributes:
        facts: what the checks saw, for a person to agree with.
        warnings: what works and is probably not meant.
        problems: what would keep a run from working, each with what to do.
    """

    task: str
    facts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def validate(
    task: str | OpenTask,
    *,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    say: Say = silent,
) -> Validated:
    """Check a task's file, template, tables and answers, and render its first requests.

    Only the model's tokenizer and config are used. One problem does not hide those behind it,
    except where a check needs what failed.

    Raises:
        TaskError: the task file itself cannot be read; the message holds all its problems.
    """
    opened = (
        task
        if isinstance(task, OpenTask)
        else open_task(task, project=project, settings=settings or ())
    )
    found = Validated(opened.name)
    template = _try(found, lambda: _template(opened))
    supplied = _try(found, lambda: _supplied(opened, say))
    if supplied is not None:
        found.problems += supplied.problems
        found.problems += _unfusable(opened, supplied)
    if template is not None and supplied is not None:
        found.problems += _unsupplied(opened, template, supplied)
    encoder = _try(found, lambda: _encoder(opened, model, say)) if template is not None else None
    if encoder is not None:
        found.warnings += encoder.notes
        if not found.problems:
            _try(found, lambda: _rendered(opened, encoder, found, supplied, say))
    return found


def _try(found: Validated, check: Callable[[], T]) -> T | None:
    try:
        return check()
    except TaskError as error:
        found.problems += error.problems
    except InputError as error:
        found.problems += str(error).split("\n")
    return None


def _template(opened: OpenTask) -> "Template":
    from promptrank.prompt.template import load_template

    return load_template(opened.task.template, opened.place.template_folders)


def _supplied(opened: OpenTask, say: Say) -> "Supplied":
    from promptrank.tables.supplied import columns_of

    return columns_of(opened.task, data_folder(opened, say))


def _encoder(opened: OpenTask, model: str | None, say: Say) -> "Encoder":
    from promptrank.api.ranker import open_encoder
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits

    folder = resolve_model(model or opened.task.model, say=say)
    return open_encoder(opened, folder, model_limits(folder).max_tokens)


def _unsupplied(opened: OpenTask, template: "Template", supplied: "Supplied") -> Iterator[str]:
    """Template variables that nothing supplies, such as ``item.titel``."""
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
            near = difflib.get_close_matches(name, known[root], 1)
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


def _rendered(
    opened: OpenTask,
    encoder: "Encoder",
    found: Validated,
    supplied: "Supplied | None",
    say: Say,
) -> None:
    """Build a sample of requests, render it, and look at what comes out."""
    with TemporaryDirectory(prefix="promptrank-") as folder:
        path = Path(folder) / "requests.parquet"
        build(opened, path, limit=SAMPLE, say=say)
        lost: dict[str, list[ErrorRow]] = {}
        requests = list(islice(read(opened, path, None, lost), SAMPLE))
    encoded = list(encoder.encode_many(requests))
    trees = [e.tree for e in encoded if e.tree is not None]
    if trees:
        prefix = max(len(t.prefix) for t in trees)
        branch = max(len(b.ids) for t in trees for b in t.branches)
        found.facts.append(
            f"{len(trees)} of {len(requests)} sample requests render; longest prefix "
            f"{prefix} tokens, longest candidate {branch}, limit {encoder.limit}"
        )
        found.facts += _answers(encoded[0].questions, encoded[0].paths, trees[0].branches[0].slots)
    dropped = sum(e.cuts.events_dropped for e in encoded)
    if dropped:
        given = sum(e.cuts.events_given for e in encoded)
        found.warnings.append(f"{dropped} of {given} history events do not fit; see budget.tokens")
    rows = [*(r for rs in lost.values() for r in rs), *(r for e in encoded for r in e.errors)]
    reasons = Counter(row.reason for row in rows)
    for reason, count in reasons.items():
        first = next(row for row in rows if row.reason == reason)
        line = f"{count} rows set aside in the sample ({reason}), such as: {first.message}"
        (found.warnings if trees else found.problems).append(line)
    if trees:
        found.warnings += _joint(encoder, requests)
        found.warnings += _unguarded(encoder, requests, supplied)
        found.warnings += _labels(opened, requests)


def _answers(questions: Any, all_paths: Any, slots: Any) -> Iterator[str]:
    for name, paths, slot in zip(questions, all_paths, slots, strict=True):
        said = ", ".join(
            f"{wording!r} ({len(path)} token{'s' * (len(path) > 1)})"
            for (_, wording), path in zip(paths, slot.paths, strict=True)
        )
        yield f"question {name}: {said}"


def _joint(encoder: "Encoder", requests: list[Request]) -> Iterator[str]:
    """Fragments that a model would have read as other tokens, had they been one text."""
    seams = [
        seam
        for request in requests[:10]
        if (preview := encoder.preview(request)).encoded.tree is not None
        for seam in encoder.seams(preview)
    ]
    if seams:
        yield (
            f"{len(seams)} fragment boundaries in ten prompts tokenize differently from joined "
            f"text, such as: {seams[0]}; scores are consistent, but the tokens are unusual"
        )


def _unguarded(
    encoder: "Encoder", requests: list[Request], supplied: "Supplied | None"
) -> Iterator[str]:
    """Fields with nulls in the tables that the template prints without a guard, by trying it."""
    request = next((r for r in requests if r.candidates), None)
    if supplied is None or request is None:
        return
    for root in ("item", "member", "query"):
        for name, about in supplied.fields.get(root, {}).items():
            if not about.nulls or not _uses(encoder, f"{root}.{name}"):
                continue
            rows = encoder.encode(_without(request, root, name)).errors
            if any(row.reason.endswith("null") for row in rows):
                yield _null_line(root, name, about)


def _uses(encoder: "Encoder", path: str) -> bool:
    return any(path in use.paths for use in encoder.template.uses.values())


def _null_line(root: str, name: str, about: "SuppliedField") -> str:
    return (
        f"{about.nulls:,} of {about.rows or 0:,} rows have no {root}.{name}; the template prints "
        f"it unguarded: they become error rows; write {{% if {root}.{name} %}}...{{% endif %}}"
    )


def _without(request: Request, root: str, name: str) -> Request:
    """The request with one field set to None (of its first candidate, for items)."""
    if root == "item":
        first = request.candidates[0]
        bare = replace(first.item, fields={**first.item.fields, name: None}, key=None)
        return replace(request, candidates=(replace(first, item=bare),), history=())
    subject = request.subject
    if root == "member":
        return replace(
            request, subject=replace(subject, member={**(subject.member or {}), name: None})
        )
    return replace(request, subject=replace(subject, query={**(subject.query or {}), name: None}))


def _labels(opened: OpenTask, requests: list[Request]) -> Iterator[str]:
    """Samples in which a question has one answer only: nothing to learn or to measure there."""
    history = opened.task.history
    for name in opened.task.questions:
        labels = Counter(c.outcomes.get(name) for r in requests for c in r.candidates)
        unlabelled = labels.pop(None, 0)
        if len(labels) == 1:
            only = next(iter(labels))
            yield f"question {name}: every labelled candidate of the sample is {only!r}"
        elif not labels and unlabelled:
            yield f"question {name}: no candidate of the sample is labelled; eval needs labels"
    if history is not None and history.as_ == "turns":
        asked = history.question or next(iter(opened.task.questions))
        answers = {e.outcomes.get(asked) for r in requests for e in r.history} - {None}
        if len(answers) < 2:
            yield f"history.as: turns need at least two answers to {asked} among events; use list"
