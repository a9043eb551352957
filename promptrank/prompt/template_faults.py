"""What went wrong in a template, as the error of a row: where, what, and what to do."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import jinja2

from promptrank.errors import RowError
from promptrank.prompt.printing import NotPlain, NotText, TooLong, text_of
from promptrank.prompt.sandbox import Absent
from promptrank.prompt.template_checks import GIVEN


def row_error(
    file: str, block: str, paths: Iterable[str], values: Mapping[str, Any], error: Exception
) -> RowError:
    """``undefined``, ``null``, ``not_plain``, ``too_long_text`` or ``template``.

    Args:
        file: of the template that the block stands in.
        paths: of the values that the block reads, such as ``item.title``.
        values: what the block was given.
        error: what rendering raised.
    """
    where = f"template {file}, block {block}{_line(error, file)}"
    if isinstance(error, NotText):
        name: str | None = error.name
        if error.name.partition(".")[0] not in GIVEN[block]:
            name = _null(paths, values) or name
        what = f"{name or 'an expression'} is {error}"
        if isinstance(error, NotPlain):
            return RowError("not_plain", f"{where}: {what}")
        name = name or "x"
        return RowError(
            "null",
            f"{where}: {what}; guard it: {{% if {name} is not none %}}...{{% endif %}}, or "
            f'{{{{ {name} or "unknown" }}}}',
        )
    if isinstance(error, TooLong):
        return RowError("too_long_text", f"{where}: {error}; shorten the field in the data")
    if isinstance(error, jinja2.UndefinedError):
        return RowError(
            "undefined", f"{where}: {_absent(paths, values, error.message or '')}{error.message}"
        )
    if isinstance(error, RecursionError):
        return RowError("template", f"{where}: a macro calls itself without end")
    return RowError("template", f"{where}: {str(error) or type(error).__name__}")


def _absent(paths: Iterable[str], values: Mapping[str, Any], message: str) -> str:
    """``item.titel: ``: the path that stands in the template; "" where the data gave the name."""
    named = re.match(r"no field '(\w+)'", message)
    for path in sorted(paths) if named else ():
        root, _, field = path.rpartition(".")
        there = values.get(root)
        if named and field == named[1] and isinstance(there, Mapping) and field not in there:
            return f"{path}: "
    return ""


def _null(paths: Iterable[str], values: Mapping[str, Any]) -> str | None:
    """The first path of the block whose value cannot be written out."""
    for path in sorted(paths):
        root, _, name = path.partition(".")
        value = values.get(root, "")
        if name:
            value = value.get(name, "") if isinstance(value, Mapping) else ""
        try:
            if not isinstance(value, Absent):
                text_of(value)
        except NotText:
            return path
    return None


def _line(error: Exception, block_file: str) -> str:
    """``, line 3``: where the template was when it failed; "" where that is not known."""
    at_line, frame = "", error.__traceback__
    while frame is not None:
        made = frame.tb_frame.f_globals
        lines = made.get("debug_info") if "blocks" in made else None
        if isinstance(lines, str) and lines:
            pairs = [tuple(map(int, pair.split("="))) for pair in lines.split("&")]
            line = max(((at, line) for line, at in pairs if at <= frame.tb_lineno), default=(0, 0))
            file = made.get("name")
            other = f" of {file}" if file != block_file else ""
            at_line = f", line {line[1]}{other}" if line[1] else at_line
        frame = frame.tb_next
    return at_line
