"""A requirement's result as a line that one would say aloud."""

from promptrank.basics.plurals import counted
from promptrank.evaluation.report import RequirementResult
from promptrank.evaluation.report_numbers import number


def requirement_text(result: RequirementResult) -> str:
    """Whether it holds, what the value is beside its limit, and the interval.

    ``fails: auc .769 is below base + .01 = .775 by .006 (interval of the difference -.012 to
    +.001; 100 subjects)``
    """
    if result.holds is None:
        return f"cannot be decided: {result.text}: {result.reason}"
    assert result.value is not None and result.limit is not None
    gap = result.value - result.limit
    side = "above" if gap > 0 else "below" if gap < 0 else "exactly"
    by = f" by {_exact(abs(gap))}" if gap else ""
    text = (
        f"{'holds' if result.holds else 'FAILS'}: {metric_text(result)} {number(result.value)} is "
        f"{side} {_limit(result)}{by}"
    )
    if result.clear:
        text += _clearly(result, gap)
    aside = [] if result.low is None or result.high is None else [_interval(result)]
    if result.subjects is not None:
        aside.append(counted(result.subjects, "subject"))
    return f"{text} ({'; '.join(aside)})" if aside else text


def metric_text(result: RequirementResult) -> str:
    """``ndcg@10[history=1-2]``; reports of earlier versions have it in the text alone."""
    if result.metric is None:
        return result.text.split()[0]
    return result.metric if result.part is None else f"{result.metric}[{result.part}]"


def _limit(result: RequirementResult) -> str:
    """``.700``, ``base = .700`` or ``base + .01 = .710``."""
    assert result.limit is not None
    if result.ranker is None:
        return _exact(result.limit)
    sign = "-" if (result.margin or 0) < 0 else "+"
    margin = f" {sign} {_short(abs(result.margin))}" if result.margin else ""
    return f"{result.ranker}{margin} = {number(result.limit)}"


def _clearly(result: RequirementResult, gap: float) -> str:
    if result.holds:
        return ", clearly"
    upwards = (result.comparison or "").startswith(">")
    if result.short_by is None or (gap < 0) == upwards:
        return ""  # that the value is on the wrong side says all
    return f", not clearly: the interval is {_exact(result.short_by)} short"


def _interval(result: RequirementResult) -> str:
    assert result.low is not None and result.high is not None
    if result.ranker is None:
        return f"interval {number(result.low)} to {number(result.high)}"
    return f"interval of the difference {number(result.low, '+')} to {number(result.high, '+')}"


def _exact(value: float) -> str:
    """Three digits, or as many as it takes to see that it is not 0."""
    return number(value) if value >= 0.0005 or not value else f"{value:.1g}"


def _short(value: float) -> str:
    """``.01`` as it may have been written; the leading 0 is dropped."""
    text = f"{value:g}"
    return text.replace("0.", ".", 1) if value < 1 and "e" not in text else text
