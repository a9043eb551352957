"""Without the progress bars of libraries, which tell a reader nothing that we do not say."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_library_bars() -> Iterator[None]:
    """transformers and huggingface_hub draw no bar inside; afterwards they do as before."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
