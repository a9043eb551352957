"""Tokenizers that are opened without transformers' models: the same, and only where it is known."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from promptrank.prompt.known_tokenizers import load_tokenizer
from promptrank.prompt.tokenizer import open_tokenizer
from support.models import make_model

OPEN = """
import json, sys
from promptrank.prompt.tokenizer import open_tokenizer
words = open_tokenizer(sys.argv[1])
ids = [words.encode("a good film"), words.chat.head[1], words.chat.to_user[1]]
print(json.dumps([words.fingerprint, words.wanted_bos, ids, "torch" in sys.modules]))
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tokenizers"


def opened_apart(folder: Path) -> list[object]:
    """What a process finds that has loaded nothing yet; and whether it has loaded PyTorch then."""
    command = [sys.executable, "-c", OPEN, str(folder)]
    done = subprocess.run(command, capture_output=True, check=True)
    made: list[object] = json.loads(done.stdout)
    return made


@pytest.mark.long
def test_what_is_known_is_opened_without_models_and_is_the_same(
    notes: Path, tiny_llama_path: Path
) -> None:
    words = open_tokenizer(tiny_llama_path)
    assert len(list(notes.iterdir())) == 1
    ids = [words.encode("a good film"), words.chat.head[1], words.chat.to_user[1]]
    same = [words.fingerprint, words.wanted_bos, [[*each] for each in ids]]
    assert opened_apart(tiny_llama_path) == [*same, False]
    shutil.rmtree(notes)
    assert opened_apart(tiny_llama_path) == [*same, True]
    assert len(list(notes.iterdir())) == 1


def test_other_files_are_not_known(notes: Path, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    load_tokenizer(folder)
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja"):
        before = set(notes.iterdir())
        path = folder / name
        path.write_text(path.read_text() + "\n")
        load_tokenizer(folder)
        assert len(set(notes.iterdir()) - before) == 1, name
    (folder / "model.safetensors").write_bytes(b"")  # weights are not read
    before = set(notes.iterdir())
    load_tokenizer(folder)
    assert set(notes.iterdir()) == before


@pytest.mark.parametrize("differs", ["class", "ids", "chat"])
def test_what_differs_is_not_noted(
    notes: Path, tiny_llama_path: Path, monkeypatch: pytest.MonkeyPatch, differs: str
) -> None:
    read = transformers.AutoTokenizer.from_pretrained

    class Other(transformers.TokenizersBackend):
        pass

    def chosen(path: str) -> object:
        if differs == "class":
            return Other.from_pretrained(path)
        tokenizer = read(path)
        if differs == "ids":
            tokenizer.add_tokens(["film"])
        else:
            tokenizer.chat_template += "."
        return tokenizer

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", chosen)
    load_tokenizer(tiny_llama_path)
    assert not notes.exists()


def test_without_a_place_for_notes_it_is_opened_all_the_same(
    notes: Path, tiny_llama_path: Path
) -> None:
    notes.parent.write_text("no folder")
    assert open_tokenizer(tiny_llama_path).fingerprint
