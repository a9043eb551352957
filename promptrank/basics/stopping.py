"""What a person who stops work is told about going on with it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

GOES_ON = "what is finished stays, and the same command goes on with it"
"""True at any moment of work that is kept piece by piece, its first one included."""
_OVER = "nothing was written; the same command starts over"
_UNKNOWN = "what is finished stays; the same command begins again"
_KEPT = {"rank": ("--run", "--out", "-o"), "fuse": (), "precompute": (), "eval": ("--out", "-o")}
_MAY_BE_THERE = ("demo", "distill", "purge", "simulate", "train")


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


def before_work(words: Sequence[str]) -> str:
    """How a command goes on that was stopped before, or outside of, any `if_stopped`.

    Of what an earlier start has left nothing is known then, so of verbs that leave something none
    is said to have written nothing.

    Args:
        words: of the command line, without the program's name.
    """
    verb = next((word for word in words if not word.startswith("-")), "")
    given = {word.partition("=")[0] if word.startswith("--") else word[:2] for word in words}
    if verb in _KEPT and (not _KEPT[verb] or given & set(_KEPT[verb])):
        return GOES_ON
    return _UNKNOWN if verb in _MAY_BE_THERE else _OVER


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
