"""Error rows, and errors that end a run, without what they quote of people's data.

A run's files are read by more people than its tables are, and are kept for long. Which request,
candidate, template and line it is about stays, so that whoever may see the data finds it.
"""

import os
import re
from dataclasses import replace

from promptrank.errors import ErrorRow, InputError

CUT = "(what the data says is left out; --with-text keeps it)"
_AT = " block "
_KNOWN = (
    "bad_adapter",
    "bad_answers",
    "candidate_too_long",
    "duplicate_candidate",
    "empty_question",
    "fusion_not_a_number",
    "future_history",
    "item_not_found",
    "killed_engine",
    "killed_the_process",
    "no_candidates",
    "no_prompt",
    "no_score",
    "not_a_number",
    "not_plain",
    "null",
    "null_key",
    "odd_answer",
    "prefix_too_long",
    "purged",
    "scattered",
    "score_undefined",
    "too_long",
    "too_long_text",
    "torn_request",
    "unknown_token",
)
"""Reasons whose messages hold ids, names and counts alone."""
_LABELS = {
    "unknown_label": "no answer has the label of an outcome; add it to an answer's labels",
    "unknown_answer": "an outcome of the history is no answer of the question of the history",
}
"""Reasons whose messages quote an outcome as the data has it -> what is said in their place."""
_TEMPLATE = ("template", "undefined")
_ENGINE = ("engine_error", "out_of_memory")
_RAISED = re.compile(
    r"(?P<before>.*? raised \w+)(?P<said>: .*)?(?P<after>, \d+ times when .*)", re.DOTALL
)
_TYPES = re.compile(
    r"(?P<where>.*: )?(expected [a-z ]+, got \w+|not an object|expected a list of events"
    r"|its fields are no object|no item_id|half a character \(a lone surrogate\))"
)
_SIZES = re.compile(
    r"(?P<where>(?:[a-z_]+(?:\[\d+\])?: )+)-?(?:inf|\d[\d.e+-]*) "
    r"(?P<what>is (?:less than 0|not finite|not a whole number|not above 0 and at most 1))\b.*"
)
"""A number of the data, and what it is; fields and places before it."""
_JSON = re.compile(
    r"(?P<where>.*?:\d+: not JSON in UTF-8) \((?:"
    r"'utf-8' codec can't decode bytes? .* in position (?P<byte>\d+)(?:-\d+)?: [a-z ]+"
    r"|(?P<said>Expecting value|Expecting '[,:]' delimiter|Extra data"
    r"|Expecting property name enclosed in double quotes|Unterminated string starting at"
    r"|Illegal trailing comma before end of (?:array|object)|Invalid control character at"
    r"|Invalid \\(?:escape|uXXXX escape)(?:: )?): (?P<place>line \d+ column \d+) \(char \d+\))\)"
)
"""What Python says of a line: its own words and places, and one byte that is left out."""
_ABSENT = re.compile(r"[a-z_]+(?:\.\w+)+: no field '\w+'")
"""As `promptrank.prompt.template_faults` names a field that stands in the template itself."""
_PLACE = re.compile(r"(?P<where>.*?:\d+|[a-z_]+(\[\d+\])?): .*", re.DOTALL)
_QUOTED = re.compile(r"""(?<!\w)['"](?:.*['"](?!\w)|.*)""", re.DOTALL)


def without_text(row: ErrorRow) -> ErrorRow:
    """The row; of its message what may quote the data is left out."""
    reason = row.reason.removeprefix("event_")
    if reason in _KNOWN:
        return row
    if reason in _LABELS:
        message = f"{_LABELS[reason]} {CUT}"
    elif reason in _TEMPLATE:
        message = _of_a_template(row.message)
    elif reason in _ENGINE:
        message = _of_an_engine(row.message)
    elif reason == "bad_row":
        message = _of_a_bad_row(row.message)
    else:
        message = f"{row.reason}: docs/reference/errors.md says what it means {CUT}"
    return replace(row, message=message)


def error_words(error: BaseException, *, with_text: bool = False) -> str:
    """What an error says that ended a run, in one line.

    What stands in quotation marks may be a value of the data, and is left out; of errors that are
    not our own the type stays, and of the system's the file too.

    Args:
        with_text: all of it.
    """
    if isinstance(error, OSError) and error.errno is not None:
        names = [os.fsdecode(n) for n in (error.filename,) if isinstance(n, str | bytes)]
        return ": ".join([*names, os.strerror(error.errno)])
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text if with_text else _QUOTED.sub("'...'", text)
    return f"{type(error).__name__}: {text}" if with_text else type(error).__name__


def _of_a_template(message: str) -> str:
    # "template likes.j2, block candidate, line 3: could not convert string to float: 'Ann'"
    where, block, more = message.partition(_AT)
    place, _, said = more.partition(": ")
    where = f"{where}{block}{place}" if block else "a template"
    if block and (absent := _ABSENT.match(said)):
        return f"{where}: {absent[0]}"
    return f"{where}: it fails {CUT}"


def _of_an_engine(message: str) -> str:
    """Which kind of error it raised, and not what that error says."""
    raised = _RAISED.fullmatch(message)
    if raised is None:
        return message  # our own words: what does not fit, and how large it is
    cut = f" {CUT}" if raised["said"] else ""
    return f"{raised['before']}{cut}{raised['after']}"


def _of_a_bad_row(message: str) -> str:
    # "history[2]: time: expected a number, got str", "weight: -1 is less than 0"
    if _TYPES.fullmatch(message):
        return message
    if size := _SIZES.fullmatch(message):
        return f"{size['where']}it {size['what']} {CUT}"
    if line := _JSON.fullmatch(message):
        byte, said = line["byte"], line["said"]
        told = f"byte {byte}" if byte is not None else f"{said.rstrip(': ')}: {line['place']}"
        return f"{line['where']} ({told})"
    place = _PLACE.fullmatch(message)
    return f"{place['where'] if place else 'a row'}: it cannot be read {CUT}"
