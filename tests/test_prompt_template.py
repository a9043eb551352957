"""Templates: what is refused at load, what a row can break, and what a sandbox must hold."""

import time
from pathlib import Path
from typing import Any

import pytest

from promptrank.errors import TemplateError
from promptrank.prompt import load_template
from promptrank.prompt.template import SLOT_TEXT
from promptrank.records import Request, Subject
from support.prompts import (
    PLAIN,
    SHIPPED,
    encoder_of,
    event_of,
    item_of,
    prompt_text,
    request_of,
    template_of,
)

ASK = "{% block question %}Answer:{% endblock %}"


def candidate(text: str) -> str:
    return "{% block candidate %}" + text + "{% endblock %}" + ASK


def error_of(folder: Path, text: str, **fields: Any) -> Any:
    """The error row of the only candidate."""
    item = item_of(fields.pop("title", "Heat"), **fields)
    encoded = encoder_of(folder, text, history=None).encode(request_of({"c": item}))
    assert encoded.tree is None
    assert [e.candidate_id for e in encoded.errors] == ["c"]
    assert encoded.errors[0].stage == "prompt"
    return encoded.errors[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{% block candidate %}{{ item.title }", "t.j2:1"),
        (PLAIN + "{% block prefix %}{% endblock %}", "no block is called prefix"),
        (PLAIN.replace("block event", "block evnt"), "did you mean event"),
        ("{% block question %}Q:{% endblock %}", "no block candidate"),
        ("{% block candidate %}x{% endblock %}", "no block question"),
        (PLAIN + "Hello", "outside the blocks"),
        (PLAIN + "{{ member }}", "outside the blocks"),
        (PLAIN + "{% if vars.x %}{% endif %}", "outside the blocks"),
        (candidate("{{ itm.title }}"), "did you mean item"),
        (candidate("{{ member.bio }}"), "no variable 'member'"),
        (candidate("{{ event.age }}"), "no variable 'event'"),
        (candidate("{{ item.title | shout }}"), "No filter named 'shout'"),
        (candidate("{{ item.title | center(9) }}"), "No filter named 'center'"),
        (candidate("{% include name %}"), "written out"),
        (candidate("{% include '../secret.txt' %}"), "not found"),
        (candidate("{% include '/etc/passwd' %}"), "not found"),
        ("{% extends 'missing.j2' %}", "wanted by t.j2:1"),
        ("{% extends 't.j2' %}" + PLAIN, "extends t.j2"),
        (PLAIN + "{% import 'o.j2' as o with context %}", "import with context"),
        (candidate("{% for x in item.y recursive %}{% endfor %}"), "recursive"),
        (candidate("{{ self.question() }}"), "self.item()"),
        (candidate("{{ self.item() }}"), "needs a block item"),
        (candidate("{{ self.item() | upper }}"), "unfiltered"),
        (candidate("{% set a = self.item() %}"), "unfiltered"),
        (candidate("{% set a %}{{ self.item() }}{% endset %}"), "outside macros"),
        (PLAIN + "{% macro m() %}{{ item.title }}{% endmacro %}", "make it an argument"),
        (PLAIN + "{% set t = item.title %}", "set it inside a block"),
        (PLAIN + "{% set item = 1 %}", "cannot be defined"),
        (candidate("{% block item %}x{% endblock %}"), "top level"),
        (candidate("{% autoescape true %}{% endautoescape %}"), "plain text"),
        (candidate("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"), "too deeply"),
    ],
)
def test_refused_at_load(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template_of(tmp_path, text, o="{% macro m() %}{% endmacro %}")
    assert words in str(caught.value)
    assert "t.j2" in str(caught.value)


def test_all_problems_at_once(tmp_path: Path) -> None:
    text = candidate("{{ itm }}") + "{% block item %}{{ now }}{% endblock %}"
    with pytest.raises(TemplateError) as caught:
        template_of(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 2


def test_not_found_names_folders_and_neighbours(tmp_path: Path) -> None:
    (tmp_path / "movies").mkdir()
    (tmp_path / "movies" / "like.j2").write_text(PLAIN)
    with pytest.raises(TemplateError, match=r"did you mean movies/like\.j2") as caught:
        load_template("movies/lik.j2", [tmp_path])
    assert str(tmp_path) in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "t.j2").write_bytes(b"{% block candidate %}\xff{% endblock %}")
    with pytest.raises(TemplateError, match="UTF-8"):
        load_template("t.j2", [tmp_path])


@pytest.mark.parametrize(
    ("text", "reason", "words"),
    [
        ("{{ item.titel }}", "undefined", ": item.titel: no field 'titel'; fields: title"),
        # The data gave this name, and who leaves out what the data says can see that.
        ("{{ item[item.title] }}", "undefined", "block candidate, line 1: no field '"),
        ("{{ item['titel'] }}", "undefined", "no field 'titel'"),
        ("{% if item.titel %}x{% endif %}", "undefined", "no field 'titel'"),
        ("{{ item.year }}", "null", "{% if item.year is not none %}"),
        ("{{ item.score }}", "null", "item.score is a NaN"),
        ("{{ item.tags }}", "not_plain", "item.tags is a list"),
        ("{{ item }}", "not_plain", "item is a dict"),
        ("{{ item.title + 1 }}", "template", "block candidate"),
        ("{{ 1 / item.zero }}", "template", "division"),
        ("{{ item.title.format(1) }}", "template", "cannot be used"),
        ("{{ item.title.__class__.__mro__ }}", "template", "cannot be used"),
        ("{{ item.__class__ }}", "undefined", "no field '__class__'"),
        ("{{ item.items() }}", "undefined", "no field 'items'"),
        ("{{ item.tags.append(1) }}", "template", "cannot be used"),
        ("{{ ''.__class__.__subclasses__() }}", "template", "cannot be used"),
        ("{{ range.__globals__ }}", "template", "cannot be used"),
        ("{{ dict.mro() }}", "template", "cannot be used"),
        ("{{ namespace.__init__ }}", "template", "cannot be used"),
        ("{{ item.zero.to_bytes(10, 'big') }}", "template", "cannot be used"),
        ("{% for x in item.tags %}{{ loop.__class__ }}{% endfor %}", "template", "unsafe"),
        ("{% macro m() %}{% endmacro %}{{ m.__call__.__globals__ }}", "template", "unsafe"),
        ("{{ item.title['__class__'] }}", "undefined", "__class__"),
    ],
)
def test_row_errors(tmp_path: Path, text: str, reason: str, words: str) -> None:
    fields = {"year": None, "score": float("nan"), "tags": ["a"], "zero": 0}
    error = error_of(tmp_path, candidate(text), **fields)
    assert error.reason == reason
    assert words in error.message
    assert "t.j2" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(10**9) %}x{% endfor %}",
        "{% for i in range(99999) %}x{% endfor %}",
        "{% for i in range(5000) %}{% for j in range(5000) %}{% endfor %}{% endfor %}",
        "{% for i in range(9999) if i > 99999 %}{% for j in range(9999) %}{% endfor %}{% endfor %}"
        "{% for i in range(999) %}{% for j in range(999) if j > 9999 %}{% endfor %}{% endfor %}",
        "{{ 'a' * 10**8 }}",
        "{{ ['a'] * 10**8 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ '%0100000000d' % 1 }}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}"
        "{% endfor %}",
        "{% set n = namespace(s='ab') %}{% for i in range(60) %}{% set n.s = n.s + n.s %}"
        "{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(60) %}{% set n.s = n.s + n.s %}"
        "{% endfor %}",
        "{% set n = namespace(s=3) %}{% for i in range(60) %}{% set n.s = n.s * n.s %}{% endfor %}",
        "{{ ('a' * 1000) | replace('a', 'a' * 100000) }}",
        "{{ range(99999) | join('a' * 100000) }}",
        "{% macro m(n) %}{{ m(n - 1) }}{{ m(n - 1) }}{% endmacro %}{{ m(30) }}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
        "{% macro m() %}{% for i in range(10000) %}{{ 'a' * 900000 }}{% endfor %}{% endmacro %}"
        "{{ m() }}",
        "{% for i in range(10000) %}{{ 'a' * 900000 }}{% endfor %}",
        "{{ 1.5 | round(10**8) }}",
    ],
)
def test_endless_and_huge_templates_end(tmp_path: Path, text: str) -> None:
    start = time.monotonic()
    error = error_of(tmp_path, candidate(text))
    assert error.reason in ("template", "too_long_text")
    # Not a matter of speed: without the bounds these take hours or all memory.
    assert time.monotonic() - start < 60


def test_fields_with_the_names_of_methods(tmp_path: Path) -> None:
    names = ("items", "keys", "values", "get", "copy", "pop", "update")
    text = candidate(" ".join("{{ item." + n + " }}" for n in names))
    request = request_of({"c": item_of("t", **{n: n.upper() for n in names})})
    shown = prompt_text(encoder_of(tmp_path, text, history=None), request)
    assert shown == "ITEMS KEYS VALUES GET COPY POP UPDATE\nAnswer:"


def test_jinja_in_data_is_text(tmp_path: Path) -> None:
    hostile = "{{ 7 * 7 }}{% for x in y %} {{ self.item() }} " + SLOT_TEXT
    encoder = encoder_of(tmp_path, candidate("{{ item.title }}"), history=None)
    assert prompt_text(encoder, request_of({"c": item_of(hostile)})) == hostile + "\nAnswer:"


def test_an_absent_query_is_false_and_nothing_else(tmp_path: Path) -> None:
    text = "{% block subject %}{% if query %}For {{ query.text }}.{% endif %}{% endblock %}"
    assert prompt_text(encoder_of(tmp_path, text + PLAIN_TAIL), request_of()) == "Heat\nAnswer:"
    for use in ("{{ query }}", "{{ query.text }}", "{% if query.text %}x{% endif %}"):
        text = "{% block subject %}For " + use + "{% endblock %}"
        encoded = encoder_of(tmp_path, text + PLAIN_TAIL).encode(request_of())
        assert encoded.tree is None
        assert encoded.errors[0].candidate_id is None
        assert "{% if query %}" in encoded.errors[0].message


PLAIN_TAIL = (
    "{% block event %}{{ item.title }}{% endblock %}{% block candidate %}{{ item.title }}"
    "{% endblock %}" + ASK
)


def test_a_bad_event_is_left_out_and_reported(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    request = request_of(history=(event_of("Up"), event_of(None), event_of("Jaws", "dislike")))
    encoded = encoder.encode(request)
    assert encoded.tree is not None
    assert [(e.candidate_id, e.reason) for e in encoded.errors] == [(None, "event_null")]
    assert encoded.cuts.events_failed == 1
    assert encoded.cuts.events_kept == 2
    assert "like Up\ndislike Jaws\n" in prompt_text(encoder, request)


def test_a_bad_candidate_leaves_the_others(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path)
    encoded = encoder.encode(request_of({"a": item_of("Up"), "b": item_of(None)}))
    assert encoded.candidate_ids == ("a",)
    assert [(e.candidate_id, e.reason) for e in encoded.errors] == [("b", "null")]


def test_no_candidates(tmp_path: Path) -> None:
    encoded = encoder_of(tmp_path).encode(request_of({}))
    assert encoded.tree is None
    assert encoded.errors[0].reason == "no_candidates"


def test_macros_inheritance_super_and_late_set(tmp_path: Path) -> None:
    base = """\
{% macro star(x) %}*{{ x }}*{% endmacro %}
{% block candidate %}{{ star(item.title) }}{% endblock %}
{% block question %}{{ question.ask }}{{ mark }}{% endblock %}
{% set mark = ":" %}"""
    text = """\
{% extends "base.j2" %}
{% from "lib.j2" import loud as big %}
{% import "lib.j2" as lib %}
{% block candidate %}{{ super() }} {{ big(item.title) }} {{ lib.loud("x") }} {{ vars.n }}
{% endblock %}"""
    lib = "{% macro loud(text) %}{{ text | upper }}{% endmacro %}"
    template = template_of(tmp_path, text, base=base, lib=lib)
    assert set(template.sources) == {"t.j2", "base.j2", "lib.j2"}
    assert template.uses["candidate"].paths == {"item.title", "vars.n"}
    encoder = encoder_of(tmp_path, text, history=None, vars={"n": 3}, questions={"like": _ask()})
    assert prompt_text(encoder, request_of()) == "*Heat* HEAT X 3\nGood?:"


def _ask() -> dict[str, Any]:
    answers = {"y": {"say": "Yes", "value": 1}, "n": {"say": "No", "value": 0}}
    return {"ask": "Good?", "answers": answers}


def test_uses_are_followed_through_macros(tmp_path: Path) -> None:
    text = """\
{% from "lib.j2" import card %}
{% block event %}{% set a = event.action %}{{ card(item, word=event.age | ago) }}{% endblock %}
{% block candidate %}
{% for g in item.genres %}{{ g.name }}{% endfor %}{{ card(item) }}{{ stats["mean"] }}
{% include "more.j2" %}
{% endblock %}
{% block question %}{{ question.ask }}{{ context }}{% endblock %}"""
    lib = """\
{% macro card(x, word="") %}{{ x.title }}{{ inner(x) }}{{ word }}{% endmacro %}
{% macro inner(y) %}{{ y.year }}{% endmacro %}"""
    template = template_of(tmp_path, text, lib=lib, more="{{ context.km }}")
    uses = template.uses
    assert uses["event"].paths == {"event.action", "event.age", "item.title", "item.year"}
    assert uses["candidate"].paths == {
        "item.genres", "item.title", "item.year", "stats.mean", "context.km",
    }  # fmt: skip
    assert uses["candidate"].names == {"item", "stats", "context"}
    assert uses["question"].paths == {"question.ask", "context"}


def test_digest_covers_parents_and_imports(tmp_path: Path) -> None:
    text = '{% extends "base.j2" %}'
    first = template_of(tmp_path, text, base=PLAIN)
    assert first.digest == template_of(tmp_path, text, base=PLAIN).digest
    assert first.digest != template_of(tmp_path, text, base=PLAIN + " ").digest


def test_project_overrides_one_file_of_another_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
    (second / "t.j2").write_text('{% extends "base.j2" %}')
    (second / "base.j2").write_text("not a template of ours")
    (first / "base.j2").write_text(PLAIN)
    assert "candidate" in load_template("t.j2", [first, second]).uses


def test_ages_are_refused_without_a_clock(tmp_path: Path) -> None:
    text = "{% block event %}{{ event.age | ago }}{% endblock %}" + candidate("{{ item.title }}")
    ratings = {"path": "r", "member": "m", "item": "items", "order": "n", "label": "l"}
    encoder = encoder_of(tmp_path, text, ratings=ratings)
    assert any("event.age" in p and "no clock" in p for p in encoder.problems)
    with pytest.raises(TemplateError, match="no clock"):
        encoder.encode(request_of())


def test_list_history_needs_a_block(tmp_path: Path) -> None:
    encoder = encoder_of(tmp_path, candidate("{{ item.title }}"))
    assert any("no block event" in p for p in encoder.problems)


@pytest.mark.parametrize("path", sorted(SHIPPED.rglob("[!_]*.j2")), ids=lambda p: p.stem)
def test_every_shipped_template_loads(path: Path) -> None:
    template = load_template(path.relative_to(SHIPPED).as_posix(), [SHIPPED])
    assert {"candidate", "question"} <= set(template.uses)


def test_nobody_at_all_renders(tmp_path: Path) -> None:
    request = Request("r", Subject(), request_of().candidates)
    assert prompt_text(encoder_of(tmp_path), request) == "Rank.\nHeat\nAnswer:"
