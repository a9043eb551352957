"""Reports read back from their JSON."""

from pathlib import Path

from promptrank.basics.json_files import checked, read_json
from promptrank.evaluation.report import Report


def read_report(path: Path) -> Report:
    """A report from the JSON file that `write_report` wrote.

    Raises:
        DataError: not there, or no report; the message lists what is wrong with it.
    """
    again = "make it again with `promptrank eval TASK --out FILE`"
    return checked(Report, read_json(path, then=again), path, what="a report", then=again)
