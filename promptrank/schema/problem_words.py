"""What is wrong with a value of a YAML file, in our own words: what was expected, what is there.

pydantic speaks of "inputs", "dictionaries" and "instances" to people who write keys and values.
"""

from collections.abc import Mapping
from typing import Any

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list: each entry after a dash, or all in [ ]",
    "tuple_type": "a list: each entry after a dash, or all in [ ]",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "nothing",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "string_too_long": "at most {max_length} characters",
    "too_long": "at most {max_length} entries",
}
"""Type of a problem -> what was expected, with what pydantic knows of the limits."""
_NAMES = {
    r"^[a-z][a-z0-9_]*$": "small letters, digits and underscores, the first a letter",
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": (
        "up to 100 letters, digits, dots, dashes and underscores, the first a letter or digit"
    ),
}
"""Pattern of a name -> what it says."""


def problem_words(problem: Mapping[str, Any], value: str) -> str:
    """A problem that pydantic has found, without where it is.

    Args:
        problem: an entry of ``ValidationError.errors()``.
        value: what stands there, shortened.
    """
    kind, limits = problem["type"], problem.get("ctx") or {}
    if kind == "string_pattern_mismatch" and limits["pattern"] in _NAMES:
        return f"expected {_NAMES[limits['pattern']]}, got {value}"
    if kind == "string_too_short":
        return "is empty; write something, or leave the key out"
    if kind == "too_short":
        least = limits["min_length"]
        return f"has {limits['actual_length']} entries; give {least} or more"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format(**limits)}, got {value}"
    return f"{problem['msg']}, got {value}"
