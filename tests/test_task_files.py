"""Task files: what is read, what is refused, and that every problem is reported at once."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from promptrank.errors import TaskError
from promptrank.project import builtin_root, open_project
from promptrank.schema.data_tables import Judgements, Ratings, Source, Table
from promptrank.schema.load import load_task, override, parse_task, read_yaml
from promptrank.schema.task import Task

GOOD: dict[str, Any] = {
    "domain": "toys",
    "template": "toys/like.j2",
    "tables": {
        "people": {"path": "people.csv", "key": "person_id"},
        "toys": {"path": "toys.csv", "key": "toy_id"},
    },
    "ratings": {
        "path": "ratings.csv",
        "member": "people",
        "item": {"table": "toys", "column": "bought"},
        "time": "at",
        "label": "if(stars > 3, 'like', 'dislike')",
    },
    "questions": {
        "like": {
            "answers": {"like": {"say": "Yes", "value": 1}, "dislike": {"say": "No", "value": 0}}
        }
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    """GOOD with dotted keys replaced (``__`` stands for the dot)."""
    return override(GOOD, [f"{k.replace('__', '.')}={v}" for k, v in changes.items()])


def problems(values: dict[str, Any]) -> list[str]:
    with pytest.raises(TaskError) as error:
        parse_task(values, "tasks/toys/like.yaml")
    return list(error.value.problems)


def test_short_references_point_to_the_tables_key_and_long_ones_to_their_column() -> None:
    refs = parse_task(GOOD, "x").refs()
    assert (refs["ratings.member"].table, refs["ratings.member"].column) == ("people", "person_id")
    assert (refs["ratings.item"].table, refs["ratings.item"].column) == ("toys", "bought")


def test_a_reference_that_names_no_table_is_a_column() -> None:
    ref = parse_task(changed(ratings__member="buyer"), "x").refs()["ratings.member"]
    assert (ref.table, ref.column) == (None, "buyer")


def test_yes_and_no_are_words_and_number_keys_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("say: [Yes, no, on, 5]\nflag: true\n1: {a: b}\n")
    assert read_yaml(path) == {"say": ["Yes", "no", "on", 5], "flag": True, "1": {"a": "b"}}


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("domain: [", "line 1"),
        ("a: 1\na: 2\n", "stands twice"),
        ("- a\n- b\n", "expected keys and values"),
        ("", "expected keys and values"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("{" * 5000, "not YAML"),
    ],
)
def test_broken_yaml_is_one_message_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(text)
    with pytest.raises(TaskError, match=message) as error:
        load_task(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_bytes(b"domain: caf\xe9\n")
    with pytest.raises(TaskError, match="not UTF-8 at byte 11"):
        load_task(path)


def test_every_problem_of_a_file_is_reported_at_once_with_its_key() -> None:
    values = changed(ratings__group__lst=3, budget__tokens="many", metrics="[acu, ndcg]", modle="x")
    lines = problems(values)
    assert "ratings.group.lst: unknown key; did you mean 'last'?" in lines
    assert "modle: unknown key; did you mean 'model'?" in lines
    assert any(p.startswith("budget.tokens: ") and "got 'many'" in p for p in lines)
    assert any("no metric 'acu'; did you mean 'auc'?" in p and "ndcg@10" in p for p in lines)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratings__item": "nowhere"}, "ratings.item: must name a table of items"),
        ({"ratings__member": "{table: nobody}"}, "ratings.member: no table 'nobody'"),
        ({"ratings__time": "null", "ratings__order": "null"}, "exactly one of time and order"),
        ({"ratings__group": "{last: 3, session: 30m}"}, "exactly one of last and session"),
        ({"ratings__group": "{session: 30}"}, "a duration with a unit"),
        ({"judgements": "{path: a, query: q, item: toys, label: b}"}, "exactly one of ratings"),
        ({"outcomes": "{path: a, key: [b], label: c}"}, "goes with requests only"),
        ({"questions__like__answers__like__say": "''"}, "an answer must say something"),
        ({"questions__like__answers__like__say": "' Yes'"}, "without outer spaces"),
        ({"questions__like__answers__dislike__say": "Yes"}, "both say 'Yes'"),
        ({"questions__like__answers__dislike__value": 1}, "the same value"),
        ({"questions__like__relevant": 2}, "no answer's value reaches"),
        ({"questions__like__relevant": 0}, "every answer's value reaches"),
        ({"score": "0.5*likes"}, "score: no question 'likes'"),
        ({"score": "like.__class__"}, "not allowed"),
        ({"score": "like if"}, "cannot read"),
        ({"history": "{question: buy}"}, "no question 'buy'"),
        ({"history": "{build: newest}"}, "history.build"),
        ({"history": "{as: turns, build: similar}"}, "use a list"),
        ({"statistics__pop": "{count: true, mean: stars}"}, "exactly one of mean, count and bm25"),
        ({"split": "{by: last}"}, "test is missing"),
        ({"split": "{by: last, test: 7d}"}, "a count of requests"),
        ({"split": "{by: subject, test: 3}"}, "a share between 0 and 1"),
        ({"split": "{by: file}"}, "needs column"),
        ({"budget__shorten": "[description]"}, "write item.X"),
        ({"ratings__label": "{buy: stars}"}, "no such question"),
        ({"tables__toys__sql": "SELECT 1"}, "exactly one of path and sql"),
        ({"domain": "'Toys & Co'"}, "domain: "),
    ],
)
def test_a_contradiction_is_named(changes: dict[str, Any], message: str) -> None:
    assert any(message in p for p in problems(changed(**changes))), problems(changed(**changes))


def test_data_with_an_order_and_no_clock_refuses_what_needs_one() -> None:
    values = changed(
        ratings__time="null",
        ratings__order="seq",
        split="{by: time, test: 7d}",
        history="{lag: 1h}",
        statistics__pop="{count: true, within: 7d}",
    )
    assert sum("an order and no clock" in p for p in problems(values)) == 3


def test_two_questions_need_a_score_and_kinds_do_not_mix() -> None:
    answers = "{a: {say: A, value: 1}, b: {say: B, value: 0}}"
    two = changed(questions__buy=f"{{answers: {answers}}}")
    assert any("say how the questions combine" in p for p in problems(two))
    mixed = override(two, ["score=like + buy", "questions.buy.score=log_odds"])
    assert any("do not mix" in p for p in problems(mixed))
    assert parse_task(override(two, ["score=0.8*like + 0.2*buy"]), "x").score_expression


def test_labels_of_the_data_map_to_answers() -> None:
    question = parse_task(
        changed(questions__like__answers__like__labels="[loved, liked]"), "x"
    ).questions["like"]
    assert [question.answer_of(x) for x in ("loved", "liked", "like", "dislike", None)] == [
        "like",
        "like",
        None,
        "dislike",
        None,
    ]


def test_overrides_are_yaml_and_reach_new_keys() -> None:
    values = override(GOOD, ["budget.tokens=512", "score=null", 'description=""'])
    assert values["budget"] == {"tokens": 512}
    assert values["score"] is None
    assert values["description"] == ""
    assert "budget" not in GOOD
    with pytest.raises(TaskError, match="expected KEY=VALUE"):
        override(GOOD, ["budget.tokens"])


SHIPPED = sorted((builtin_root() / "tasks").rglob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_every_shipped_task_loads_and_its_template_exists(path: Path) -> None:
    task = load_task(path)
    assert isinstance(task, Task)
    assert (builtin_root() / "templates" / task.template).is_file()


def test_names_are_found_in_the_project_before_built_in(tmp_path: Path) -> None:
    own = tmp_path / "tasks" / "movies"
    own.mkdir(parents=True)
    (own / "like.yaml").write_text("broken: [")
    (tmp_path / "tasks" / "mine.yaml").write_text("")
    project = open_project(tmp_path)
    tasks = {t.name: t for t in project.tasks()}
    assert tasks["movies/like"].origin == "project"
    assert tasks["movies/like"].shadows
    assert tasks["mine"].origin == "project"
    assert not tasks["mine"].shadows
    assert tasks["movies/rating"].origin == "built-in"


def test_an_unknown_task_lists_near_names_and_folders(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"did you mean movies/like.*searched") as error:
        open_project(tmp_path).find("movies/lik")
    assert str(tmp_path / "tasks") in str(error.value)
    with pytest.raises(TaskError, match="no such file"):
        open_project(tmp_path).find("nothing.yaml")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Table, {"key": "id"}),
        (Ratings, {"member": "m", "item": "i", "time": "t", "label": "x"}),
        (Judgements, {"query": "q", "item": "i", "label": "x"}),
    ],
)
def test_rows_come_from_exactly_one_place(kind: type[Source], fields: dict[str, str]) -> None:
    kind.model_validate({**fields, "path": "a.csv"})
    for given in ({}, {"path": "a.csv", "sql": "SELECT 1"}):
        with pytest.raises(ValidationError, match="give exactly one of path and sql"):
            kind.model_validate({**fields, **given})


def test_a_mistake_in_an_override_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(json.dumps(GOOD))
    with pytest.raises(TaskError, match=r"^--set: histroy: unknown key; did you mean 'history'"):
        load_task(path, ["histroy.last=2"])
    path.write_text(json.dumps({**GOOD, "budgte": 1}))
    with pytest.raises(TaskError, match=r"good\.yaml: budgte: unknown key"):
        load_task(path, ["history.last=2"])
