"""Templates with short ways for the commonest values: the same texts and faults as without."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from promptrank.prompt.metered_nodes import Unfolded
from promptrank.prompt.sandbox import PromptEnvironment


class Whole(PromptEnvironment):
    code_generator_class = Unfolded


SHORT, WHOLE = PromptEnvironment(), Whole()

NUMBERS = [0, 1, -1, 0.5, 2.5, -0.0, 1e16, 1e300, 3.7, 99, 100, 2**60, 10**80, 10**20]
ODD = [math.nan, math.inf, -math.inf, True, None, "7", "text", "", [1.5], {"a": 1.0}]
VALUES = st.sampled_from([*NUMBERS, *ODD]) | st.floats() | st.integers()

LEAVES = st.sampled_from(
    ["x.a", "x.b", "y", "z", "x.none", "x['a']", "1", "2.5", "100", "0", "-3", "'t'", "true"]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    some = st.lists(inner, min_size=1, max_size=5).map(", ".join)
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(
            inner,
            st.sampled_from(["round", "round(1)", "round(1, 'floor')", "int", "abs", "float"]),
        ).map(lambda parts: f"({parts[0]} | {parts[1]})"),
        st.tuples(some, st.sampled_from(["min", "max", "sum"])).map(
            lambda parts: f"([{parts[0]}] | {parts[1]})"
        ),
        st.tuples(inner, st.sampled_from(["none", "not none", "number"])).map(
            lambda parts: f"({parts[0]} is {parts[1]})"
        ),
        inner.map(lambda part: f"({part}).a"),
        st.tuples(inner, inner, inner).map(lambda p: f"({p[0]} if {p[1]} else {p[2]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]} ~ {p[1]})"),
    )


EXPRESSIONS = st.recursive(LEAVES, _grown, max_leaves=8)


def rendered(environment: PromptEnvironment, source: str, values: dict[str, Any]) -> Any:
    """What a template gives, or its fault."""
    environment.refill()
    try:
        return environment.from_string(source).render(values)
    except Exception as fault:
        return type(fault), str(fault), getattr(fault, "name", None)


@pytest.mark.long
@given(EXPRESSIONS, VALUES, VALUES, VALUES, VALUES)
@example("(x.a + x.b)", 0.1, 0.2, 0, 0)
@example("(x.a / x.b)", 0.1, 0.0, 0, 0)
@example("(x.a * x.a)", 1e300, 0, 0, 0)
@example("(x.a | round)", math.nan, 0, 0, 0)
@example("(x.a | round | int)", math.inf, 0, 0, 0)
@example("(x.a | round)", True, 0, 0, 0)
@example("([1, [99, (100 * (x.a + x.b)) | round | int] | min] | max)", 0.1, 0.25, 0, 0)
@example("([y, z] | max)", 0, 0, 10**80, 1)
@example("([y, z] | min)", 0, 0, math.nan, 1)
@example("x.nothing", 0, 0, 0, 0)
@example("(x.none is none)", 0, 0, 0, 0)
@settings(max_examples=400, deadline=None)
def test_texts_and_faults_are_those_without(
    expression: str, a: Any, b: Any, y: Any, z: Any
) -> None:
    values = {"x": {"a": a, "b": b, "none": None}, "y": y, "z": z}
    source = f"<{{{{ {expression} }}}}>"
    expected = rendered(WHOLE, source, values)
    assert rendered(SHORT, source, values) == expected
    assert SHORT.units >= WHOLE.units  # a short way charges nothing


def test_each_value_is_computed_once() -> None:
    source = (
        "{% set n = namespace(calls=0.0) %}"
        "{% macro m() %}{% set n.calls = n.calls + 1 %}{{ n.calls }}{% endmacro %}"
        "{{ m() | float + 0.5 }} {{ [m() | float, x.a] | max }} {{ m() | float | round }}"
        " {{ m() | int }} {{ n.calls }}"
    )
    values = {"x": {"a": 0.5}}
    expected = "1.5 2.0 3.0 4 4.0"
    assert rendered(SHORT, source, values) == rendered(WHOLE, source, values) == expected


def test_numbers_that_are_written_out() -> None:
    values = {"x": {"a": 0.25}}
    for source, text in (
        ("{{ 1 + 2 }} {{ 2 * 1.5 }} {{ [1, 2] | max }}", "3 3.0 2"),
        ("{{ 100 * x.a }} {{ x.a - 1 }} {{ 7 // 2 }} {{ -x.a }}", "25.0 -0.75 3 -0.25"),
        ("{{ x.a | round(1) }} {{ (x.a * 10) | round | int }}", "0.2 2"),
    ):
        assert rendered(SHORT, source, values) == rendered(WHOLE, source, values) == text


@pytest.mark.parametrize("terms", [25, 60])
def test_what_is_deep_is_compiled_all_the_same(terms: int) -> None:
    values = {"y": 0.5}
    for source in (
        "{{ " + " + ".join(["y"] * terms) + " }}",
        "{{ y" + " | round(3) | int | float" * (terms // 3) + " }}",
        "{{ " + "(y - " * terms + "y" + ")" * terms + " }}",
    ):
        assert rendered(SHORT, source, values) == rendered(WHOLE, source, values)
        assert isinstance(rendered(SHORT, source, values), str)


def test_a_loop_of_short_ways_is_still_bounded() -> None:
    source = "{% for i in range(100000) %}{{ y + 0.5 }}{% endfor %}"
    kind, message, _ = rendered(SHORT, source, {"y": 0.5})
    assert "loop" in message and kind.__name__ == "TemplateRuntimeError"
