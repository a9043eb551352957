"""Where in a template a problem is: read from how our own messages name the place."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# As `load_template`, `row_error` and `validate` begin their messages.
_LINE = re.compile(r"(?:template )?(?P<file>[^\s:,][^:,]*):(?P<line>\d+): ")
_BLOCK = re.compile(
    r"(?:.*? )?template (?P<file>[^:,]+), block (?P<block>\w+)"
    r"(?:, line (?P<line>\d+)(?: of (?P<other>[^:,]+))?)?"
)
_MOST = 1000  # characters of a message that are looked at; the place stands at its beginning
_PATH = re.compile(r"\b[a-z_]+\.\w+")
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
    problem = problem[:_MOST]
    if at := _LINE.match(problem):
        return TemplatePlace(at["file"], int(at["line"]))
    if at := _BLOCK.match(problem):
        file = at["other"] or at["file"]
        if at["line"]:
            return TemplatePlace(file, int(at["line"]))
        names = _PATH.findall(problem[at.end() :])
        return TemplatePlace(file, _line_of(sources.get(file, ""), at["block"], names))
    if at := _WHOLE.match(problem):
        return TemplatePlace(at["file"], None)
    return None


def _line_of(source: str, block: str, names: Sequence[str]) -> int | None:
    """Where the block first uses one of the names, such as ``item.titel``; else its own line."""
    opening = re.search(r"\{%[-+]?\s*block\s+" + re.escape(block) + r"\b", source)
    if opening is None:
        return None
    closing = re.compile(r"\{%[-+]?\s*endblock\b").search(source, opening.end())
    end = closing.start() if closing is not None else len(source)
    uses = (source.find(name, opening.end(), end) for name in names)
    at = min((use for use in uses if use >= 0), default=opening.start())
    return source.count("\n", 0, at) + 1
