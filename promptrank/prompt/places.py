"""Where in a template a problem is: read from how our own messages name the place."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# As `load_template`, `row_error` and `validate` begin their messages.
_LINE = re.compile(r"(?:template )?(?P<file>[^\s:,][^:,]*):(?P<line>\d+): ")
_BLOCK = re.compile(
    r"(?:.*? )?template (?P<file>[^:,]+), block (?P<block>\w+)"
    r"(?:, line (?P<line>\d+)(?: of (?P<other>[^:,]+))?)?"
)
_WHOLE = re.compile(r"template (?P<file>[^:,]+): ")


@dataclass(frozen=True, slots=True)
class TemplatePlace:
    """A place in a template.

    Attributes:
        line: counted from 1; None where only the file is known.
    """

    file: str
    line: int | None


def place_of(problem: str, sources: Mapping[str, str]) -> TemplatePlace | None:
    """The place that a problem names; None where it is about no template.

    Args:
        sources: file -> text; where only a block is named, its line is looked up there.
    """
    if at := _LINE.match(problem):
        return TemplatePlace(at["file"], int(at["line"]))
    if at := _BLOCK.match(problem):
        file = at["other"] or at["file"]
        line = int(at["line"]) if at["line"] else block_line(sources.get(file, ""), at["block"])
        return TemplatePlace(file, line)
    if at := _WHOLE.match(problem):
        return TemplatePlace(at["file"], None)
    return None


def block_line(source: str, block: str) -> int | None:
    """The line in which a block begins."""
    at = re.search(r"\{%[-+]?\s*block\s+" + re.escape(block) + r"\b", source)
    return source.count("\n", 0, at.start()) + 1 if at is not None else None
