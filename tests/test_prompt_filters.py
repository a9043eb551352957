"""Filters, on numbers and texts worked by hand."""

import math
from decimal import Decimal
from pathlib import Path

import pytest

from promptrank.prompt import filters
from support.prompts import encoder_of, item_of, prompt_text, request_of


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (88, "top 12%"),
        (99.9, "top 1%"),
        (100, "top 1%"),
        (50, "top 50%"),
        (49.4, "bottom 49%"),
        (30, "bottom 30%"),
        (0, "bottom 1%"),
        (87.5, "top 13%"),
        (Decimal("75"), "top 25%"),
    ],
)
def test_percentile(value: float, words: str) -> None:
    assert filters.percentile(value) == words


@pytest.mark.parametrize("value", [-0.1, 100.1, math.nan, None, "much", True])
def test_percentile_refuses(value: float) -> None:
    with pytest.raises(ValueError, match=r"percentile"):
        filters.percentile(value)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59.9, "just now"),
        (60, "1 minute ago"),
        (119, "1 minute ago"),
        (3599, "59 minutes ago"),
        (3600, "1 hour ago"),
        (86399, "23 hours ago"),
        (86400, "1 day ago"),
        (2 * 86400 + 5, "2 days ago"),
        (14 * 86400 - 1, "13 days ago"),
        (14 * 86400, "2 weeks ago"),
        (60 * 86400 - 1, "8 weeks ago"),
        (60 * 86400, "2 months ago"),
        (730 * 86400 - 1, "24 months ago"),
        (730 * 86400, "2 years ago"),
    ],
)
def test_ago(seconds: float, words: str) -> None:
    assert filters.ago(seconds) == words


@pytest.mark.parametrize("seconds", [-1, math.inf, math.nan, None])
def test_ago_refuses(seconds: float) -> None:
    with pytest.raises(ValueError, match="ago"):
        filters.ago(seconds)


@pytest.mark.parametrize(
    ("value", "words"),
    [(9.99, "under 10"), (10, "10 to 50"), (49, "10 to 50"), (50, "50 or more")],
)
def test_bucket_by_edges(value: float, words: str) -> None:
    assert filters.bucket(value, [10, 50]) == words


def test_bucket_by_names() -> None:
    names = ["cheap", "fair", "dear"]
    assert [filters.bucket(v, [10, 50], names) for v in (1, 10, 99)] == names


@pytest.mark.parametrize(("edges", "names"), [([], None), ([2, 1], None), ([1], ["only"])])
def test_bucket_refuses(edges: list[float], names: list[str] | None) -> None:
    with pytest.raises(ValueError, match="bucket"):
        filters.bucket(1, edges, names)


def test_truncate_words() -> None:
    assert filters.truncate_words("one two  three four", 2) == "one two..."
    assert filters.truncate_words("one two  three", 3) == "one two  three"
    assert filters.truncate_words("one two three", 1, end="") == "one"
    with pytest.raises(ValueError, match="null"):
        filters.truncate_words(None, 2)


def test_join_nonempty() -> None:
    assert filters.join_nonempty(["a", None, " ", "", math.nan, 3]) == "a, 3"
    assert filters.join_nonempty([], "; ") == ""
    with pytest.raises(ValueError, match="single text"):
        filters.join_nonempty("abc")


def test_join_refuses_null() -> None:
    assert filters.join(["a", 1], "-") == "a-1"
    with pytest.raises(ValueError, match="null"):
        filters.join(["a", None], "-")


def test_filters_in_a_template(tmp_path: Path) -> None:
    text = """\
{% block candidate %}
{{ item.title | truncate_words(2) }} / {{ item.rank | percentile }} / {{ item.age | ago }} /
{{ item.price | bucket([10, 50]) }} / {{ item.price | round(1) }} / {{ item.title | upper }}
{% endblock %}
{% block question %}Answer:{% endblock %}"""
    request = request_of({"c": item_of("a b c", rank=88, age=7200, price=12.34)})
    shown = prompt_text(encoder_of(tmp_path, text, history=None), request)
    assert shown == "a b... / top 12% / 2 hours ago /\n10 to 50 / 12.3 / A B C\nAnswer:"


@pytest.mark.parametrize("call", ["item.none | upper", "item.nan | string", "item.none ~ 'x'"])
def test_text_filters_do_not_write_null(tmp_path: Path, call: str) -> None:
    text = "{% block candidate %}{{ " + call + " }}{% endblock %}"
    text += "{% block question %}Answer:{% endblock %}"
    encoder = encoder_of(tmp_path, text, history=None)
    encoded = encoder.encode(request_of({"c": item_of("t", none=None, nan=math.nan)}))
    assert encoded.tree is None
    assert encoded.errors[0].reason == "null"
