"""How long work tells what it does: a sentence at a time, and how far it is."""

from collections.abc import Callable

Say = Callable[[str], None]
"""Takes one sentence for a person."""
Progress = Callable[[int, int | None], None]
"""Takes (done, total); the total is None where nobody knows it."""


def silent(message: str) -> None:
    """A `Say` that says nothing."""


def no_progress(done: int, total: int | None) -> None:
    """A `Progress` that shows nothing."""
