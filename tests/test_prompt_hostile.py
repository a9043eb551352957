"""Templates that want all the time or all the memory, and those that print what is no text."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from promptrank.errors import RowError, TemplateError
from promptrank.prompt.template import Renderer
from support.hostile import ENDLESS, STRANGE
from support.prompts import template_of

SECONDS = 1.0
BYTES = 200_000_000
FIELDS: dict[str, Any] = {
    "title": "Heat",
    "huge": float("inf"),
    "digits": 7**20_000,
    "thing": object(),
}


def renderer_of(folder: Path, text: str) -> Renderer:
    blocks = "{% block candidate %}" + text + "{% endblock %}{% block question %}A:{% endblock %}"
    return template_of(folder, blocks).bind({"limit": 3})


def shown(folder: Path, text: str, **fields: Any) -> str:
    values = {"item": {**FIELDS, **fields}, "stats": {}, "context": {}}
    return "".join(renderer_of(folder, text).render("candidate", values))


def peak() -> int:
    """Most memory that this process has had, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


@pytest.mark.parametrize("name", ENDLESS)
def test_endless_templates_end(tmp_path: Path, name: str) -> None:
    before, start = peak(), time.process_time()
    with pytest.raises((RowError, TemplateError)) as caught:
        shown(tmp_path, ENDLESS[name])
    # Not a matter of speed: without the bounds these take minutes to ages, or all memory.
    assert time.process_time() - start < SECONDS
    assert peak() - before < BYTES
    assert "t.j2" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", STRANGE)
def test_only_texts_numbers_and_times_are_printed(tmp_path: Path, text: str) -> None:
    with pytest.raises(RowError) as caught:
        shown(tmp_path, text)
    assert STRANGE[text] in caught.value.message
    assert "0x" not in caught.value.message
