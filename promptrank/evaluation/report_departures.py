"""What stands out in a report, in words: slices that depart from the others, and drift."""

from collections.abc import Iterator

from promptrank.evaluation.drift_rows import TRAINING, WEEK, Drift
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Difference

_MOST = 4  # slices that one line names


def departures(report: Report) -> Iterator[str]:
    """A line for each slicing of which slices depart clear of 0, and one for drift."""
    judged = report.judged or report.reference
    for by in dict.fromkeys(part.by for part in report.slices):
        yield from _slicing_line([part for part in report.slices if part.by == by], report, judged)
    if report.drift is not None:
        yield from drift_lines(report.drift)


def _slicing_line(parts: list[ReportSlice], report: Report, judged: str) -> Iterator[str]:
    named = [(part, part.beside) for part in parts if part.beside is not None]
    clear = [(part, gap) for part, gap in named if gap.verdict is not None]
    if not clear:
        return
    clear.sort(key=lambda pair: -abs(pair[1].value))
    each = [f"{part.name}: {_apart(gap)}" for part, gap in clear[:_MOST]]
    more = f"; and {len(clear) - _MOST} more" if len(clear) > _MOST else ""
    yield (
        f"{report.metrics[0]} of {judged} by {parts[0].by}: {'; '.join(each)}{more} "
        f"(less the median of the other slices; corrected for {len(named)})"
    )


def _apart(gap: Difference) -> str:
    """``.160 below the others (-.200 to -.120), worse``."""
    where = "above" if gap.value > 0 else "below"
    return f"{number(abs(gap.value))} {where} the others ({_ends(gap)}), {gap.verdict}"


def drift_lines(drift: Drift) -> Iterator[str]:
    """One line that names the rankers whose trend is clear of 0; none where no trend is."""
    shown = drift.shown
    if not shown:
        return
    each = []
    for ranker in shown:
        assert ranker.slope is not None, "as `shown` says"
        moves = "rises" if ranker.slope.value > 0 else "falls"
        size = number(abs(ranker.slope.value))
        each.append(f"{ranker.name} {moves} by {size} a week ({_ends(ranker.slope)})")
    count = len(shown[0].points)
    span = (shown[0].points[-1].start + drift.width - shown[0].points[0].start) / WEEK
    after = "after training" if drift.since == TRAINING else "of the calendar"
    judged = sum(ranker.slope is not None for ranker in drift.rankers)
    corrected = f", corrected for {judged} rankers" if judged > 1 else ""
    yield (
        f"drift: {drift.metric} of {'; '.join(each)}, over {span:.3g} weeks {after} in {count} "
        f"stretches{corrected}"
    )


def _ends(gap: Difference) -> str:
    assert gap.ends is not None, "a verdict goes by an interval"
    return " to ".join(number(end, "+") for end in gap.ends)
