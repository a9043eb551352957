"""A tokenizer beside a model that is not its own, and prompts that should begin with BOS."""

import json
import shutil
from pathlib import Path

import pytest

import promptrank
from promptrank.errors import ModelError, TaskError
from promptrank.prompt import open_tokenizer
from support.models import make_model
from support.toys import make_project


def changed(folder: Path, file: str, **values: object) -> None:
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_tokenizer_with_ids_beyond_the_embeddings(tmp_path: Path, tiny_llama_path: Path) -> None:
    folder = shutil.copytree(tiny_llama_path, tmp_path / "m")
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    changed(folder, "config.json", vocab_size=rows - 1)
    with pytest.raises(ModelError, match=f"ids up to {rows - 1}, and .* for {rows - 1}; the tok"):
        open_tokenizer(folder)


def test_a_control_token_beyond_the_embeddings_is_no_text(
    tmp_path: Path, tiny_llama_path: Path
) -> None:
    folder = shutil.copytree(tiny_llama_path, tmp_path / "m")
    spec = json.loads((folder / "tokenizer.json").read_text())
    last = max(spec["model"]["vocab"].values())
    spec["added_tokens"].append({**spec["added_tokens"][0], "id": last + 1, "content": "<image>"})
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    words = open_tokenizer(folder)
    assert words.vocab_size == last + 2
    assert max(words.encode("a <image> of Heat")) <= last


def test_a_tokenizer_of_a_much_smaller_model(tmp_path: Path, tiny_llama_path: Path) -> None:
    folder = shutil.copytree(tiny_llama_path, tmp_path / "m")
    changed(folder, "config.json", vocab_size=4000)
    with pytest.raises(ModelError, match=r"knows \d+ words, and .* for 4,000; the tokenizer belon"):
        open_tokenizer(folder)


@pytest.mark.long
@pytest.mark.parametrize("bos", [True, False])
def test_a_gemma_without_bos_is_refused(tmp_path: Path, bos: bool) -> None:
    folder = make_model(tmp_path / "gemma", "gemma3", bos=bos)
    project = make_project(tmp_path / "toys", folder)
    checked = promptrank.validate("toys/like", project=project)
    wants = [p for p in checked.problems if p.startswith("model: it wants <|im_start|> before")]
    assert bool(wants) is not bos
    if not bos:
        with pytest.raises(TaskError, match="before every prompt, and its tokenizer adds none"):
            promptrank.open_ranker("toys/like", project=project, engine="fake")
        return
    words = open_tokenizer(folder)
    assert words.bos == (words.wanted_bos,)


def test_a_tokenizer_that_says_so_of_itself(tmp_path: Path, tiny_llama_path: Path) -> None:
    folder = shutil.copytree(tiny_llama_path, tmp_path / "m")
    assert open_tokenizer(folder).wanted_bos is None
    changed(folder, "tokenizer_config.json", add_bos_token=True)
    assert open_tokenizer(folder).wanted_bos == 1


def test_the_tokenizers_own_bos_comes_before_the_configs(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "gemma", "gemma3")
    own = open_tokenizer(folder).bos
    changed(folder, "config.json", bos_token_id=own[0] + 1)
    words = open_tokenizer(folder)
    assert (words.wanted_bos,) == words.bos == own
    # One that has none of its own is held against the config's.
    changed(folder, "tokenizer_config.json", bos_token=None)
    assert open_tokenizer(folder).wanted_bos == own[0] + 1
