"""Checks of a task's first requests: built, rendered, and looked at."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from promptrank.basics.plurals import counted
from promptrank.basics.scratch import scratch
from promptrank.basics.telling import Say
from promptrank.errors import ErrorRow
from promptrank.records import Request
from promptrank.requests.corrections import place_corrections, read_corrections
from promptrank.workspace.correction_files import correction_files
from promptrank.workspace.policies import open_policy
from promptrank.workspace.policy_checks import policy_doubts
from promptrank.workspace.request_files import build_file, given_file
from promptrank.workspace.tasks import OpenTask
from promptrank.workspace.trial import try_ranking
from promptrank.workspace.validated import Validated

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder
    from promptrank.ranking.ranker import Ranker
    from promptrank.tables.supplied import Supplied, SuppliedField

SAMPLE = 50


def check_sample(
    opened: OpenTask,
    ranker: "Ranker",
    validated: Validated,
    supplied: "Supplied | None",
    say: Say,
) -> None:
    """Build a sample of requests, render it, rank a few, and look at what comes out."""
    encoder = ranker.encoder
    assert encoder is not None, "a decoder's ranker"
    with scratch() as folder:
        path = folder / "requests.parquet"
        build_file(opened, path, limit=SAMPLE, say=say)
        unread: list[ErrorRow] = []
        file = given_file(opened, path)
        requests = list(islice(file.read(errors=unread.append), SAMPLE))
        scored, unranked = try_ranking(ranker, file, folder)
    validated.warnings += policy_doubts(open_policy(opened), requests)
    encoded = list(encoder.encode_many(requests))
    trees = [e.tree for e in encoded if e.tree is not None]
    if trees:
        prefix = max(len(t.prefix) for t in trees)
        branch = max(len(b.ids) for t in trees for b in t.branches)
        validated.facts.append(
            f"{len(trees)} of {len(requests)} sample requests render; longest prefix "
            f"{prefix} tokens, longest candidate {branch}, limit {encoder.limit}"
        )
        validated.facts += _answers(
            encoded[0].questions, encoded[0].paths, trees[0].branches[0].slots
        )
    dropped = sum(e.cuts.events_dropped for e in encoded)
    if dropped:
        given = sum(e.cuts.events_given for e in encoded)
        validated.warnings.append(
            f"{dropped} of {given} history events do not fit; see budget.tokens"
        )
    rows = [*unread, *(row for each in encoded for row in each.errors), *unranked]
    reasons = Counter(row.reason for row in rows)
    for reason, count in reasons.items():
        first = next(row for row in rows if row.reason == reason)
        line = (
            f"{counted(count, 'row')} set aside in the sample ({reason}), such as: {first.message}"
        )
        fails = not trees or (not scored and first.stage == "engine")
        (validated.problems if fails else validated.warnings).append(line)
    if trees:
        validated.warnings += _joint(encoder, requests)
        validated.warnings += _unguarded(encoder, requests, supplied)
        validated.warnings += _labels(opened, requests)


def check_corrections(opened: OpenTask, validated: Validated, say: Say) -> None:
    """Say how many corrections apply, on all requests that the tables give.

    Raises:
        DataError: files of corrections that cannot be used.
    """
    # Read before anything is built: what is wrong with them shows at once.
    given = read_corrections(correction_files(opened), opened.task)
    with scratch() as folder:
        path = folder / "requests.parquet"
        build_file(opened, path, say=say)
        placed = place_corrections(given, path, opened.task.form)
    (validated.warnings if placed.strayed else validated.facts).append(placed.told())


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
