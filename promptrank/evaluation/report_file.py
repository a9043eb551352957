"""Reports read back from their JSON."""

from pathlib import Path

from promptrank.basics.json_files import checked, read_json
from promptrank.errors import DataError, InputError
from promptrank.evaluation.metrics import parse_metrics
from promptrank.evaluation.report import Report


def read_report(path: Path) -> Report:
    """A report from the JSON file that `write_report` wrote.

    Raises:
        DataError: not there, or no report; the message lists what is wrong with it.
    """
    again = "make it again with `promptrank eval TASK --out FILE`"
    report = checked(Report, read_json(path, then=again), path, what="a report", then=again)
    names = {row.name for row in report.rankers}
    wanted = {report.reference, report.judged or report.reference}
    lacking = sorted(f"ranker {name!r}" for name in wanted - names)
    lacking += [
        f"{metric} of {row.name!r}"
        for row in report.rankers
        for metric in report.metrics
        if metric not in row.cells
    ]
    try:
        if report.metrics:
            parse_metrics(report.metrics)
    except InputError as error:
        lacking.append(str(error))
    if lacking:
        raise DataError(f"{path}: no whole report: {'; '.join(lacking[:5])}; {again}")
    return report
