"""Off-policy estimates in a few lines, for a terminal."""

from collections.abc import Iterator
from textwrap import wrap

from promptrank.basics.plurals import counted
from promptrank.evaluation.off_policy_rows import Amount, OffPolicy, PolicyRow

_WIDTH = 110


def off_policy_lines(earned: OffPolicy) -> Iterator[str]:
    """What the log earned, what the reference would have, and the best of the others."""
    lost = f" ({counted(earned.left_out, 'request')} left out)" if earned.left_out else ""
    yield (
        f"off-policy, gain per request: the log itself earned {amount_text(earned.logged)} on "
        f"{counted(earned.places, 'place')} of {counted(earned.requests, 'request')}{lost}"
    )
    first, *others = earned.rankers
    yield from _lines(first, earned)
    best = max(others, key=_value, default=None)
    if best is not None:
        yield from _lines(best, earned, ", the best of the others,")
    if len(earned.rankers) > 1:
        yield f"  intervals above the log are corrected for {len(earned.rankers)} rankers"
    for note in earned.notes:
        yield from wrap(note, _WIDTH, subsequent_indent="  ")


def _lines(row: PolicyRow, earned: OffPolicy, who: str = "") -> Iterator[str]:
    """Two lines: what to go by, and how far to trust it."""
    named = (("dr", row.dr), ("snips", row.snips), ("ips", row.ips))
    (name, first), *others = [(name, each) for name, each in named if each is not None]
    lift = f": {amount_text(row.lift, '+')} above the log" if row.lift is not None else ""
    yield f"  {row.name}{who} would earn {amount_text(first)} by {name}{lift}"
    beside = [f"{other} {amount_text(each)}" for other, each in others]
    clipped = [f"{row.clipped:,} clipped at {earned.clip:g}"] if earned.clip is not None else []
    worth = f"worth {row.effective:,.0f} of {counted(earned.places, 'place')}"
    facts = [worth, f"largest weight {row.largest_weight:,.1f}", *clipped, *beside]
    yield f"    {', '.join(facts)}"


def _value(row: PolicyRow) -> float:
    return (row.dr or row.snips or row.ips).value


def amount_text(amount: Amount, sign: str = "") -> str:
    """``0.41 (0.398 to 0.426)``."""
    text = f"{amount.value:{sign}.3g}"
    if amount.low is None or amount.high is None:
        return text
    return f"{text} ({amount.low:{sign}.3g} to {amount.high:{sign}.3g})"
