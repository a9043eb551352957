"""``report``: a report read from its JSON, as a page to read."""

from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.paths import expanded
from promptrank.runs.outputs import check_output, taken

if TYPE_CHECKING:
    from promptrank.evaluation.report import Report


def report(file: str | Path, *, out: str | Path | None = None) -> "Report":
    """Read a report that any verb wrote as JSON.

    Args:
        out: where to write it as one HTML file that needs nothing else, the same page that
            ``evaluate`` writes.

    Raises:
        DataError: no report; the message lists what is wrong with the file.
        InputError: a place that cannot be written to.
    """
    from promptrank.evaluation.page.page import write_page
    from promptrank.evaluation.report_file import read_report

    # The page may well stand beside the JSON, under the same name: nothing of it is overwritten.
    path = None if out is None else check_output(out, (".html",))
    with taken(path, "report"):
        made = read_report(expanded(file))
        if path is not None:
            write_page(made, path)
    return made
