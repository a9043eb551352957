"""What is read quickly is what the careful reader gives; what that one refuses is never read."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptrank.basics.json_files import json_object
from promptrank.errors import DataError
from promptrank.serve.quick_json import quick_object

TEXTS = st.text() | st.sampled_from(["a: b", "{", "]]", "null", "é", '"', "1e999"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def agree(data: bytes) -> bool:
    """Whether it was read quickly; then it is what the careful reader gives, types and all."""
    quick = quick_object(data)
    if quick is None:
        return False
    assert repr(quick) == repr(json_object(data, "the body"))
    return True


@pytest.mark.long
@settings(max_examples=40)
@given(st.dictionaries(TEXTS, VALUES, max_size=5), st.booleans(), st.sampled_from([None, 1]))
def test_both_readers_agree(value: Any, ascii_: bool, indent: int | None) -> None:
    agree(json.dumps(value, ensure_ascii=ascii_, indent=indent).encode("utf-8", "surrogatepass"))


PIECES = ["{", "}", "[", "]", '"a"', '"\\u003a"', ":", ",", "1", "-0", "1e5", ".5", "null", " "]


@pytest.mark.long
@given(st.lists(st.sampled_from(PIECES), max_size=14))
def test_both_readers_agree_on_what_may_be_no_json(pieces: list[str]) -> None:
    agree(("{" + "".join(pieces) + "}").encode())


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 2}',
        b'{"b": {"a": 1, "a" : 2}, "c": "\\u003a"}',
        b'{"a": 1e999}',
        b'{"a": NaN}',
        b'{"a": 1' + b"0" * 400 + b"}",
        b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}",
        b"[1]",
        b'{"a": "\xff"}',
        b"{",
    ],
)
def test_what_the_careful_reader_refuses_is_not_read_quickly(data: bytes) -> None:
    with pytest.raises(DataError):
        json_object(data, "the body")
    assert quick_object(data) is None


@pytest.mark.parametrize(
    ("data", "quickly"),
    [
        (b'{"a": {"b": [1, -0.0, 0.00012345678901234567, "x: y", null, true]}}', True),
        ('{"title": "Caf\\u00e9 \u00e9"}'.encode(), True),
        (b'{"a": 18446744073709551616}', False),
        (b'{"a": 100000000000000000000000}', False),
        (b'{"a": "\\u003a"}', False),
        (b'{"a": "]"}', False),
    ],
)
def test_which_bodies_are_read_quickly(data: bytes, quickly: bool) -> None:
    assert agree(data) is quickly
