"""What `deploy/` and the page on deployment start is what the command line takes."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from promptrank.cli.main import app
from promptrank.serve.bounds import Bounds
from promptrank.serve.running import DRAIN
from support.pages import DOCS, ROOT, blocks

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy" / "promptrank.service").read_text(encoding="utf-8")
PAGE = DOCS / "tutorials" / "deployment.md"


def list_of(instruction: str) -> list[str]:
    """The words of the last such instruction of the container file."""
    words: list[str] = json.loads(re.findall(rf"^{instruction} (\[.+\])$", DOCKERFILE, re.M)[-1])
    return words


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where a server is started, and the words after ``promptrank``."""
    yield "Dockerfile", [*list_of("ENTRYPOINT"), *list_of("CMD")][1:]
    start = re.search(r"^ExecStart=\S+/promptrank (.+)$", UNIT, re.M)
    assert start
    yield "unit", shlex.split(start[1])
    for text in blocks(PAGE, "console"):
        for words in re.findall(r"promptrank (serve .+)$", text, re.M):
            yield "page", shlex.split(words)
        run = re.search(r"docker run .+ promptrank (.+)$", text.replace("\\\n", ""), re.M)
        if run:
            yield "docker run", [*list_of("ENTRYPOINT")[1:], *shlex.split(run[1])]


@pytest.mark.parametrize(("where", "words"), list(commands()))
def test_a_server_is_started_with_options_that_it_has(where: str, words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup) and words[0] == "serve"
    given = group.commands["serve"].make_context("serve", words[1:]).params
    assert given["tasks"]
    # Whoever else can reach it needs keys.
    assert given["key_file"] or given["host"] == "127.0.0.1"
    # A proxy lets everybody in, and tries again elsewhere: pages are one process, with keys.
    assert given["workbench"] == "off" or (where == "page" and given["key_file"])


def test_all_places_that_start_a_server_are_seen() -> None:
    seen = [where for where, _ in commands()]
    assert {"Dockerfile", "unit", "docker run"} <= set(seen) and seen.count("page") >= 2


def test_there_is_time_for_what_is_under_way() -> None:
    page = PAGE.read_text(encoding="utf-8")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)
    grace = re.search(r"terminationGracePeriodSeconds: (\d+)$", page, re.M)
    assert stop and grace and int(stop[1]) > DRAIN and int(grace[1]) > DRAIN + 5
    assert f"for up to {DRAIN} s" in page
    bounds = Bounds()
    assert f"client_max_body_size {bounds.body >> 20}m;" in page
    waits = [int(each) for each in re.findall(r"(?:read|header)_timeout (\d+)s", page)]
    assert len(waits) == 2 and min(waits) > bounds.seconds


def test_the_proxy_says_how_the_client_came() -> None:
    (server,) = [text for text in blocks(PAGE, "nginx") if "proxy_pass" in text]
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in server


def test_the_image_has_all_that_a_wheel_is_built_from() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], project["project"]["readme"]}
    needed |= {*project["project"]["license-files"], "pyproject.toml", "constraints.txt"}
    copied = {
        word
        for line in re.findall(r"^COPY ((?!--).+) \S+$", DOCKERFILE, re.M)
        for word in line.split()
    }
    assert not [n for n in needed if n not in copied and n.partition("/")[0] not in copied]
    extras = re.search(r"'\.\[(.+)\]'", DOCKERFILE)
    assert (
        extras and set(extras[1].split(",")) <= project["project"]["optional-dependencies"].keys()
    )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "promptrank.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT, flags=re.M))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
