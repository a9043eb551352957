"""Differences of rankings in words, for `replay` and `diff`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from promptrank.basics.plurals import counted

if TYPE_CHECKING:
    from promptrank.runs.replaying import Differences
    from promptrank.runs.run_differences import RunDifferences


def difference_lines(differences: "Differences | RunDifferences") -> list[str]:
    """By how much scores differ, how many orders do, and what has no score on one side."""
    of = f"of {counted(differences.requests, 'request')}"
    lines = [
        f"  scores differ by at most {differences.largest:.2g}, by {differences.mean:.2g} on "
        f"average (allowed: {differences.tolerance:.2g})",
        f"  another first candidate in {differences.top:,} {of}, another order in "
        f"{differences.order:,}",
    ]
    if differences.gone or differences.new:
        lines.append(
            f"  without a score now: {differences.gone:,}; with one that had none: "
            f"{differences.new:,}"
        )
    return lines


def change_lines(changes: Sequence[str]) -> list[str]:
    """What of the things that make a score is another than it was."""
    if not changes:
        return ["  nothing changed since: the same task, prompts, model, adapter and engine"]
    return [f"  changed since: {change}" for change in changes]


def example_lines(examples: Sequence[str]) -> list[str]:
    """Ids of a few requests that differ."""
    return [f"  requests that differ, such as {', '.join(examples[:5])}"] if examples else []
