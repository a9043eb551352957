"""What a person who stops work is told about going on with it."""

from collections.abc import Iterator
from contextlib import contextmanager


class HowToGoOn(str):
    """A note on an error that leaves stopped work: how it is gone on with."""


@contextmanager
def if_stopped(how: str) -> Iterator[None]:
    """Whoever stops what is inside is told ``how`` to go on with it; the innermost one counts.

    It is noted on any error: libraries turn a Ctrl-C into errors of their own.
    """
    try:
        yield
    except BaseException as error:
        error.add_note(HowToGoOn(how))
        raise


def how_to_go_on(error: BaseException) -> str | None:
    """What the innermost `if_stopped` said, on this error or on one that led to it."""
    seen: BaseException | None = error
    for _ in range(20):
        if seen is None:
            return None
        for note in getattr(seen, "__notes__", ()):
            if isinstance(note, HowToGoOn):
                return str(note)
        seen = seen.__cause__ or seen.__context__
    return None
