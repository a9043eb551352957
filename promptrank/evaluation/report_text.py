"""A report for people: rich tables for a terminal, markdown for a file."""

from collections.abc import Iterator, Mapping, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from promptrank.evaluation.off_policy_text import off_policy_lines
from promptrank.evaluation.report import Cell, Difference, Report, ReportSlice, Survival

_GAP = 2  # terminal cells between columns
DETECTABLE = "that such data marks four times in five"
_WHOLE = 100_000  # wider than any row of a markdown table
MARK = {"better": "▲", "worse": "▼", None: " "}
STYLE = {"better": "green", "worse": "red", None: ""}

Columns = dict[str, list[Text]]


def table(report: Report, width: int = 100) -> RenderableType:
    """The whole report for a terminal of ``width`` cells; metrics that do not fit go below."""
    names = [ranker.name for ranker in report.rankers]
    values = {m: [_value(ranker.cells[m]) for ranker in report.rankers] for m in report.metrics}
    parts = _tables("ranker", names, values, width)
    if len(names) > 1:
        others = report.rankers[1:]
        gaps = {m: [_gap(ranker.differences.get(m)) for ranker in others] for m in report.metrics}
        parts += _tables("difference", names[1:], gaps, width)
        parts.append(
            Text(
                f"Differences are to {names[0]}, paired. {marks_text(report)}\nshows: the smallest "
                f"difference {DETECTABLE}.\n",
                style="dim",
            )
        )
    if report.pairs:
        both = [f"{pair.name} - {pair.against}" for pair in report.pairs]
        gaps = {m: [_gap(pair.differences.get(m)) for pair in report.pairs] for m in report.metrics}
        parts += _tables("paired", both, gaps, width)
    for part in report.slices:
        parts += _slice_tables(part, report.metrics, width)
    return Group(*parts, *(Text(line) for line in facts(report)))


def marks_text(report: Report) -> str:
    """What the marks mean, and for how many comparisons intervals of differences are corrected."""
    marks, others = f"▲ better, ▼ worse than {report.reference}", len(report.rankers) - 1
    if others > 1:
        return f"{marks}, by intervals corrected for {others} comparisons."
    return f"{marks}, where the interval leaves out 0."


def _slice_tables(part: ReportSlice, metrics: Sequence[str], width: int) -> list[RenderableType]:
    names = [ranker.name for ranker in part.rankers]
    values = {m: [_value(ranker.cells[m]) for ranker in part.rankers] for m in metrics}
    parts: list[RenderableType] = [Text(slice_text(part), style="bold")]
    parts += _tables("ranker", names, values, width)
    if len(names) > 1:
        others = part.rankers[1:]
        gaps = {m: [_gap(ranker.differences.get(m)) for ranker in others] for m in metrics}
        parts += _tables("difference", names[1:], gaps, width)
    return parts


def slice_text(part: ReportSlice) -> str:
    """Which slice it is, and how much of everything it has."""
    c = part.counts
    return (
        f"{part.by} {part.name}: {c.subjects:,} subjects, {c.requests:,} requests, "
        f"{c.candidates:,} candidates, {c.positives:,} of them relevant"
    )


def markdown(report: Report) -> str:
    """The same as text that reads well raw and rendered."""
    metrics = report.metrics
    lines = [f"**{report.verdict.text}**", ""] if report.verdict is not None else []
    lines += markdown_table(
        ["ranker", *metrics],
        [
            [ranker.name, *(cell_text(ranker.cells[m]) for m in metrics)]
            for ranker in report.rankers
        ],
    )
    others = report.rankers[1:]
    if others:
        lines += ["", f"Difference to {report.reference}, paired{_corrected(report)}:", ""]
        lines += markdown_table(
            ["ranker", *metrics],
            [
                [ranker.name, *(_difference_text(ranker.differences, m) for m in metrics)]
                for ranker in others
            ],
        )
    for pair in report.pairs:
        lines += ["", f"{pair.name} minus {pair.against}, paired:", ""]
        row = [_difference_text(pair.differences, m) for m in metrics]
        lines += markdown_table(metrics, [row])
    for part in report.slices:
        lines += ["", f"{slice_text(part)}:", ""]
        lines += markdown_table(
            ["ranker", *metrics],
            [[r.name, *(cell_text(r.cells[m]) for m in metrics)] for r in part.rankers],
        )
        lines += ["", f"Difference to {report.reference} there, paired:", ""]
        lines += markdown_table(
            ["ranker", *metrics],
            [
                [r.name, *(_difference_text(r.differences, m) for m in metrics)]
                for r in part.rankers[1:]
            ],
        )
    return "\n".join([*lines, "", *(f"- {line}" for line in facts(report)), ""])


def _corrected(report: Report) -> str:
    others = len(report.rankers) - 1
    return f", intervals corrected for {others} comparisons a metric" if others > 1 else ""


def facts(report: Report, *, short: bool = False) -> Iterator[str]:
    """One sentence a line: what was compared, what was left out, and why a number is missing.

    Args:
        short: leave out why numbers are missing, and cuts where nothing was cut.
    """
    c = report.counts
    yield (
        f"{c.subjects:,} subjects, {c.requests:,} requests, {c.candidates:,} candidates, "
        f"{c.positives:,} of them relevant; {report.level:.0%} intervals from {report.draws:,} "
        "draws of whole subjects"
    )
    if c.unlabelled:
        yield f"{c.unlabelled:,} candidates without a label are left out"
    if c.left_out:
        lost = {ranker.name: ranker.unscored for ranker in report.rankers if ranker.unscored}
        yield (
            f"{c.left_out:,} labelled candidates are left out for all rankers, because some ranker "
            f"has no score for them ({_counted(lost)}); {c.partial_requests:,} requests are partial"
        )
    if report.seen is not None:
        s = report.seen
        yield (
            f"seen in training: {_share(s.subjects_seen, s.subjects)} of the subjects, "
            f"{_share(s.items_seen, s.items)} of the items"
        )
    if report.survival is not None:
        yield survival_text(report.survival)
    if report.off_policy is not None:
        yield from off_policy_lines(report.off_policy)
    if report.absent and short:
        each = (f"{name} ({reason})" for name, reason in report.absent.items())
        yield f"not compared: {'; '.join(each)}"
    elif not short:
        yield from (f"{name} is not compared: {why}" for name, why in report.absent.items())
        yield from _reasons(report)
    if any(report.cuts.values()) or (report.cuts and not short):
        yield f"cut from prompts: {_counted(report.cuts)}"
    if report.errors:
        yield f"errors: {_counted(report.errors)}"
    yield from report.notes


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


def _tables(first: str, names: list[str], columns: Columns, width: int) -> list[RenderableType]:
    """As many tables as it takes to show all columns side by side."""
    room = width - max(map(len, [first, *names])) - _GAP
    blocks: list[Columns] = [{}]
    left = room
    for name, cells in columns.items():
        lines = [line for cell in cells for line in cell.plain.split("\n")]
        need = max(map(len, [name, *lines])) + _GAP
        if need > left and blocks[-1]:
            blocks.append({})
            left = room
        blocks[-1][name] = cells
        left -= need
    return [grid(first, names, block) for block in blocks]


def grid(first: str, names: list[str], columns: Columns) -> Table:
    """One table: a column of names, the columns, and an empty line below."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    made.add_column(first, no_wrap=True)
    for name in columns:
        made.add_column(name, justify="right", no_wrap=True)
    for i, name in enumerate(names):
        made.add_row(Text(name), *(cells[i] for cells in columns.values()))
    made.add_row()
    return made


def _value(cell: Cell) -> Text:
    if cell.value is None:
        return Text("-", style="dim")
    text = Text(number(cell.value), style="bold")
    if cell.low is not None and cell.high is not None:
        text.append(f"\n{number(cell.low)}-{number(cell.high)}", style="not bold dim")
    return text


def _gap(difference: Difference | None) -> Text:
    if difference is None:
        return Text("-", style="dim")
    text = Text(f"{number(difference.value, '+')}{MARK[difference.verdict]}")
    text.stylize(STYLE[difference.verdict])
    if difference.ends is not None:
        text.append(f"\n{' '.join(number(end, '+') for end in difference.ends)}", style="dim")
    if difference.detectable is not None:
        text.append(f"\nshows {number(difference.detectable)}", style="dim")
    return text


def cell_text(cell: Cell) -> str:
    """``.782 (.732-.823)``; a dash where there is no value."""
    if cell.value is None:
        return "-"
    if cell.low is None or cell.high is None:
        return number(cell.value)
    return f"{number(cell.value)} ({number(cell.low)}-{number(cell.high)})"


def _difference_text(differences: Mapping[str, Difference], metric: str) -> str:
    difference = differences.get(metric)
    if difference is None:
        return "-"
    return difference_text(difference)


def difference_text(difference: Difference) -> str:
    """``+.031 (+.010 to +.052) better``: the interval is the one that the verdict goes by."""
    text = gap_text(difference)
    return f"{text} {difference.verdict}" if difference.verdict else text


def gap_text(difference: Difference) -> str:
    """The same without the verdict."""
    text = number(difference.value, "+")
    if difference.ends is not None:
        text += f" ({' to '.join(number(end, '+') for end in difference.ends)})"
    return text


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


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a markdown table, aligned, so that it reads well raw too."""
    grid = Table(box=box.MARKDOWN)
    for name in head:
        grid.add_column(Text(name))
    for row in rows:
        grid.add_row(*map(Text, row))
    console = Console(width=_WHOLE, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(grid)
    return [line for line in captured.get().splitlines() if line.strip()]


def number(value: float, sign: str = "") -> str:
    """``.668``, ``1.204``, with sign ``+.089``; the leading 0 is dropped to save room."""
    text = f"{value:{sign}.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else "none"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
