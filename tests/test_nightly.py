"""The tutorial of the nightly run, as it stands, with a tiny model in place of the real one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.pages import DOCS, commands, write_files

PAGE = DOCS / "tutorials" / "nightly.md"


def project(folder: Path, model: Path) -> None:
    """The kitchen of the first tutorial with the files of this page, and `promptrank` in bin/."""
    write_files(DOCS / "tutorials" / "your-table.md", folder)
    write_files(PAGE, folder)
    task = folder / "tasks/kitchen/like.yaml"
    task.write_text(f"{task.read_text()}\nmodel: {model}\n")
    script = folder / "make_tables.py"
    script.write_text(script.read_text().replace("range(100)", "range(16)"))
    subprocess.run([sys.executable, script.name], cwd=folder, check=True)
    (folder / "bin").mkdir()
    command = folder / "bin" / "promptrank"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m promptrank "$@"\n')
    command.chmod(0o755)


def pattern(line: str) -> str:
    """The line with other numbers and the tiny model's name."""
    words = [re.escape(part) for part in re.split(r"[-+]?[\d,]*\.?\d+(?:e-\d+)?", line)]
    text = r"[-+]?[\d,]*\.?\d+(?:e-\d+)?".join(words)
    return re.sub(r'model="[^"]*"', 'model="[^"]*"', text).replace(r"\ ", r"\s+")


@pytest.mark.slow
def test_the_nightly_run_goes_as_the_page_says(tmp_path: Path, tiny_llama_path: Path) -> None:
    project(tmp_path, tiny_llama_path)
    here = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    shown = commands(PAGE)
    assert len(shown) == 8
    for command, lines in shown:
        ran = subprocess.run(
            command, shell=True, cwd=tmp_path, env=here, capture_output=True, text=True
        )
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"
        printed = ran.stdout + ran.stderr
        for line in filter(None, lines):
            assert re.search(pattern(line), printed), (
                f"{line!r} is not in what it prints:\n{printed}"
            )
    counted = json.loads((tmp_path / "runs/2026-11-27/like/summary.json").read_text())
    assert (counted["requests"], counted["reused"]) == (16, 15)


def test_the_alerts_name_metrics_that_there_are(tmp_path: Path) -> None:
    from promptrank.runs.run_reports import metrics_text

    write_files(PAGE, tmp_path)
    rules = yaml.safe_load((tmp_path / "alerts.yml").read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in re.findall(r"promptrank_\w+", rule["expr"])}
    there = set(re.findall(r"^# HELP (\w+) ", metrics_text([]), re.M))
    assert named and named <= there
