"""``promptrank precompute``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.basics.stopping import GOES_ON, if_stopped
from promptrank.cli import cache_option, options
from promptrank.cli.terminal import progress_bar, say, say_once

if TYPE_CHECKING:
    from promptrank.tables.query_log import Coverage, Head


def precompute(
    task: options.TaskName,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="A query log, .csv, .parquet or .jsonl. Else the requests."),
    ] = None,
    share: Annotated[
        float, typer.Option("--share", help="Of the traffic that the head shall be.")
    ] = 0.8,
    query: Annotated[
        str | None,
        typer.Option("--query", help="The log's column: query_id, query or text where left out."),
    ] = None,
    count: Annotated[
        str | None, typer.Option("--count", help="The log's column of how often: count.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="The log's column of when: time.")
    ] = None,
    cache: cache_option.Cache = None,
    requests: options.RequestFile = None,
    split: options.Splits = None,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    adapter: options.Adapter = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    allow_changed: options.AllowChanged = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the coverage, and score nothing.")
    ] = False,
) -> None:
    """Score the most frequent queries of a log into the score cache, before they are asked."""
    from promptrank.api.precompute import precompute as run

    with (
        if_stopped(GOES_ON),
        progress_bar("scoring the head", "requests") as progress,
    ):
        done = run(
            task,
            log,
            share=share,
            cache=cache_option.chosen(cache) or True,
            query=query,
            count=count,
            time=time,
            requests=requests,
            splits=set(split) if split else None,
            engine=engine,
            model=model,
            adapter=adapter,
            project=project,
            settings=set_,
            threads=threads,
            device=device,
            dtype=dtype,
            allow_changed=allow_changed,
            dry=dry_run,
            say=say_once(),
            progress=progress,
        )
    sys.stdout.write("".join(f"{line}\n" for line in _lines(done.coverage)))
    if dry_run:
        return
    say(f"{counted(done.requests, 'request')} of these queries are in the cache now")
    say(f"{done.hits:,} prompts were there already, {done.asked:,} were answered by the model")
    if done.without:
        say(f"{counted(done.without, 'query', 'queries')} of the head: no request is for them")
    if done.errors:
        say(f"{counted(done.errors, 'row')} could not be scored")


def _lines(coverage: "Coverage") -> Iterator[str]:
    yield (
        f"{coverage.traffic:,.0f} queries asked, {coverage.queries:,} different ones; as they are "
        "written, to the letter"
    )
    yield "most frequent      of the traffic   of later traffic"
    from promptrank.tables.query_log import SHARES

    for part, head in zip(SHARES, coverage.curve, strict=True):
        yield f"{part:4.0%} {f'({head.queries:,})':>12} {head.traffic:12.1%} {_later(head):>17}"
    head = coverage.head
    yield (
        f"{coverage.share:.0%} of the traffic: the {counted(head.queries, 'query', 'queries')} "
        f"asked most, {head.queries / coverage.queries:.1%} of the different ones"
    )
    if head.later is None:
        yield "later traffic: not known, as the log does not say when queries were asked"
    else:
        yield f"such a head of the earlier half is {head.later:.1%} of the later half"


def _later(head: "Head") -> str:
    return "-" if head.later is None else f"{head.later:.1%}"
