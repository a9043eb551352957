"""Folders of models, tokenizers and adapters come from elsewhere, and libraries read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from promptrank.errors import ModelError, PromptrankError


@contextmanager
def foreign(path: Path, failed: str) -> Iterator[None]:
    """Whatever a library raises over a folder's files becomes one sentence.

    A library meets odd files with errors of every kind (TypeError, AttributeError, its own), and
    those in Rust with a panic, which is no `Exception`. Only our own errors, and what is meant to
    end the process, pass.

    Args:
        failed: what could not be done, such as "cannot be loaded as a causal decoder".

    Raises:
        ModelError: the library could not read the folder.
    """
    try:
        yield
    except PromptrankError:
        raise
    except BaseException as error:
        panic = type(error).__name__ == "PanicException"
        if not isinstance(error, Exception) and not panic:
            raise
        raise ModelError(f"{path}: {failed} ({_first(error)})") from error


def _first(error: BaseException) -> str:
    """An error's first line, with the second where the first only announces it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or isinstance(error, LookupError):  # whose text is a bare key
        lines[:1] = [f"{type(error).__name__} {lines[0] if lines else ''}".strip()]
    count = 2 if lines[0].endswith(":") else 1
    return " ".join(lines[:count])[:300]
