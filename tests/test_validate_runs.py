"""What `validate` calls fine runs: random small tasks and templates, and the ones that did not."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

import promptrank
from promptrank.errors import InputError
from support.toys import make_project

NAMES = (
    *("class", "def", "lambda", "none", "max", "min", "score", "like", "probability", "method"),
    *("fused", "is", "e1", "like_logprob", "rank", "item", "import"),
)
BLOCKS = (
    "Toy: {{ item.title }}",
    "Toy: {{ item.title | truncate(0) }}",
    "Toy: {{ item.title | truncate(9) }}{% if item.color %}, {{ item.color }}{% endif %}",
    "Toy: {{ item.title.upper }}",
    "Toy: {{ item.title.upper() }} {{ 1e999 }}",
    "{% for i in range(3) %}" * 4 + "{{ item.title }}" + "{% endfor %}" * 4,
    "{% for i in [1] %}" * 25 + "{{ item.title }}" + "{% endfor %}" * 25,
    "{% if item.title %}" * 25 + "{{ item.title }}" + "{% endif %}" * 25,
    "{% include 'toys/like.j2' %}",
    "{% include 'toys/other.j2' %}",
    "{% from 'toys/other.j2' import m %}{{ m(item.title) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{% endif %}.{% endmacro %}{{ m(30) }}",
    "{% macro m(class, def=1) %}{{ class }}{{ def }}{% endmacro %}{{ m(class=item.title) }}",
    "{{ " + "(" * 24 + "item.title" + ")" * 24 + " }}",
    "{{ " + "(" * 60 + "item.title" + ")" * 60 + " }}",
    "{{ item.title }}{% if " + " or ".join(["item.color"] * 90) + " %}!{% endif %}",
    "{{ 9 ** 9 }} {{ 10 ** 60 }} {{ item.title }}",
    "{{ " + "9" * 5000 + " }} {{ item.title }}",
)
OTHERS = (
    "{% macro m(x) %}{{ x }}{% endmacro %}",
    "{% include 'toys/other.j2' %}",
    "{% import 'toys/like.j2' as like %}{% macro m(x) %}{{ x }}{% endmacro %}",
)


def expression(draw: random.Random, names: list[str], depth: int = 0) -> str:
    """A score expression: mostly one that is allowed."""
    kind = draw.randrange(9 if depth < 3 else 4)
    if kind < 3:
        return draw.choice(names)
    if kind == 3:
        return draw.choice(["2", "0.5", "1e3", ".25", "1e999", "0"])
    left = expression(draw, names, depth + 1)
    if kind == 4:
        return f"{draw.choice(['min', 'max'])}({left})"
    right = expression(draw, names, depth + 1)
    if kind == 5:
        return f"{draw.choice(['min', 'max'])}({left}, {right})"
    return f"({left} {draw.choice('+-*/')} {right})"


def random_task(draw: random.Random, model: Path) -> dict[str, Any]:
    """A task over the toys."""
    names = draw.sample(NAMES, draw.choice([1, 1, 2]))
    many = draw.choice([2, 2, 3, 150])
    answers: dict[str, Any] = {"like": {"say": "Yes", "value": 1}}
    answers["dislike"] = {"say": "No", "value": draw.choice([0, 0, -1, 0.5])}
    for number in range(2, many):
        answers[f"a{number}"] = {"say": f"{number:03}", "value": number}
    if draw.random() < 0.1:
        answers["score"] = {"say": "Some", "value": draw.choice([float("inf"), 2])}
    kinds = draw.choice(["expected", "expected", "log_odds", "log_likelihood"])
    label = "if(stars > 3, 'like', 'dislike')"
    task: dict[str, Any] = {
        "domain": "toys",
        "template": "toys/like.j2",
        "model": str(model),
        "tables": {
            "people": {"path": "people.csv", "key": "person_id"},
            "toys": {"path": "toys.csv", "key": "toy_id"},
        },
        "ratings": {
            "path": "ratings.csv",
            "member": "people",
            "item": "toys",
            "time": "at",
            "label": {name: label for name in names} if len(names) > 1 else label,
            "group": {"last": 2},
        },
        "questions": {name: {"ask": "Well?", "answers": answers, "score": kinds} for name in names},
    }
    if len(names) > 1 or draw.random() < 0.5:
        task["score"] = expression(draw, names)
    if draw.random() < 0.5:
        task["history"] = {"last": 2, "as": draw.choice(["list", "turns"])}
    if draw.random() < 0.2:
        task["vars"] = {"n": draw.choice([1, 0.5, [1], {"a": None}])}
    task["chat"] = draw.random() < 0.2
    return task


def write(project: Path, task: dict[str, Any], block: str, other: str = OTHERS[0]) -> None:
    text = (
        "{% block instruction %}Rank.{% endblock %}{% block event %}{{ item.title }}{% endblock %}"
        "{% block candidate %}" + block + "{% endblock %}"
        "{% block question %}{{ question.ask }} Answer:{% endblock %}"
    )
    (project / "tasks/toys/like.yaml").write_text(yaml.safe_dump(task, sort_keys=False))
    (project / "templates/toys/like.j2").write_text(text)
    (project / "templates/toys/other.j2").write_text(other)


def said_of(project: Path) -> list[str]:
    """The problems of the task; a file that cannot be read is one too."""
    try:
        return promptrank.validate("toys/like", project=project).problems
    except InputError as error:
        return [str(error)]


def ranked(project: Path, out: Path) -> int:
    return promptrank.rank("toys/like", out, project=project, engine="fake", limit=2).candidates


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_what_is_fine_runs(seed: int, tmp_path: Path, tiny_llama_path: Path) -> None:
    draw = random.Random(seed)
    project = make_project(tmp_path / "toys", tiny_llama_path, rounds=4)
    write(project, random_task(draw, tiny_llama_path), draw.choice(BLOCKS), draw.choice(OTHERS))
    problems = said_of(project)
    if not problems:
        assert ranked(project, tmp_path / "scores.parquet") > 0
    else:
        assert all(len(problem) < 600 for problem in problems)


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "block", "says"),
    [
        ({"score": "min(like)"}, BLOCKS[0], ""),
        ({"score": "max(min(like), 0.1, like)"}, BLOCKS[0], ""),
        ({"score": "like / 0"}, BLOCKS[0], "(score_undefined)"),
        ({"score": "1e308 * 1e308 * like"}, BLOCKS[0], "(score_undefined)"),
        ({"score": "1e999 * like"}, BLOCKS[0], "1e999 is too large"),
        ({"score": "(" * 60 + "like" + ")" * 60}, BLOCKS[0], "50 deep"),
        ({"score": "like.__class__"}, BLOCKS[0], "not allowed"),
        ({"budget": {"tokens": float("inf")}}, BLOCKS[0], "is not a finite number"),
        ({}, "{{ item.title | truncate(0) }}", "truncate: expected a length of at least 3"),
        ({}, "{{ item.title | truncate('x') }}", "truncate: expected a length of at least 3"),
        ({}, BLOCKS[4], "too large"),
        ({}, BLOCKS[6], "too many statically nested blocks"),
        ({}, "{% include 'toys/like.j2' %}", "includes toys/like.j2, which leads back to it"),
        ({}, "{% import 'toys/like.j2' as x %}", "imports toys/like.j2, which leads back to it"),
    ],
)
def test_what_did_not_run(
    changes: dict[str, Any], block: str, says: str, tmp_path: Path, tiny_llama_path: Path
) -> None:
    project = make_project(tmp_path / "toys", tiny_llama_path, rounds=4)
    task = yaml.safe_load((project / "tasks/toys/like.yaml").read_text())
    task["questions"]["like"]["answers"] = {
        "like": {"say": "Yes", "value": 1},
        "dislike": {"say": "No", "value": 0},
    }
    write(project, {**task, **changes}, block)
    problems = said_of(project)
    if says:
        assert any(says in problem for problem in problems), problems
        assert not any("Traceback" in problem for problem in problems)
    else:
        assert not problems
        assert ranked(project, tmp_path / "scores.parquet") > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ("class", "lambda", "none", "max"))
def test_any_word_can_name_a_question(name: str, tmp_path: Path, tiny_llama_path: Path) -> None:
    project = make_project(tmp_path / "toys", tiny_llama_path, rounds=4)
    path = project / "tasks/toys/like.yaml"
    path.write_text(path.read_text().replace("  like:", f"  {name}:").replace("Yes", "'Yes'"))
    path.write_text(path.read_text() + f"score: min({name}) + {name} * 2\n")
    assert promptrank.validate("toys/like", project=project).problems == []
    assert ranked(project, tmp_path / "scores.parquet") > 0


@pytest.mark.long
def test_a_score_that_cannot_be_measured_is_told(tmp_path: Path, tiny_llama_path: Path) -> None:
    project = make_project(tmp_path / "toys", tiny_llama_path, rounds=4)
    path = project / "tasks/toys/like.yaml"
    path.write_text(path.read_text() + "score: 1 / like\n")
    found = promptrank.validate("toys/like", project=project)
    assert not found.problems
    words = "score: '1 / like' is no number where like is 0; change it, or the answers' values"
    assert any(words in warning for warning in found.warnings)
    with pytest.raises(InputError, match="is no number where like is 0"):
        promptrank.evaluate("toys/like", project=project, engine="fake")
