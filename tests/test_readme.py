"""The README: short enough for somebody with a minute, and what it shows is what one gets."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import README, ROOT, blocks, commands

VERBS = [shown for shown in commands(README) if shown[0].startswith("promptrank ")]


def ranking(text: str) -> list[tuple[str, float]]:
    """(title, score) of each printed line, such as ``1. Heat     0.523``."""
    return [
        (title, float(score)) for title, score in re.findall(r"^\d+\. (.+?) +([\d.]+)$", text, re.M)
    ]


def promised() -> list[tuple[str, float]]:
    """The ranking that the README shows under its Python."""
    return ranking(blocks(README, "text")[0])


def in_folder(folder: Path, *arguments: str) -> str:
    """What Python with this checkout's promptrank prints, in a folder of its own."""
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout + run.stderr


def test_it_is_read_in_a_minute() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 100
    assert any("pip install" in line for line in lines[:10])
    statements = [line for line in blocks(README, "python")[0].splitlines() if line]
    assert len(statements) <= 8


def test_it_shows_five_verbs_each_with_a_line_of_output() -> None:
    assert [command.split()[1] for command, _ in VERBS] == [
        "validate",
        "rank",
        "eval",
        "train",
        "distill",
    ]
    assert all(len(output) == 1 for _, output in VERBS)


@pytest.mark.slow
def test_its_python_prints_the_ranking_that_it_shows(tmp_path: Path, smollm2_path: Path) -> None:
    printed = ranking(in_folder(tmp_path, "-c", blocks(README, "python")[0]))
    assert [title for title, _ in printed] == [title for title, _ in promised()]
    assert [score for _, score in printed] == pytest.approx([s for _, s in promised()], abs=0.004)


@pytest.mark.slow
def test_its_commands_print_the_lines_that_it_shows(
    tmp_path: Path, smollm2_path: Path, ml100k_path: Path
) -> None:
    """With smaller limits; so figures differ, and the words and their places must not."""
    for command, (line,) in VERBS:
        few = 4 if command.split()[1] in ("rank", "train") else 12
        small = re.sub(r"--limit \d+", f"--limit {few}", command)
        small = re.sub(r"--valid \d+", "--valid 2", small)
        printed = in_folder(tmp_path, "-m", *small.split())
        number = r"[-+]?[\d,]*\.?\d+"
        words = [re.escape(part) for part in re.split(number, line)]
        pattern = re.sub(r"(\\ )+", r"\\s+", number.join(words))
        assert re.search(pattern, printed), (
            f"{line!r} is not among what {small!r} prints:\n{printed}"
        )
