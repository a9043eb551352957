"""The project's own files agree with one another: commands, versions, hooks, ignored folders."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import promptrank

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "demo",
    "test",
    "test-fast",
    "test-offline",
    "check",
    "fix",
    "docs",
    "bench",
}


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = [line for line in text("constraints.txt").splitlines() if line and line[0] != "#"]
    return dict(line.split("==") for line in lines)


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[;]", r)[0].strip().replace("_", "-") for r in requirements}


def test_every_target_is_in_the_makefile_and_its_help() -> None:
    makefile = text("Makefile")
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M)
    assert phony and set(phony[1].split()) == TARGETS | {"help"}
    assert {t for t in TARGETS if f'"make {t} ' not in makefile} == set()
    # Each does its own set-up: it needs the stamp, or a target that does.
    for target in TARGETS:
        assert re.search(
            rf"^{target}: (\$\(STAMP\)|check)( \$\(VLLM\))?( \$\(CLIENTS\))?$", makefile, re.M
        ), target


def test_ci_runs_the_readmes_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().splitlines()[-1] == "exec make test"
    assert "make test" in text("README.md")


def test_the_workflow_calls_targets_that_exist() -> None:
    workflow = yaml.safe_load(text(".github/workflows/ci.yml"))
    runs = [s["run"] for job in workflow["jobs"].values() for s in job["steps"] if "run" in s]
    assert ".ci/run" in runs
    assert {run.removeprefix("make ") for run in runs if run != ".ci/run"} <= TARGETS


def test_an_old_python_is_refused_with_a_way_out(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    # Says "too old" to the check, as a 3.10 would; anything else it is asked is a mistake.
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo "Python 3.10.4"; exit; }\nexit 1\n')
    old.chmod(0o755)
    stamp = f"VENV={tmp_path / 'venv'}"
    run = subprocess.run(
        ["make", "-C", str(ROOT), "check", f"PYTHON={old}", stamp],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode != 0
    assert "needs Python 3.11 or newer" in run.stderr and "Python 3.10.4" in run.stderr
    assert "make PYTHON=python3.12 check" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_constraints_pin_every_dependency(pyproject: dict[str, Any], pins: dict[str, str]) -> None:
    project = pyproject["project"]
    extras = project["optional-dependencies"]
    wanted = requirement_names(project["dependencies"] + extras["dev"])
    assert {name.lower() for name in wanted} - {name.lower() for name in pins} == set()
    assert [pins[name] for name in ("torch", "transformers", "peft")] == [
        "2.13.0",
        "5.19.0",
        "0.21.2",
    ]
    assert {"vllm", "dev"} <= set(extras)


def test_hooks_have_the_versions_of_the_constraints(pins: dict[str, str]) -> None:
    repos = {r["repo"]: r for r in yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]}
    assert repos["https://github.com/astral-sh/ruff-pre-commit"]["rev"] == f"v{pins['ruff']}"
    assert repos["local"]["hooks"][0]["entry"] == ".venv/bin/mypy"


def test_the_version_stands_in_one_place(pyproject: dict[str, Any]) -> None:
    assert "version" not in pyproject["project"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "promptrank/__init__.py"
    assert f"## [{promptrank.__version__}]" in text("CHANGELOG.md")


def test_trained_adapters_stay_out_of_the_repository() -> None:
    ignored = text(".gitignore").splitlines()
    assert "/adapters/*" in ignored and "!/adapters/README.md" in ignored
    assert (ROOT / "adapters" / "README.md").is_file()
