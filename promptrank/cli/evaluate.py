"""``promptrank eval``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.stopping import GOES_ON, if_stopped
from promptrank.cli import cache_option, endings, options
from promptrank.cli.terminal import progress_bar, say, say_once, show
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report

_OVER = "nothing was written; with --out the same command would go on where it was"


def eval_(
    task: options.TaskName,
    out: options.PageFile = None,
    requests: options.RequestFile = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="A scores file, by whoever; nothing is scored.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="The part to evaluate. Default: test.")
    ] = None,
    limit: options.Limit = None,
    engine: options.EngineName = "packed",
    model: options.ModelName = None,
    adapter: options.Adapter = None,
    project: options.ProjectFolder = None,
    set_: options.Settings = None,
    threads: options.Threads = None,
    device: options.Device = "auto",
    dtype: options.Dtype = None,
    allow_changed: Annotated[
        bool,
        typer.Option("--allow-changed", help="Take --scores of other prompts than today's."),
    ] = False,
    cache: cache_option.Cache = None,
    vs: Annotated[
        list[str] | None,
        typer.Option(
            "--vs",
            help="Also compare with student:NAME, adapter:NAME, base, baseline:NAME, baseline:all, "
            "template:FILE, logged, scores:FILE, or rrf:decoder+bm25. Repeatable.",
        ),
    ] = None,
    obscure: Annotated[
        list[str] | None,
        typer.Option(
            "--obscure",
            help="Also rank with made-up texts in this field, such as item.title. Repeatable.",
        ),
    ] = None,
    probe: Annotated[
        list[str] | None,
        typer.Option(
            "--probe",
            help="Also rank with one thing changed: instruction, answers, history:shuffled, "
            "candidates:shuffled, sections, context, or set:KEY=VALUE. Repeatable.",
        ),
    ] = None,
    slice_: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            help="Compare again on parts: history, item_events, position, subject_seen, "
            "item_seen, days_after_training, label_source, prompt_tokens, cut, a field such as "
            "item.brand, or an expression such as 'item.year >= 1990'. Repeatable.",
        ),
    ] = None,
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 1000,
    with_text: Annotated[
        bool,
        typer.Option(
            "--with-text",
            help="Show prompts and texts in the report's examples, and in doubts; without it, "
            "ids alone.",
        ),
    ] = False,
    clip: Annotated[
        float | None,
        typer.Option("--clip", help="Largest weight of off-policy estimates. Default: none."),
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require",
            help="What must hold, such as 'auc >= base + 0.01'; exit code 3 if it does not. "
            "Repeatable.",
        ),
    ] = None,
    doubts: Annotated[
        Path | None,
        typer.Option(
            "--doubts",
            help="Write the labels that the rankers most agree to doubt here (.csv), to fill in "
            "and name under `corrections:` in the task.",
        ),
    ] = None,
    summary: Annotated[
        Path | None,
        typer.Option("--summary", help='Append it as Markdown here: "$GITHUB_STEP_SUMMARY".'),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print every interval and difference.")
    ] = False,
) -> None:
    """Rank a task's test part and compare with cheap baselines, with 95% intervals by subject.

    The first line says whether the ranker ships. Exit code 3 where a requirement fails.

    With --out the scores are kept beside the report, and a run that was stopped goes on where it
    was when the same command is given again; without it, nothing is kept.
    """
    from promptrank.api.evaluate import evaluate

    if with_text and out is None and doubts is None:
        raise InputError(
            "--with-text is about the report's examples and doubts; name a file with --out or "
            "--doubts"
        )
    if summary is not None:
        check_summary(summary)
    # With --out the scores go to a file beside the report, request by request.
    how = GOES_ON if out is not None and scores is None else ""
    with if_stopped(how or _OVER), progress_bar("ranking", "requests") as progress:
        report = evaluate(
            task,
            requests=requests,
            scores=scores,
            split=split,
            limit=limit,
            engine=engine,
            model=model,
            adapter=adapter,
            project=project,
            settings=set_,
            threads=threads,
            device=device,
            dtype=dtype,
            allow_changed=allow_changed,
            cache=cache_option.chosen(cache),
            vs=vs or (),
            obscure=obscure or (),
            probes=probe or (),
            slices=slice_ or (),
            draws=draws,
            with_text=with_text,
            clip=clip,
            require=require or (),
            doubts=doubts,
            out=out,
            say=say_once(),
            progress=progress,
        )
    show(report, full=full)
    for written in (out, summary, doubts):
        if written is not None:
            say(f"-> {written}")
    if summary is not None:
        append_summary(report, summary)
    conclude(report)


def conclude(report: "Report") -> None:
    """Exit code 3 where a requirement fails, 2 where one cannot be decided.

    Raises:
        InputError: it cannot be decided, and none fails.
    """
    from promptrank.evaluation.requirement_told import requirement_text

    if any(result.holds is False for result in report.requirements):
        if report.verdict is not None:
            say(report.verdict.text)
        raise typer.Exit(endings.UNMET)
    unknown = [requirement_text(r) for r in report.requirements if r.holds is None]
    if unknown:
        raise InputError("\n".join(unknown))


def check_summary(path: Path) -> None:
    """Refuse a place that a summary cannot be appended to, before anything is ranked.

    Raises:
        InputError: a folder, or a file in a folder that is not there.
    """
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise InputError(
            f"--summary {path}: {what}; name a file (in a GitHub workflow: $GITHUB_STEP_SUMMARY)"
        )


def append_summary(report: "Report", path: Path) -> None:
    """Append a report to a file as Markdown, in one write."""
    from promptrank.evaluation.step_summary import step_summary

    with path.open("ab") as file:
        file.write(step_summary(report).encode("utf-8", "backslashreplace"))
