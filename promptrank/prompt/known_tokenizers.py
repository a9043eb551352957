"""A model's tokenizer as transformers has it, without its models where that is the same.

`AutoTokenizer` chooses a class by the model's configuration and by lists of its own, and its import
brings PyTorch and much else: most of the time in which a command starts. Nearly always it chooses
`TokenizersBackend`, which reads ``tokenizer.json`` as it stands. Where it has, and that class by
itself has read the same, a note of it is kept in the cache folder, by the content of the files and
the versions of the libraries; from then on these files are read by that class at once.
"""

from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from promptrank.assets.wheels import cache_root
from promptrank.basics.digests import file_digest, json_digest
from promptrank.basics.files import write_text
from promptrank.errors import ModelError

_KINDS = {".jinja", ".json", ".model", ".txt"}


def load_tokenizer(folder: Path) -> Any:
    """What ``AutoTokenizer.from_pretrained`` gives for a folder.

    Raises:
        Exception: whatever transformers raises over its files.
    """
    note = _note(folder)
    if note is not None and _there(note):
        from transformers import TokenizersBackend

        return TokenizersBackend.from_pretrained(str(folder))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    if note is not None and _plain(tokenizer, folder):
        with suppress(OSError):  # a cache that cannot be written: it is chosen anew each time
            write_text(note, f"{folder.name}: TokenizersBackend\n")
    return tokenizer


def _there(note: Path) -> bool:
    try:
        return note.is_file()
    except OSError:  # a cache that cannot be read
        return False


def _plain(tokenizer: Any, folder: Path) -> bool:
    """Whether `TokenizersBackend` by itself reads the same."""
    from transformers import TokenizersBackend

    if type(tokenizer) is not TokenizersBackend:
        return False
    alone = TokenizersBackend.from_pretrained(str(folder))
    return bool(
        alone.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()
        and alone.chat_template == tokenizer.chat_template
        and alone.special_tokens_map == tokenizer.special_tokens_map
    )


def _note(folder: Path) -> Path | None:
    """Where it is noted for these files and libraries; None where there is nothing to go by."""
    if not (folder / "tokenizer.json").is_file():
        return None
    paths = [*folder.iterdir(), *folder.glob("additional_chat_templates/*")]
    read = sorted(p for p in paths if p.suffix in _KINDS and p.is_file())
    files = {str(path.relative_to(folder)): file_digest(path) for path in read}
    versions = [version("transformers"), version("tokenizers")]
    with suppress(ModelError):  # no home, and so no cache
        return cache_root() / "tokenizers" / json_digest([versions, files])
    return None
