"""Off-policy estimates in a few lines, for a terminal."""

from collections.abc import Iterator

from promptrank.evaluation.off_policy_rows import Amount, OffPolicy, PolicyRow


def off_policy_lines(earned: OffPolicy) -> Iterator[str]:
    """What the log earned, what the reference would have, and the best of the others."""
    lost = f", {earned.left_out:,} requests left out" if earned.left_out else ""
    yield (
        f"off-policy, gain per request: the log itself earned {amount_text(earned.logged)} on "
        f"{earned.places:,} places of {earned.requests:,} requests{lost}"
    )
    first, *others = earned.rankers
    yield _line(first, earned)
    best = max(others, key=_value, default=None)
    if best is not None:
        yield f"the best of the others: {_line(best, earned)}"
    yield from earned.notes


def _line(row: PolicyRow, earned: OffPolicy) -> str:
    named = (("dr", row.dr), ("snips", row.snips), ("ips", row.ips))
    values = ", ".join(f"{name} {amount_text(each)}" for name, each in named if each is not None)
    lift = f"; {amount_text(row.lift, '+')} to the log" if row.lift is not None else ""
    clipped = f", {row.clipped:,} clipped at {earned.clip:g}" if earned.clip is not None else ""
    return (
        f"{row.name} would earn {values}{lift}; effective sample {row.effective:,.0f} of "
        f"{earned.places:,} places, largest weight {row.largest_weight:,.1f}{clipped}"
    )


def _value(row: PolicyRow) -> float:
    return (row.dr or row.snips or row.ips).value


def amount_text(amount: Amount, sign: str = "") -> str:
    """``0.41 (0.398 to 0.426)``."""
    text = f"{amount.value:{sign}.3g}"
    if amount.low is None or amount.high is None:
        return text
    return f"{text} ({amount.low:{sign}.3g} to {amount.high:{sign}.3g})"
