"""``plan``: what scoring a task's requests would take, from a sample of them, without weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.basics.plurals import counted
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, InputError
from promptrank.requests.sampling import request_count
from promptrank.runs.planning import Needed, Tokens, together
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.planned_runs import open_plan
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, check_splits, open_task

SAMPLE = 256
"""Requests that are encoded where nobody says how many."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What scoring would take.

    Attributes:
        sampled: requests that were encoded.
        all: what all requests need.
        day: what so many candidates a day need; None where nobody asked.
    """

    task: str
    sampled: int
    all: Needed
    day: Needed | None


def plan(
    task: str | OpenTask,
    *,
    tokens_per_second: float,
    price: float | None = None,
    candidates_per_day: int | None = None,
    requests: str | Path | None = None,
    splits: set[str] | None = None,
    limit: int = SAMPLE,
    most: int | None = None,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    say: Say = silent,
) -> Planned:
    """Count the tokens of a sample of the requests, and tell hours and money for all of them.

    Prompts are those that ranking sends; the model's tokenizer is needed, its weights are not read.

    Args:
        tokens_per_second: unique tokens that one GPU (or machine) scores in a second.
        price: of an hour of one GPU, in any currency.
        candidates_per_day: tell of so many candidates too.
        requests, splits: as of `promptrank.rank`.
        limit: how many requests to encode, sampled by a hash of their ids.
        most: requests that will be ranked at most; all of them where left out.

    Raises:
        InputError: a rate, price or count that is none, or whatever keeps requests from encoding.
        DataError: no request that can be asked about.
    """
    for name, number in (("tokens a second", tokens_per_second), ("price", price)):
        if number is not None and not (math.isfinite(number) and number > 0):
            raise InputError(f"{name}: {number} is no rate or price; give a number above 0")
    for name, count in (("limit", limit), ("candidates a day", candidates_per_day)):
        if count is not None and count < 1:
            raise InputError(f"{name}: {count}; give 1 or more")
    opened = open_task(task, project=project, settings=settings)
    check_splits(opened.task, splits)
    if requests is None and splits is None and opened.task.split is not None:
        splits = {"test"}
    encoder = encoder_of(opened, model, say)
    with request_file(opened, requests, splits=splits, say=say) as file:
        total = request_count(file.path, splits)
        ids = file.ids(splits, limit if total is not None else None)
        total = total if total is not None else len(ids)
        total = min(total, most) if most is not None else total
        sample = set(ids[:limit])
        tokens = Tokens()
        for encoded in encoder.encode_many(file.read(splits, sample)):
            tokens = tokens.plus(len(encoded.request.candidates), encoded.tree)
            if tokens.requests == len(sample):
                break
    if not tokens.prompts:
        raise DataError(
            f"{opened.name}: none of {len(sample):,} requests can be asked about; "
            "`promptrank validate` says why"
        )
    if unread := len(sample) - int(tokens.requests):
        say(
            f"{unread:,} of {counted(len(sample), 'request')} cannot be read and count as nothing; "
            "`promptrank validate` says why"
        )
        total = round(total * tokens.requests / len(sample))
    needed = Needed(tokens.of_requests(total), tokens_per_second, price)
    day = None
    if candidates_per_day is not None:
        day = Needed(tokens.of_candidates(candidates_per_day), tokens_per_second, price)
    return Planned(opened.name, int(tokens.requests), needed, day)


def plan_runs(
    plan_file: str | Path,
    *,
    tokens_per_second: float,
    price: float | None = None,
    candidates_per_day: int | None = None,
    limit: int = SAMPLE,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    say: Say = silent,
    **given: Any,
) -> tuple[dict[str, Planned], Planned]:
    """What the runs of a plan would take, by name, and all of them together.

    Args:
        plan_file: as of ``rank --plan``.
        candidates_per_day: tell of so many too, in the proportions of the plan.
        limit: how many requests of each run to encode; how many it ranks says its own ``limit``.
        given: ``requests``, ``splits`` and ``model`` of runs that do not say otherwise.

    Raises:
        InputError: as of `plan`, and a plan that is none.
    """
    planned: dict[str, Planned] = {}
    entries = open_plan(plan_file, given, project=project, settings=settings or [], say=say)
    for entry in entries:
        own: Mapping[str, Any] = entry.given
        planned[entry.name] = plan(
            entry.opened,
            tokens_per_second=tokens_per_second,
            price=price,
            requests=own.get("requests"),
            splits=own.get("splits"),
            limit=limit,
            most=own.get("limit"),
            model=own.get("model"),
            say=say,
        )
    tokens = together(each.all.tokens for each in planned.values())
    needed = Needed(tokens, tokens_per_second, price)
    day = None
    if candidates_per_day is not None:
        if candidates_per_day < 1:
            raise InputError(f"candidates a day: {candidates_per_day}; give 1 or more")
        day = Needed(tokens.of_candidates(candidates_per_day), tokens_per_second, price)
    sampled = sum(each.sampled for each in planned.values())
    return planned, Planned("all runs", sampled, needed, day)
