"""Near names, for messages about what is not there."""

import difflib
from collections.abc import Iterable


def near_names(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.5) -> list[str]:
    """The known names that look like ``name``, the likest first."""
    return difflib.get_close_matches(name, list(known), most, cutoff)


def near(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or what there is."""
    names = list(known)
    if close := near_names(name, names):
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown or 'none'}"
