"""What stands out in a report, in words: slices that depart from the others, and drift."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from promptrank.evaluation.drift_rows import TRAINING, WEEK, Drift
from promptrank.evaluation.report import Report, ReportSlice
from promptrank.evaluation.report_numbers import number
from promptrank.evaluation.report_rows import Difference

_MOST = 4  # slices that one line names


def departures(report: Report) -> Iterator[str]:
    """Lines for each slicing of which slices depart clear of 0, and one for drift."""
    judged = report.judged or report.reference
    for by in dict.fromkeys(part.by for part in report.slices):
        parts = [part for part in report.slices if part.by == by]
        beside = {part.name: part.beside for part in parts if part.beside is not None}
        yield from _line(f"{report.metrics[0]} of {judged} by {by}", beside, _apart)
        promised = {part.name: gap for part in parts if (gap := _broken(part, judged)) is not None}
        said = {part.name: _said(part, judged) for part in parts}
        what = f"probabilities of {judged} by {by}"
        yield from _line(what, promised, _promise, said)
    if report.drift is not None:
        yield from drift_lines(report.drift)


def _line(
    what: str,
    gaps: Mapping[str, Difference],
    told: Callable[[Difference], str],
    more: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """One line that names the slices whose gaps are clear of 0, the largest first."""
    clear = sorted(
        (name for name, gap in gaps.items() if gap.verdict), key=lambda n: -abs(gaps[n].value)
    )
    if not clear:
        return
    each = [f"{name}: {(more or {}).get(name, '')}{told(gaps[name])}" for name in clear[:_MOST]]
    rest = f"; and {len(clear) - _MOST} more" if len(clear) > _MOST else ""
    yield (
        f"{what}: {'; '.join(each)}{rest} "
        f"(less the median of the other slices; corrected for {len(gaps)})"
    )


def _broken(part: ReportSlice, judged: str) -> Difference | None:
    """How far a slice's promises depart from the others', named where they are wrong by themselves.

    Of two slices each departs from the other, and one of them may be as it should be.
    """
    row = next((row for row in part.rankers if row.name == judged), None)
    if part.promised is None or row is None or row.calibration is None:
        return part.promised
    own = row.calibration
    if own.observed in (0, 1):  # labels are all alike, such as those of sampled negatives
        return replace(part.promised, verdict=None)
    wrong = own.low is not None and own.high is not None and not own.low <= 0 <= own.high
    if wrong and own.gap * part.promised.value > 0:
        return part.promised
    return replace(part.promised, verdict=None)


def _said(part: ReportSlice, judged: str) -> str:
    """``said .710, happened .580, ``."""
    row = next((row for row in part.rankers if row.name == judged), None)
    if row is None or row.calibration is None:
        return ""
    each = row.calibration
    return f"said {number(each.predicted)}, happened {number(each.observed)}, "


def _promise(gap: Difference) -> str:
    """``.120 too high beside the others (+.080 to +.160)``."""
    side = "high" if gap.value > 0 else "low"
    return f"{number(abs(gap.value))} too {side} beside the others ({_ends(gap)})"


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
