"""Near names for messages about what is not there."""

import difflib
from collections.abc import Iterable


def near(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or what there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, 1, 0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"there are: {shown or 'none'}"
