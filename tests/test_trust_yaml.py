"""YAML of strangers: plain values or one sentence with its line, in bounded time and memory."""

import datetime
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from promptrank.cli.main import app
from promptrank.errors import InputError, PromptrankError, TaskError
from promptrank.project import builtin_root
from promptrank.schema.load import load_task, override, parse_task, read_yaml
from promptrank.schema.task import Task
from promptrank.schema.yaml_values import MAX_BYTES, yaml_value

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 200))
MERGES = "\n".join(
    [
        "a: &a {" + ", ".join(f"k{i}: 1" for i in range(999)) + "}",
        *(f"b{i}: {{<<: [{', '.join(['*a'] * 99)}]}}" for i in range(9)),
    ]
)

REFUSED = {
    "a: 2020-02-31": "line 1, column 4: '2020-02-31' is no date (day is out of range for month)",
    "x: 1\na: 2020-13-41T99:00:00Z": "line 2, column 4: '2020-13-41T99:00:00Z' is no date",
    "a: !!python/object/apply:os.system [x]": "the tag '!!python/object/apply:os.system'; leave",
    "a: !!binary aGk=": "could not determine a constructor for the tag '!!binary'",
    "a: !!set {x, y}": "the tag '!!set'; leave the tag out",
    "a: !!omap [x: 1]": "the tag '!!omap'",
    "a: !own 1": "the tag '!own'",
    "a: !!timestamp soon": "line 1, column 4: 'soon' is no date; quote what is text",
    "a: !!int soon": "line 1, column 4: 'soon' is no int",
    "a: !!bool soon": "line 1, column 4: 'soon' is no bool",
    "a: !!str [1]": "line 1, column 4: expected a scalar node, but found sequence",
    f"a: {'9' * 5000}": "line 1, column 4: a whole number of 5,000 digits, beyond 64 bits",
    f"a: 0x{'f' * 5000}": "beyond 64 bits",
    "a: 9223372036854775808": "a whole number of 19 digits, beyond 64 bits",
    "a: .nan": "line 1, column 4: '.nan' is not a finite number",
    "a: -.inf": "'-.inf' is not a finite number",
    "a: 1.0e+999": "'1.0e+999' is not a finite number",
    LAUGHS: "line 5, column 5: more than 100,000 values, counting what aliases repeat",
    MERGES: "more than 100,000 values, counting what aliases repeat",
    CHAIN: "line 50, column 6: values stand more than 50 deep within each other",
    "[" * 100_000: "line 1, column 51: values stand more than 50 deep",
    "a: " + "{a: " * 300 + "1" + "}" * 300: "values stand more than 50 deep",
    "\n".join(" " * i + "a:" for i in range(90)): "values stand more than 50 deep",
    "a: &a [*a]": "line 1, column 8: an alias within what it names",
    "a: &a {<<: *a}": "an alias within what it names",
    "a: *b": "line 1, column 4: found undefined alias 'b'",
    "a: 1\na: 2": "line 2, column 1: key 'a' stands twice",
    "a: {<<: 3}": "expected a mapping or list of mappings for merging, but found scalar",
    "? [a]\n: 1": "line 1, column 3: a key is one word or text",
    "a:\n\tb: 1": "line 2, column 1: found character '\\t' that cannot start any token; indent",
    "a: 1\nb: \0": "line 2: a character that YAML does not allow (#x0000)",
    'a: "\\0"': "line 1, column 4: '\\x00' holds a character that text cannot have",
    'a: "\\ud800"': "holds a character that text cannot have",
    'a: "\\U00110000"': "line 1: an escape that names no character",
    "a: 1\n---\nb: 2": "line 2, column 1: expected a single document in the stream, but",
    "a: [1, 2": "line 1, column 9: expected ',' or ']', but got '<stream end>'",
    "%YAML 3.0\n---\na: 1": "found incompatible YAML document",
    "x" * (MAX_BYTES + 1): "at most 300,000 ",
}


@pytest.mark.long
@pytest.mark.parametrize("text", REFUSED, ids=lambda t: t[:20].encode().hex())
def test_what_is_refused_says_where_in_a_file_and_in_a_setting(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(text.encode("utf-8"))
    with pytest.raises(TaskError) as error:
        load_task(path)
    assert str(error.value).startswith(f"{path}: ")
    assert REFUSED[text] in str(error.value)
    with pytest.raises(TaskError) as error:
        override({}, [f"vars.x={text}"])
    assert str(error.value).startswith("--set: 'vars.x=")
    for told in (str(error.value),):
        assert "\n" not in told
        assert len(told) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes: no\non: off\nY: n", {"yes": "no", "on": "off", "Y": "n"}),
        ("true: true\n~: ~\n1.50: 1.5\n05: 5", {"true": True, "~": None, "1.50": 1.5, "05": 5}),
        ("[010, 007, -08, 1_000, 1:30, 0, -3]", ["010", "007", "-08", "1_000", "1:30", 0, -3]),
        ("[0o10, 0x10, 1e5, 1.5e3, .5, 7.]", [8, 16, "1e5", 1500.0, 0.5, 7.0]),
        ("[=, '<<', !!str 5, '\U0001f600']", ["=", "<<", "5", "\U0001f600"]),
        ("2020-02-29", datetime.date(2020, 2, 29)),
        ("\ufeffa: 1", {"a": 1}),
        ("b: &b {x: 1, y: 1}\na: {<<: *b, x: 2}", {"b": {"x": 1, "y": 1}, "a": {"x": 2, "y": 1}}),
        ("a: &a [1]\nb: [*a, *a]", {"a": [1], "b": [[1], [1]]}),
        ("", None),
    ],
)
def test_what_is_read(text: str, value: Any) -> None:
    assert yaml_value(text) == value


def test_a_file_in_another_encoding_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    for raw, told in (
        (b"a: 1\nb: caf\xe9\n", "line 2: not UTF-8 at byte 11; save it as UTF-8"),
        ("a: 1".encode("utf-16"), "line 1: not UTF-8 at byte 0"),
    ):
        path.write_bytes(raw)
        with pytest.raises(TaskError) as error:
            read_yaml(path)
        assert str(error.value).startswith(f"{path}: {told}")


def test_a_key_of_a_setting_is_not_endless() -> None:
    with pytest.raises(TaskError, match="a key of more than 50 parts"):
        override({}, [".".join("a" * 5000) + "=1"])
    with pytest.raises(TaskError) as error:
        parse_task({"x" * 100_000: 1}, "t.yaml")
    assert all(len(line) < 500 for line in error.value.problems)


def test_numbers_that_are_not_finite_are_refused_wherever_they_come_from() -> None:
    given = read_yaml(builtin_root() / "tasks" / "movies" / "like.yaml")
    for setting in ("questions.like.relevant=1e999", f"history.lag={'9' * 400}d"):
        with pytest.raises(TaskError, match=r"(relevant|lag): expected a finite number"):
            parse_task(override(given, [setting]), "t.yaml")


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "movies/like", "--setting", "epochs=[[[["],
        ["distill", "movies/like", "--option", "rounds=2020-02-31"],
        ["validate", "movies/like", "--set", "budget.tokens=" + "[" * 9000],
    ],
)
def test_the_command_line_reads_values_by_the_same_rules(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    # What escapes here is caught where the program starts, and ends with exit code 2.
    assert isinstance(result.exception, SystemExit | InputError), result.exception
    assert result.exit_code == (1 if isinstance(result.exception, InputError) else 2)


_BITS = (
    *(
        "[",
        "{",
        "}",
        "]",
        ": ",
        "- ",
        "\n",
        "  ",
        "\t",
        "'",
        '"',
        "#",
        "&a ",
        "*a",
        "<<: ",
        "!!set ",
    ),
    *(
        "? ",
        "|",
        ">",
        "---\n",
        "\0",
        "\ufeff",
        "é",
        "2020-02-31",
        ".inf",
        "9" * 400,
        "no",
        "\\ud800",
    ),
)


def _mutated(dice: random.Random, text: str) -> bytes:
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text) + 1)
        kind = dice.randrange(4)
        if kind == 0:
            text = text[:at] + dice.choice(_BITS) * dice.choice((1, 1, 1, 3, 200)) + text[at:]
        elif kind == 1:
            text = text[:at] + text[at + dice.randint(1, 40) :]
        elif kind == 2:
            text = text[:at] + text[dice.randrange(len(text) + 1) :]
        else:
            lines = text.split("\n")
            dice.shuffle(lines)
            text = "\n".join(lines)
    raw = text.encode("utf-8", "surrogatepass")
    return raw if dice.random() < 0.9 else raw[: dice.randrange(len(raw) + 1)] + b"\xff\xfe"


@pytest.mark.long
def test_a_mutated_task_file_is_a_task_or_one_sentence_per_problem(tmp_path: Path) -> None:
    dice, path, outcomes = random.Random(13), tmp_path / "t.yaml", {"task": 0, "refused": 0}
    shipped = sorted((builtin_root() / "tasks").rglob("*.yaml"))
    for _ in range(150):
        text = dice.choice(shipped).read_text(encoding="utf-8")
        path.write_bytes(_mutated(dice, text))
        try:
            assert isinstance(load_task(path), Task)
            outcomes["task"] += 1
        except PromptrankError as error:
            assert all(line.startswith(str(path)) for line in str(error).split("\n"))
            outcomes["refused"] += 1
    assert min(outcomes.values()) >= 5
