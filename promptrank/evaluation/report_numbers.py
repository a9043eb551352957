"""How a report writes its numbers: ``.782 (.732-.823)``, ``+.031 (+.010 to +.052) better``."""

from promptrank.evaluation.report_rows import Cell, Difference


def number(value: float, sign: str = "") -> str:
    """``.668``, ``1.204``, with sign ``+.089``; the leading 0 is dropped to save room."""
    text = f"{value:{sign}.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text


def cell_text(cell: Cell) -> str:
    """``.782 (.732-.823)``; a dash where there is no value."""
    if cell.value is None:
        return "-"
    if cell.low is None or cell.high is None:
        return number(cell.value)
    return f"{number(cell.value)} ({number(cell.low)}-{number(cell.high)})"


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
