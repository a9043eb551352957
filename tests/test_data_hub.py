"""Data sets of the Hugging Face hub as tables; a folder stands for the hub, which no test asks."""

from pathlib import Path
from typing import Any

import duckdb
import huggingface_hub
import pytest

from promptrank.errors import DataError
from promptrank.schema.task import Task
from promptrank.tables import hub_datasets
from promptrank.tables.hub_datasets import HubDataset, hub_dataset
from support.data import build, built, make_task, write_rows

ADDRESS = "hf://datasets/shop/toys"
CARD = """\
---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train.parquet}
  - {split: test, path: data/test.parquet}
- config_name: small
  data_files: data/train.parquet
---
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data sets, which names are looked up in."""
    folder = tmp_path / "hub"
    monkeypatch.delenv("PROMPTRANK_OFFLINE", raising=False)
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(hub_datasets, "_address", lambda name: str(folder / name))
    rows = {
        "train": [
            {"item_id": 7, "title": "Bond", "tags": ["a", "b"]},
            {"item_id": 8, "title": "yes", "tags": None},
        ],
        "test": [{"item_id": 2**60 + 1, "title": "007", "tags": ["c"]}],
    }
    for split, given in rows.items():
        write_rows(folder / f"shop/toys/data/{split}.parquet", given)
    (folder / "shop/toys/README.md").write_text(CARD)
    return folder


def _task(path: str | list[str]) -> Task:
    return make_task(
        tables={"items": {"path": path, "key": "item_id"}},
        ratings={
            "path": "ratings.parquet",
            "member": "member_id",
            "item": "items",
            "time": "time",
            "label": "'like'",
        },
        history=None,
    )


def _ratings(root: Path, *items: int) -> Path:
    rows = [{"member_id": "m", "item_id": i, "time": n} for n, i in enumerate(items)]
    write_rows(root / "ratings.parquet", rows)
    return root


def test_an_address_is_taken_apart() -> None:
    def parts(path: str) -> HubDataset | None:
        return hub_dataset("tables.items", path)

    assert parts(ADDRESS) == HubDataset(ADDRESS, "shop/toys")
    whole = parts(f"{ADDRESS}@refs%2Fconvert%2Fparquet?config=en&split=test")
    assert whole is not None
    assert (whole.name, whole.revision, whole.config, whole.split) == (
        "shop/toys",
        "refs/convert/parquet",
        "en",
        "test",
    )
    others = (f"{ADDRESS}/data/*.parquet", "s3://shop/toys", "hf://spaces/shop/toys", "toys.csv")
    assert [parts(path) for path in others] == [None] * 4
    with pytest.raises(DataError, match=r"no option 'splt'; did you mean 'split'"):
        parts(f"{ADDRESS}?splt=train")


@pytest.mark.long
def test_rows_come_in_their_own_types(hub: Path, tmp_path: Path) -> None:
    _ratings(tmp_path, 7, 8, 2**60 + 1)
    both = [f"{ADDRESS}?split=train", f"{ADDRESS}?config=default&split=test"]
    requests = built(_task(both), tmp_path)
    fields = {c.item.item_id: c.item.fields for r in requests.values() for c in r.candidates}
    assert fields.keys() == {"7", "8", str(2**60 + 1)}
    assert fields["7"]["tags"] == ["a", "b"] or tuple(fields["7"]["tags"]) == ("a", "b")
    assert {f["title"] for f in fields.values()} == {"Bond", "yes", "007"}
    kept = sorted((tmp_path / "cache/hub").iterdir())
    assert [p.suffix for p in kept] == [".parquet", ".parquet"]  # no lock, no part
    before = [p.stat().st_mtime_ns for p in kept]
    built(_task(both), tmp_path)
    assert [p.stat().st_mtime_ns for p in kept] == before


@pytest.mark.slow
def test_what_has_changed_is_fetched_again(hub: Path, tmp_path: Path) -> None:
    (hub / "shop/toys/README.md").unlink()  # by its configs alone, a folder has no version
    path = f"{ADDRESS}?split=test"
    for title in ("nine", "neuf"):
        write_rows(hub / "shop/toys/data/test.parquet", [{"item_id": 9, "title": title}])
        (request,) = built(_task(path), _ratings(tmp_path, 9)).values()
        assert request.candidates[0].item.fields["title"] == title


@pytest.mark.slow
def test_the_only_split_needs_no_name(hub: Path, tmp_path: Path) -> None:
    requests = built(_task(f"{ADDRESS}?config=small"), _ratings(tmp_path, 8))
    assert [c.item.fields["title"] for r in requests.values() for c in r.candidates] == ["yes"]


@pytest.mark.long
def test_texts_of_a_csv_stay_as_they_are(hub: Path, tmp_path: Path) -> None:
    (hub / "shop/dishes").mkdir()
    (hub / "shop/dishes/train.csv").write_text("item_id,title\n007,yes\n08,03/04/2024\n")
    write_rows(tmp_path / "ratings.parquet", [{"member_id": "m", "item_id": "007", "time": 1}])
    (request,) = built(_task("hf://datasets/shop/dishes"), tmp_path).values()
    assert request.candidates[0].item.item_id == "007"
    assert request.candidates[0].item.fields["title"] == "yes"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (ADDRESS, r"has the splits train, test; name one, such as .*toys\?split=train"),
        (f"{ADDRESS}?split=tset", r"no split 'tset'; did you mean 'test'"),
        (f"{ADDRESS}?config=large", r"large.*a configuration is named by \?config=NAME"),
        ("hf://datasets/shop/nothing", r"tables.items.path: hf://datasets/shop/nothing: "),
        ("hf://datasets/shop/scripted", r"is made by a script, and none is run"),
        ("hf://datasets/shop/pictures?split=train", r"of the kind imagefolder; tables come from"),
    ],
)
def test_what_is_wrong_is_said(hub: Path, tmp_path: Path, path: str, message: str) -> None:
    (hub / "shop/scripted").mkdir()
    (hub / "shop/scripted/scripted.py").write_text("raise SystemExit('it was run')")
    (hub / "shop/pictures").mkdir()
    (hub / "shop/pictures/train.png").write_bytes(b"")
    with pytest.raises(DataError, match=message):
        build(_task(path), _ratings(tmp_path, 7))


def test_the_hub_is_not_asked_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTRANK_OFFLINE", "1")
    with pytest.raises(DataError, match=r"hf://datasets/shop/toys is a URL, .*OFFLINE is set"):
        build(_task(ADDRESS), _ratings(tmp_path, 7))
    # The hub's own switch leaves what is in its cache, where this is not; a folder of that name
    # below the working folder is no data set of the hub.
    monkeypatch.delenv("PROMPTRANK_OFFLINE", raising=False)
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "shop/toys/train.parquet", [{"item_id": 7}])
    with pytest.raises(DataError, match=r"shop/toys: cannot be fetched .*local paths"):
        build(_task(ADDRESS), _ratings(tmp_path, 7))


@pytest.mark.long
def test_files_are_fetched_where_duckdb_has_no_httpfs(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where DuckDB looks for extensions
    asked: list[tuple[str, str, str | None]] = []

    def download(name: str, file: str, *, repo_type: str, revision: str | None) -> str:
        assert repo_type == "dataset"
        asked.append((name, file, revision))
        return str(hub / name / file)

    def listed(self: Any, name: str, **more: Any) -> list[str]:
        return [str(p.relative_to(hub / name)) for p in (hub / name).rglob("*") if p.is_file()]

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", listed)
    refused = duckdb.IOException("no network")
    monkeypatch.setattr("promptrank.tables.remote_files.load_httpfs", lambda con: refused)
    requests = built(_task(f"{ADDRESS}@v1/data/t*.parquet"), _ratings(tmp_path, 8, 2**60 + 1))
    assert len([c for r in requests.values() for c in r.candidates]) == 2
    assert asked == [("shop/toys", f"data/{n}.parquet", "v1") for n in ("test", "train")]
    with pytest.raises(DataError, match="no file of the data set is named so"):
        build(_task(f"{ADDRESS}/more/*.csv"), tmp_path)
    with pytest.raises(DataError, match="expected hf://datasets/OWNER/NAME, or a file in it"):
        build(_task("hf://models/shop/rows.parquet"), tmp_path)
