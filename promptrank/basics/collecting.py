"""Python's collection of garbage during long work that makes many records and hardly any cycles."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_THRESHOLD = (50_000, 20, 20)
"""Objects more than there were, until the youngest are looked through; then rounds."""

_lock = threading.Lock()
_under_way = 0
_before = (gc.get_threshold(), 0)  # thresholds and frozen objects, before the first of them


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Garbage is looked for seldom, and not among what is there already.

    Records go by their counts of references as ever; what is put off are the searches for cycles,
    which would go through all requests in hand, the model and every module again and again. The
    settings are the process's: of several at once, in threads, the last to end puts them back.
    """
    global _under_way, _before
    with _lock:
        if not _under_way:
            _before = gc.get_threshold(), gc.get_freeze_count()
            gc.collect()
            gc.freeze()
            gc.set_threshold(*_THRESHOLD)
        _under_way += 1
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            if not _under_way:
                threshold, frozen = _before
                gc.set_threshold(*threshold)
                if not frozen:  # else somebody else did, for as long as the process lives
                    gc.unfreeze()
