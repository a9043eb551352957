"""``promptrank simulate``: marketplaces whose truth is known."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from promptrank.cli.terminal import say, say_once
from promptrank.simulation.switches import LostAt, Rule, Switches

app = typer.Typer(
    name="simulate",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Write a seeded marketplace with its truth and the best AUC that can be reached.",
)
DEFAULT: dict[str, Any] = {field.name: field.default for field in fields(Switches)}


@app.callback()
def _group() -> None:
    """Keeps ``jobs`` a command of its own: with one command, typer would leave its name out."""


@app.command()
def jobs(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; tasks look in data/jobs.")],
    members: Annotated[int, typer.Option(help="How many.")] = DEFAULT["members"],
    seed: Annotated[int, typer.Option(help="Of all draws.")] = DEFAULT["seed"],
    position_bias: Annotated[
        float, typer.Option(help="Place k is looked at with probability k ** -this.")
    ] = DEFAULT["position_bias"],
    delay: Annotated[
        float, typer.Option(help="Mean days from being shown a job to applying.")
    ] = DEFAULT["delay"],
    false_negatives: Annotated[
        float, typer.Option(help="Share of applications that are never recorded.")
    ] = DEFAULT["false_negatives"],
    lost_at: Annotated[
        LostAt, typer.Option(help="Where they are lost: all jobs, or company_site only.")
    ] = DEFAULT["lost_at"],
    hidden: Annotated[
        float, typer.Option(help="Share of utility that nothing observable explains.")
    ] = DEFAULT["hidden"],
    affinity: Annotated[
        float, typer.Option(help="Share of utility in a number that no text shows.")
    ] = DEFAULT["affinity"],
    drift: Annotated[
        int | None, typer.Option(help="Day from which members look for lower levels.")
    ] = DEFAULT["drift"],
    cold: Annotated[
        float, typer.Option(help="Share of members who sign up in the last two weeks.")
    ] = DEFAULT["cold"],
    bad_match: Annotated[
        Rule, typer.Option(help="What makes a bad match: both, location, licence, none.")
    ] = DEFAULT["bad_match"],
    regions: Annotated[int, typer.Option(help="Number of regional markets.")] = DEFAULT["regions"],
    flip: Annotated[
        str, typer.Option(help="Region where members shun remote work; none: nowhere.")
    ] = DEFAULT["flip"],
    noise: Annotated[
        float, typer.Option(help="Share of judges' grades that are one step off.")
    ] = DEFAULT["noise"],
) -> None:
    """A jobs marketplace: members, jobs, impressions, outcomes, queries, and the truth apart.

    The same seed and switches give the same tables. docs/reference/simulation.md has the model.
    """
    from promptrank.api.simulate import simulate_jobs

    switches = Switches(
        members=members,
        seed=seed,
        position_bias=position_bias,
        delay=delay,
        false_negatives=false_negatives,
        lost_at=lost_at,
        hidden=hidden,
        affinity=affinity,
        drift=drift,
        cold=cold,
        bad_match=bad_match,
        regions=regions,
        flip=None if flip == "none" else flip,
        noise=noise,
    )
    made = simulate_jobs(out, switches, say=say_once())
    for name, count in made.report["rows"].items():
        say(f"{name}: {count:,} rows")
    for name, best in made.report["best"].items():
        text = best.get("best_auc_from_text")
        tail = f", {text:.4f} from text alone" if text is not None else ""
        say(f"best AUC for {name}: {best['best_auc']:.4f}{tail} ({best['rows']:,} rows)")
    say(f"-> {made.path}")
