"""Rankers that ``eval --vs`` names: what can be refused of them before anything is ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from promptrank.adapters.card import read_card
from promptrank.adapters.shelf import find_adapter
from promptrank.basics.telling import Say
from promptrank.engine.compute import Compute
from promptrank.errors import DataError, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.sampling import requests_digest
from promptrank.requests.source import Sample
from promptrank.runtime.runtime import Runtime
from promptrank.scores.scores import Scores
from promptrank.students.card import check_task, find_student
from promptrank.workspace.adapters import changed
from promptrank.workspace.named import Named
from promptrank.workspace.rankers import open_named, open_ranker
from promptrank.workspace.score_files import open_scores
from promptrank.workspace.tasks import OpenTask, with_template

LOGGED = "logged"


def check_templates(
    opened: OpenTask, rivals: Sequence[Named], adapter: str | Path | None, say: Say
) -> list[str]:
    """Refuse templates that cannot be loaded; a note on each that an adapter does not know.

    Raises:
        InputError: no such template, or one that cannot work.
    """
    from promptrank.prompt.template import load_template

    notes = []
    for who in rivals:
        if who.kind != "template":
            continue
        other = with_template(opened, who.name)
        load_template(other.task.template, other.place.template_folders, other.drafts)
        if adapter is None:
            continue
        shelved = find_adapter(adapter, opened.project)
        card = read_card(shelved.folder)
        if card is None or not any("template" in c.part for c in changed(other, card)):
            continue
        notes.append(
            f"{who}: the adapter {shelved.name} was trained with another template, so this is what "
            "the edit does to it as it is; trained with the new one it may rank better"
        )
        say(f"warning: {notes[-1]}")
    return notes


def check_logged(sample: Sample) -> None:
    """Refuse ``--vs logged`` where the log holds no score.

    Raises:
        InputError: no candidate of the part has one.
    """
    if not any(c.logged_score is not None for request in sample for c in request.candidates):
        raise InputError(
            "--vs logged: no candidate of this part has a logged score; name the column that holds "
            "it in the task (or give `logged_score` in the request file), or leave it out"
        )


def open_rival(
    opened: OpenTask,
    who: Named,
    engine: str,
    adapter: str | Path | None,
    *,
    model: str | None,
    compute: Compute,
    runtime: Runtime,
    say: Say,
) -> Ranker:
    """The ranker behind a rival that ranks.

    Args:
        engine, adapter: of the ranker beside it, whose decoder and adapter a template keeps.
    """
    given: dict[str, Any] = {"engine": engine, "model": model, "runtime": runtime, "say": say}
    if who.kind != "template":
        return open_named(opened, who, compute=compute, **given)
    other = with_template(opened, who.name)
    return open_ranker(other, adapter=adapter, allow_changed=True, **asdict(compute), **given)


def check_there(opened: OpenTask, rivals: Sequence[Named]) -> None:
    """Refuse adapters and students that are not there, or are of another task.

    Raises:
        InputError: such a rival.
    """
    for who in rivals:
        if who.kind == "adapter":
            find_adapter(who.name, opened.project)
        elif who.kind == "student":
            check_task(find_student(who.name, opened.project), opened.task, opened.name)


def scores_files(opened: OpenTask, rivals: Sequence[Named], say: Say) -> Mapping[Named, Scores]:
    """The scores files among the rivals, read before anything else.

    Raises:
        DataError: no scores file, or one of another task.
    """
    files = [who for who in rivals if who.kind == "scores"]
    return {who: open_scores(opened, who.name, say, allow_changed=True) for who in files}


def check_own(scores: Scores, sample: Sample) -> None:
    """Refuse scores to evaluate that have none of these candidates, before anything is fitted.

    Raises:
        DataError: such scores; with their request file, where that is known to be another one.
    """
    keys = [(r.request_id, c.candidate_id) for r in sample for c in r.candidates]
    if not keys or any(key in scores.index for key in keys):
        return
    words = f"--scores: has no score for any of the {len(keys):,} candidates that are evaluated"
    made_of = scores.origin.requests
    if made_of is None or made_of == requests_digest(sample.file.path):
        raise DataError(
            f"{words}; its rows are of other requests or candidates (--split, "
            "--limit and --requests say which are evaluated)"
        )
    raise DataError(
        f"{words}; its rows are of another request file; name by --requests the one that was ranked"
    )


def check_common(files: Mapping[Named, Scores], sample: Sample, say: Say) -> None:
    """Refuse scores files of other candidates altogether; say how much the others have.

    Raises:
        DataError: such a file.
    """
    keys = [(r.request_id, c.candidate_id) for r in (sample if files else ()) for c in r.candidates]
    for who, scores in files.items():
        common = sum(key in scores.index for key in keys)
        if not common:
            raise DataError(
                f"--vs {who}: has no score for any of the {len(keys):,} candidates that are "
                f"evaluated; its {len(scores):,} rows are of other requests or candidates (ids "
                "must be those of the request file)"
            )
        say(f"{who} has scores for {common:,} of {len(keys):,} candidates that are evaluated")
