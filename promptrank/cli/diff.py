"""``promptrank diff``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.addresses import shown
from promptrank.basics.plurals import counted
from promptrank.cli import endings
from promptrank.cli.differences import change_lines, difference_lines, example_lines

if TYPE_CHECKING:
    from promptrank.api.diff import Compared


def diff(
    then: Annotated[
        Path,
        typer.Argument(
            help="The earlier run, or runs: a folder of `rank --run`, or a scores file."
        ),
    ],
    now: Annotated[Path, typer.Argument(help="The later run.")],
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Scores that are closer are the same.")
    ] = 1e-4,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Also write the result as JSON here.")
    ] = None,
) -> None:
    """Compare two runs; exit code 3 where scores or orders are not the same."""
    from promptrank.api.diff import diff as run
    from promptrank.api.diff import diff_runs
    from promptrank.runs.several_runs import names_of_runs

    if names_of_runs(then) and names_of_runs(now):
        several = diff_runs(then, now, tolerance=tolerance, out=out)
        same = several.same
        lines = [line for compared in several.runs.values() for line in _lines(compared)]
        lines += [f"{now} has no run {name}" for name in several.gone]
        lines += [f"{then} had no run {name}" for name in several.new]
    else:
        compared = run(then, now, tolerance=tolerance, out=out)
        same, lines = compared.differences.same, _lines(compared)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    if not same:
        raise typer.Exit(endings.UNMET)


def _lines(compared: "Compared") -> list[str]:
    apart, then, now = compared.differences, shown(compared.then), shown(compared.now)
    lines = [
        f"{now} is {'the same as' if apart.same else 'NOT the same as'} {then}: "
        f"{counted(apart.requests, 'request')}, {counted(apart.candidates, 'candidate')} in both"
    ]
    lines += difference_lines(apart)
    if apart.largest:
        lines.append(
            f"  of all candidates {apart.beyond:.2%} differ by more than is allowed, half by at "
            f"most {apart.median:.2g}, 99% by at most {apart.p99:.2g}"
        )
    if apart.rank_correlation is not None and apart.order:
        stay = f", {apart.overlap:.1%} of the first ten stay" if apart.overlap is not None else ""
        lines.append(f"  orders have a rank correlation of {apart.rank_correlation:.4f}{stay}")
    if apart.gone_requests or apart.new_requests:
        lines.append(
            f"  requests without a score now: {apart.gone_requests:,}; with one that had none: "
            f"{apart.new_requests:,}"
        )
    lines += [
        f"  label mass of {name}: {_mass(was)}, now {_mass(now)}"
        for name, (was, now) in apart.label_mass.items()
    ]
    if len(apart.parts) > 1:
        lines += [
            f"  {name}: scores differ by at most {part.max_difference:.2g}, by "
            f"{part.mean_difference:.2g} on average; another first candidate in "
            f"{part.changed_top:,} of {counted(part.requests, 'request')}"
            for name, part in apart.parts.items()
        ]
    lines += [
        f"  {counted(purged, 'candidate')} of {place} {'was' if purged == 1 else 'were'} purged"
        for place, purged in zip((then, now), compared.purged, strict=True)
        if purged
    ]
    purge_alone = apart.new <= compared.purged[0] and apart.gone <= compared.purged[1]
    if compared.unknown:
        which = " and ".join(compared.unknown)
        lines.append(f"  what changed since is not known: nothing says how {which} was made")
    elif compared.changes or purge_alone or not (apart.gone_requests or apart.new_requests):
        lines += change_lines(compared.changes)
    else:
        lines.append(
            "  the same task, prompts, model, adapter and engine, but other requests; look at "
            "--split and --limit of both"
        )
    return [*lines, *example_lines(apart.examples)]


def _mass(mass: float | None) -> str:
    return "none" if mass is None else f"{mass:.3f}"
