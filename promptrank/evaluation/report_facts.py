"""What is to be known of a report's numbers, one sentence a line."""

from collections.abc import Iterator, Mapping

from promptrank.basics.plurals import counted
from promptrank.evaluation.off_policy_text import off_policy_lines
from promptrank.evaluation.preference_rows import preference_lines
from promptrank.evaluation.report import Report
from promptrank.evaluation.report_departures import departures
from promptrank.evaluation.report_rows import Survival
from promptrank.evaluation.transfer import transfer_text

_FEW = 30  # subjects
_NAMED = 4  # slices


def facts(report: Report, *, short: bool = False) -> Iterator[str]:
    """One sentence a line: what was compared, what was left out, and why a number is missing.

    Args:
        short: leave out why numbers are missing, and cuts where nothing was cut.
    """
    c, drawn = report.counts, ""
    if c.subjects > 1 and report.draws:
        drawn = f"; {report.level:.0%} intervals from {report.draws:,} draws of whole subjects"
    yield (
        f"{counted(c.subjects, 'subject')}, {counted(c.requests, 'request')}, "
        f"{counted(c.candidates, 'candidate')}, {c.positives:,} of them relevant{drawn}"
    )
    if c.unlabelled:
        yield f"left out: {counted(c.unlabelled, 'candidate')} without a label"
    if c.left_out:
        lost = {ranker.name: ranker.unscored for ranker in report.rankers if ranker.unscored}
        labelled = counted(c.left_out, "labelled candidate")
        partial = counted(c.partial_requests, "request")
        yield (
            f"left out for all rankers: {labelled} that some ranker has no score for "
            f"({_counted(lost)})" + (f"; partial: {partial}" if c.partial_requests else "")
        )
    if report.seen is not None:
        s = report.seen
        yield (
            f"seen in training: {_share(s.subjects_seen, s.subjects)} of the subjects, "
            f"{_share(s.items_seen, s.items)} of the items"
        )
    yield from _few(report)
    yield from map(transfer_text, report.transfers)
    yield from departures(report)
    if report.survival is not None:
        yield survival_text(report.survival)
    if report.off_policy is not None:
        yield from off_policy_lines(report.off_policy)
    if report.preferences is not None:
        yield from preference_lines(report.preferences)
    if report.absent and short:
        each = (f"{name} ({reason})" for name, reason in report.absent.items())
        yield f"not compared: {'; '.join(each)}"
    elif not short:
        yield from (f"{name} is not compared: {why}" for name, why in report.absent.items())
        yield from _reasons(report)
    if any(report.cuts.values()) or (report.cuts and not short):
        yield f"cut from prompts: {_counted(report.cuts)}"
    if report.errors:
        first = "; `promptrank validate` shows the first ones" if "bad_row" in report.errors else ""
        yield f"errors: {_counted(report.errors)}{first}"
    yield from report.notes


def _few(report: Report) -> Iterator[str]:
    """Slices of which intervals say little."""
    few = [f"{part.by} {part.name}" for part in report.slices if part.counts.subjects < _FEW]
    if few:
        more = f" and {len(few) - _NAMED} more" if len(few) > _NAMED else ""
        yield (
            f"fewer than {_FEW} subjects: {', '.join(few[:_NAMED])}{more}; intervals of so few "
            "tend to be too narrow"
        )


def survival_text(survival: Survival) -> str:
    """What is left of a ranker's lift, as a sentence."""
    s = survival
    what = f"{s.metric} of {s.name}"
    if s.share is None:
        return f"{what}: {s.reason}"
    ends = ""
    if s.low is not None and s.high is not None:
        ends = f" ({s.low:.0%} to {s.high:.0%})"
    return f"{what}: {s.share:.0%}{ends} of the lift of {s.against} over chance survives"


def _reasons(report: Report) -> Iterator[str]:
    """Why a value or an interval is missing, and what a mean leaves out; like reasons together."""
    missing = dict[tuple[str, str], list[str]]()
    for metric in report.metrics:
        by_reason = dict[str, list[str]]()
        for ranker in report.rankers:
            reason = ranker.cells[metric].reason
            if reason is not None:
                by_reason.setdefault(reason, []).append(ranker.name)
        for reason, names in by_reason.items():
            who = "" if len(names) == len(report.rankers) else f" of {', '.join(names)}"
            missing.setdefault((who, reason), []).append(metric)
    for (who, reason), metrics in missing.items():
        yield f"{', '.join(metrics)}{who}: {reason}"
    left_out = dict[str, list[str]]()
    for metric, cell in report.rankers[0].cells.items():
        if cell.left_out and cell.value is not None:
            what = f"{cell.left_out:,} of {cell.used + cell.left_out:,} {cell.unit}"
            left_out.setdefault(what, []).append(metric)
    for what, metrics in left_out.items():
        yield f"{', '.join(metrics)}: {what} are left out, their labels leave it undefined"


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else "none"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
