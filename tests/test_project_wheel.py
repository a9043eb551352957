"""What an installed promptrank holds: the wheel is built from the sdist, as an index would."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

import promptrank

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path, kind: str, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (built,) = into.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build(source, "wheel", tmp_path_factory.mktemp("wheel"))


def files_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def shipped(*folders: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def reference_adapters() -> list[str]:
    """Adapters that git keeps; all others in the folder are somebody's own."""
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return [line.split("/")[2] for line in lines if re.fullmatch(r"!/adapters/[^/]+/", line)]


def test_adapters_that_git_keeps_are_built_into_the_wheel() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = settings["tool"]["hatch"]["build"]["targets"]
    named = {k for k in targets["wheel"]["force-include"] if k.startswith("adapters")}
    assert named == {f"adapters/{name}" for name in reference_adapters()}
    included = {p for p in targets["sdist"]["include"] if p.startswith("/adapters/")}
    assert included == {"/adapters/README.md"} | {f"/{name}" for name in named}


@pytest.mark.slow
def test_every_task_and_template_is_in_the_wheel(wheel: Path) -> None:
    folders = ("tasks", "templates", *(f"adapters/{name}" for name in reference_adapters()))
    data = {f"promptrank/_data/{path}" for path in shipped(*folders)}
    assert len(data) > 3
    assert data <= set(files_of(wheel))


@pytest.mark.long
def test_every_module_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    files = [f for f in files_of(wheel) if ".dist-info/" not in f and "/_data/" not in f]
    assert set(files) == shipped("promptrank")
    assert f"promptrank-{promptrank.__version__}.dist-info/licenses/LICENSE" in files_of(wheel)


@pytest.mark.long
def test_the_sdist_holds_what_a_contributor_needs(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"Makefile", "constraints.txt", "CONTRIBUTING.md", "adapters/README.md", "LICENSE"}
    assert wanted | shipped("tasks", "templates", "promptrank") <= files
    adapters = shipped(*(f"adapters/{name}" for name in reference_adapters()))
    kept = {file for file in files if file.startswith("adapters/")}
    assert kept == {"adapters/README.md"} | adapters
    assert not [file for file in files if file.startswith(".venv")]


def run_installed(wheel: Path, folder: Path, arguments: Sequence[str]) -> str:
    """Run Python with the wheel's files first on its path, away from the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    environment = os.environ | {"PYTHONPATH": str(folder / "site")}
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.long
def test_an_installed_promptrank_finds_its_tasks(wheel: Path, tmp_path: Path) -> None:
    code = "import promptrank; print(promptrank.__file__); [print(t.path) for t in promptrank.ls()]"
    first, *tasks = run_installed(wheel, tmp_path, ["-c", code]).splitlines()
    site = str(tmp_path / "site")
    assert first.startswith(site)
    assert len(tasks) >= 3
    assert all(task.startswith(site) and Path(task).is_file() for task in tasks)


@pytest.mark.long
def test_the_command_starts_from_a_wheel(wheel: Path, tmp_path: Path) -> None:
    assert "movies/like" in run_installed(wheel, tmp_path, ["-m", "promptrank", "ls"])
    entry = next(f for f in files_of(wheel) if f.endswith("entry_points.txt"))
    with zipfile.ZipFile(wheel) as archive:
        assert "promptrank = promptrank.__main__:start" in archive.read(entry).decode()


@pytest.mark.slow
def test_the_readmes_python_runs_from_a_wheel(
    wheel: Path, tmp_path: Path, smollm2_path: Path
) -> None:
    from support.pages import README, blocks

    printed = run_installed(wheel, tmp_path, ["-c", blocks(README, "python")[0]])
    assert printed.splitlines() == blocks(README, "text")[0].splitlines()
