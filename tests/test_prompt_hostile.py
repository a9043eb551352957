"""Templates that want all the time or all the memory, and those that print what is no text."""

import resource
import sys
import time
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
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


@pytest.mark.slow
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


HONEST = {
    "{{ item.title }} {{ 1 }} {{ 2.5 }} {{ true }}": "Heat 1 2.5 True",
    "{{ item.huge_id }}": "170141183460469231731687303715884105727",
    "{{ item.day }} {{ item.at }}": "2024-02-29 2024-02-29 10:30:00",
    "{{ item.at - item.at }}": "0:00:00",
    "{{ item.price }} {{ item.single }} {{ item.whole }}": "12.80 12.8 7",
    "{{ ['a', 1, 2.5] | join('-') }} {{ item.title ~ 1 ~ '!' }}": "a-1-2.5 Heat1!",
    "{{ item.title.upper() | truncate(3, true, '', 0) }}{{ item.title[1:] }}": "HEAeat",
    "{% if 'ea' in item.title and 1 < item.whole <= 7 %}yes{% endif %}": "yes",
    "{{ ['b', 'a'] | sort | map('upper') | join }} {{ [3, 1] | max }}": "AB 3",
    "{% set n = namespace(l=[]) %}{% for i in range(900) %}{% set n.l = n.l + [i] %}{% endfor %}"
    "{{ n.l | length }}": "900",
    "{% for i in range(3000) if i is odd and i > 2996 %}{{ i }}{% endfor %}": "29972999",
    "{% macro m(k) %}{% if k %}{{ m(k - 1) }}{% endif %}.{% endmacro %}{{ m(40) }}": "." * 41,
    "{{ item.long | length }} {{ item.long | wordcount }}": "100000 50000",
    "{{ item.long | trim | truncate(4) }}": "a...",
    "{{ {'k': 1}['k'] }} {{ {item.title: 2}[item.title] }} {{ (1, 2) | first }}": "1 2 1",
    "{{ item.items }} {{ item.keys }} {{ item['get'] }}": "I K G",
}
"""What stays as it was."""


@pytest.mark.parametrize("text", HONEST)
def test_honest_templates_print_what_they_did(tmp_path: Path, text: str) -> None:
    fields = {
        "huge_id": 2**127 - 1,
        "day": date(2024, 2, 29),
        "at": datetime(2024, 2, 29, 10, 30),
        "price": Decimal("12.80"),
        "single": np.float32(12.8),
        "whole": np.int64(7),
        "long": "a " * 50_000,
        "items": "I",
        "keys": "K",
        "get": "G",
    }
    assert shown(tmp_path, text, **fields) == HONEST[text]


def test_the_message_names_place_and_field(tmp_path: Path) -> None:
    with pytest.raises(RowError) as caught:
        shown(tmp_path, "one\n{{ item.title }}\n{{ item.title.lower }}")
    assert caught.value.reason == "not_plain"
    assert caught.value.message == (
        "template t.j2, block candidate, line 3: item.title.lower is the function lower itself; "
        "call it: lower()"
    )


def test_a_budget_is_a_blocks_own(tmp_path: Path) -> None:
    """What one row spends, no later one lacks."""
    renderer = renderer_of(tmp_path, "{% for i in range(15000) %}{% endfor %}x")
    values = {"item": FIELDS, "stats": {}, "context": {}}
    assert [renderer.render("candidate", values) for _ in range(3)] == [["x"]] * 3


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"o": "{% import 't.j2' as t %}"}, "imports t.j2, which leads back to it"),
        ({"o": "{% include 'o.j2' %}"}, "includes o.j2, which leads back to it"),
        ({"o": "{% include 'p.j2' %}", "p": "{% include 'o.j2' %}"}, "includes o.j2, which leads"),
        ({"o": "{% extends 'p.j2' %}", "p": "{% extends 'o.j2' %}"}, "extends o.j2, which leads"),
    ],
)
def test_files_that_lead_back_are_refused(
    tmp_path: Path, others: dict[str, str], words: str
) -> None:
    text = "{% block candidate %}{% include 'o.j2' %}{% endblock %}"
    with pytest.raises(TemplateError, match=words):
        template_of(tmp_path, text, **others)


@pytest.mark.long
def test_includes_that_double_are_refused(tmp_path: Path) -> None:
    others = {f"o{n}": ("{% include 'o" + str(n + 1) + ".j2' %}") * 2 for n in range(40)}
    others["o40"] = "x"
    text = "{% block candidate %}{% include 'o0.j2' %}{% endblock %}{% block question %}A:"
    start = time.process_time()
    with pytest.raises(TemplateError, match="unfold to more than 100,000 parts"):
        template_of(tmp_path, text + "{% endblock %}", **others)
    assert time.process_time() - start < 10


@pytest.mark.long
def test_macros_that_double_are_refused(tmp_path: Path) -> None:
    macros = "".join(
        "{% macro m" + str(n) + "() %}" + ("{{ m" + str(n + 1) + "() }}") * 2 + "{% endmacro %}"
        for n in range(40)
    )
    text = macros + "{% macro m40() %}x{% endmacro %}{% block candidate %}{{ m0() }}{% endblock %}"
    with pytest.raises(TemplateError, match="unfold to more than 100,000 parts"):
        template_of(tmp_path, text + "{% block question %}A:{% endblock %}")
