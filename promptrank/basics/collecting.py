"""Python's collection of garbage during long work that makes many records and hardly any cycles."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLD = (50_000, 20, 20)
"""Objects more than there were, until the youngest are looked through; then rounds."""


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Garbage is looked for seldom, and not among what is there already.

    Records go by their counts of references as ever; what is put off are the searches for cycles,
    which would go through all requests in hand, the model and every module again and again.
    """
    threshold, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLD)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        if not frozen:  # else somebody else did, for as long as the process lives
            gc.unfreeze()
