"""Error rows without what they quote of people's data.

A run's files are read by more people than its tables are, and are kept for long. Which request,
candidate, template and line it is about stays, so that whoever may see the data finds it.
"""

from dataclasses import replace

from promptrank.errors import ErrorRow

CUT = "(what the data says is left out; --with-text keeps it)"
_AT = " block "
_LABELS = {
    "unknown_label": "no answer has the label of an outcome; add it to an answer's labels",
    "unknown_answer": "an outcome of the history is no answer of the question of the history",
}
"""Reasons whose messages quote an outcome as the data has it -> what is said in their place."""


def without_text(row: ErrorRow) -> ErrorRow:
    """The row, without what a failing template or an unknown outcome quotes."""
    reason = row.reason.removeprefix("event_")
    if reason in _LABELS:
        return replace(row, message=f"{_LABELS[reason]} {CUT}")
    if reason == "template":
        # "template likes.j2, block candidate, line 3: could not convert string to float: 'Ann'"
        where, block, more = row.message.partition(_AT)
        if block:
            where += f"{block}{more.partition(': ')[0]}"
        else:
            where = "a template"
        return replace(row, message=f"{where}: it fails {CUT}")
    return row
