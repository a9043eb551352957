"""``simulate``: a seeded marketplace in a folder, with its truth and its best possible AUC."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.simulation.switches import Switches


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulation that was written.

    Attributes:
        path: the folder.
        report: what ``report.json`` holds.
    """

    path: Path
    report: dict[str, Any]


def simulate_jobs(
    out: str | Path, switches: Switches | None = None, *, say: Say = silent
) -> Simulated:
    """Write a jobs marketplace (docs/reference/simulation.md) to the folder ``out``.

    A folder that holds a marketplace already is replaced.

    Raises:
        InputError: a switch out of range, or a folder that holds something else.
    """
    from promptrank.simulation.marketplace import make_marketplace, write_marketplace

    chosen = switches if switches is not None else Switches()
    say(f"simulating {chosen.members:,} members")
    path = expanded(out)
    with owned(path, "simulate"):
        made = make_marketplace(chosen)
        write_marketplace(made, path)
    return Simulated(path, made.report)
