"""The one reader of scores: what it takes, what it refuses, and who made what it read."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import promptrank
from promptrank.basics.seals import SEAL
from promptrank.cli.main import app
from promptrank.errors import DataError
from promptrank.requests.write import TableWriter
from promptrank.scores.columns import schema_of
from promptrank.scores.origin import METADATA, Origin, origin_of
from promptrank.scores.read import config_of, read_scores
from promptrank.scores.scores import Scores, cuts_of, scores_of
from support.data import make_task
from support.toys import PEOPLE

TASK = make_task()
NAME = "d/like"
ORIGIN = Origin(
    "student:small", task=NAME, method="pointwise", prompt="f" * 64, versions={"python": "3"}
)
LEAST = {"request_id": "r", "candidate_id": "a", "score": 0.5}


def write(path: Path, rows: Sequence[Mapping[str, Any]], origin: Origin | None = None) -> Path:
    """A scores file as others may write it; with an origin as `rank` would."""
    metadata = {METADATA: origin.to_json()} if origin is not None else None
    with TableWriter(path, pa.Table.from_pylist(list(rows)).schema, metadata=metadata) as writer:
        writer.write_rows(rows)
    return path


def read(path: Path) -> Scores:
    return read_scores(path, TASK, NAME)


@pytest.fixture(params=["parquet", "jsonl"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a scores file goes, in each of the two forms."""
    return tmp_path / f"s.{request.param}"


def test_three_columns_are_enough_and_their_maker_is_not_known(path: Path) -> None:
    rows = [LEAST, {**LEAST, "candidate_id": "b", "score": -1.0}]
    scores = read(write(path, rows))
    assert scores.origin == Origin(f"scores:{path}")
    assert scores.keys == [("r", "a"), ("r", "b")]
    assert scores.numbers("score").tolist() == [0.5, -1.0]
    assert np.isnan(scores.numbers("probability")).all()
    assert scores.rows([("r", "b"), ("r", "z"), ("r", "a")]).tolist() == [1, -1, 0]
    assert np.isnan(scores.at("score", scores.rows([("r", "z")]))).all()
    assert cuts_of(scores) == {}
    with pytest.raises(DataError, match="no column like_logprob_like; they hold no answers"):
        scores.logprobs(TASK, "like")


def test_columns_of_others_do_not_matter_whatever_is_in_them(path: Path) -> None:
    rows: list[dict[str, Any]] = [{**LEAST, "note": 1}, {**LEAST, "candidate_id": "b"}]
    write(path, rows)
    if path.suffix == ".jsonl":
        # Nobody promised that all values of somebody's column are of one kind.
        odd = {**LEAST, "candidate_id": "c", "note": "two"}
        path.write_text(path.read_text() + json.dumps(odd) + "\n")
    scores = read(path)
    assert set(scores.table.column_names) == {"request_id", "candidate_id", "score"}
    assert len(scores) == (3 if path.suffix == ".jsonl" else 2)


IDS = ["2024-05-01", "2024-05-01T10:00:00Z", "007", "1e5", "1.0", "true", "null", "NaN", "", "Zoë"]


def test_ids_stay_the_text_that_they_are(path: Path) -> None:
    rows = [
        {"request_id": request, "candidate_id": candidate, "score": 1.0}
        for request in IDS
        for candidate in IDS
    ]
    assert read(write(path, rows)).keys == [(r["request_id"], r["candidate_id"]) for r in rows]


def test_ids_that_are_numbers_in_parquet_become_text(tmp_path: Path) -> None:
    rows = [{"request_id": 7, "candidate_id": 2**53 + 1, "score": 1}]
    assert read(write(tmp_path / "s.parquet", rows)).keys == [("7", "9007199254740993")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"request_id": "r", "candidate_id": "a", "scor": 1.0}],
            "no column score; did you mean 'scor'?",
        ),
        ([{"request_id": "r", "item": "a", "score": 1.0}], "no column candidate_id"),
        ([{"x": 1}], "no column request_id; there are: x"),
        ([LEAST, {**LEAST, "score": 0.7}], "request r, candidate a comes twice"),
        ([LEAST, {**LEAST, "candidate_id": None}], "1 rows have no candidate_id"),
        ([{**LEAST, "score": "high"}], "score"),
    ],
)
def test_what_is_wrong_is_said(path: Path, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError) as refused:
        read(write(path, rows))
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_no_number_is_refused_and_a_missing_one_is_none(
    tmp_path: Path, number: float
) -> None:
    path = tmp_path / "s.parquet"
    schema = pa.schema(
        [("request_id", pa.string()), ("candidate_id", pa.string()), ("score", pa.float64())]
    )
    columns = [["r", "r"], ["a", "b"], pa.array([number, None], pa.float64())]
    pq.write_table(pa.table(columns, schema=schema), path)
    with pytest.raises(DataError, match="1 scores are NaN or infinite"):
        read(path)
    scores = read(write(path, [LEAST, {**LEAST, "candidate_id": "b", "score": None}]))
    assert scores.numbers("score").tolist()[0] == 0.5
    assert np.isnan(scores.numbers("score")[1])


def test_no_file_and_no_scores_file(path: Path) -> None:
    with pytest.raises(DataError, match="there is no such scores file"):
        read(path)
    path.write_text("PK, or whatever")
    with pytest.raises(DataError, match="not a scores file"):
        read(path)


def test_a_run_that_scored_nothing_is_scores_without_a_row(path: Path) -> None:
    with TableWriter(path, schema_of(TASK)):
        pass
    assert len(read(path)) == 0


def test_the_origin_comes_from_the_file_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", [LEAST], ORIGIN)
    assert read(path).origin == ORIGIN
    # What is beside a file may be of another run; what is in it is not.
    config_of(path).write_text(json.dumps({"ranker": "somebody else", "task": NAME}))
    assert read(path).origin == ORIGIN


def test_the_origin_comes_from_the_config_beside_where_the_file_cannot_hold_it(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "s.jsonl", [LEAST])
    config_of(path).write_text(json.dumps({**ORIGIN.as_dict(), "command": "rank", "argv": []}))
    assert read(path).origin == ORIGIN


@pytest.mark.parametrize("config", ['{"task": "d/like"}', "[1]", "7", "{", '{"ranker"'])
def test_an_origin_that_cannot_be_read_is_an_error(tmp_path: Path, config: str) -> None:
    path = write(tmp_path / "s.jsonl", [LEAST])
    config_of(path).write_text(config)
    with pytest.raises(DataError, match=r"s\.(jsonl|config\.json): "):
        read(path)


def test_an_origin_is_the_same_after_json() -> None:
    assert origin_of(json.loads(ORIGIN.to_json()), "here") == ORIGIN


def test_scores_of_another_task_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.parquet", [LEAST], Origin("decoder", task="d/other"))
    with pytest.raises(DataError, match="scores of task d/other, not of d/like"):
        read(path)


def test_before_steps_they_are_the_methods_own() -> None:
    rows = [
        {
            "request_id": "r",
            "candidate_id": candidate,
            "score": fused,
            "probability": 0.9,
            "method_score": own,
            "like_probability": own,
        }
        for candidate, fused, own in (("a", 2.0, 0.25), ("b", 1.0, 0.75))
    ]
    origin = Origin("decoder", task=NAME, adapter="x", fusion="f.json", fusion_digest="d")
    scores = Scores(pa.Table.from_pylist(rows), origin)
    before = scores.before_steps(TASK)
    assert before.keys == scores.keys
    assert before.numbers("score").tolist() == [0.25, 0.75]
    assert before.numbers("probability").tolist() == [0.25, 0.75]
    assert (before.origin.fusion, before.origin.fusion_digest) == (None, None)
    assert before.origin.adapter == "x"
    assert scores.numbers("score").tolist() == [2.0, 1.0]
    both = {name: TASK.questions["like"].model_dump(exclude_none=True) for name in ("like", "love")}
    two = make_task(questions=both, score="like + love")
    # Of several questions no single one's probability is that of the score.
    assert np.isnan(scores.before_steps(two).numbers("probability")).all()


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FINITE = st.floats(allow_nan=False, allow_infinity=False)


def a_row(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_string(kind):
        return TEXTS
    if pa.types.is_boolean(kind):
        return st.booleans()
    if pa.types.is_integer(kind):
        return st.integers(0, 2**31 - 1)
    if pa.types.is_list(kind):
        fields = {field.name: a_row(field.type) for field in kind.value_type}
        return st.lists(st.fixed_dictionaries(fields), max_size=2)
    return st.floats(allow_nan=False)  # a log-prob may be minus infinity


NEEDED = ("request_id", "candidate_id", "score")
ROWS = st.lists(
    st.fixed_dictionaries(
        {field.name: st.none() | a_row(field.type) for field in schema_of(TASK)}
        | {"request_id": TEXTS, "candidate_id": TEXTS, "score": FINITE}
    ),
    max_size=5,
    unique_by=lambda row: (row["request_id"], row["candidate_id"]),
)


@pytest.mark.long
@given(ROWS)
def test_what_is_written_is_read_from_both_forms(rows: list[dict[str, Any]]) -> None:
    schema = schema_of(TASK)
    table = pa.Table.from_pylist(rows, schema)
    with TemporaryDirectory() as folder:
        for suffix in ("parquet", "jsonl"):
            path = Path(folder) / f"s.{suffix}"
            with TableWriter(path, schema, metadata={METADATA: ORIGIN.to_json()}) as writer:
                writer.write_table(table)
            scores = read(path)
            assert len(scores) == len(rows)
            for name in schema.names:
                column = table.column(name).to_pylist()
                if scores.has(name):
                    assert scores.table.schema.field(name).type == schema.field(name).type
                    assert scores.table.column(name).to_pylist() == column, name
                else:  # JSON lines have no word for a column without any value
                    assert not any(value is not None for value in column), name
            assert set(NEEDED) <= set(scores.table.column_names)


def test_scores_made_by_hand_hold_none_as_no_score() -> None:
    keys = [("r", "a"), ("r", "b"), ("r", "c")]
    scores = scores_of(keys, [1.0, None, float("nan")], [0.5, None, None], Origin("x"))
    assert np.isnan(scores.numbers("score")).tolist() == [False, True, True]
    assert np.isnan(scores.numbers("probability")).tolist() == [False, True, True]


Run = Callable[..., Any]


@pytest.fixture
def run(toys: Path) -> Run:
    def command(*words: str | Path) -> Any:
        result = CliRunner().invoke(app, [*map(str, words), "--project", str(toys)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result

    return command


def rename(path: Path, ranker: str) -> None:
    """Say that somebody else has made a scores file, one that reads fields.

    It is no longer what `rank` wrote, so the config that says so and the origin's seal go too.
    """
    path.with_name(f"{path.stem}.config.json").unlink(missing_ok=True)
    table = pq.read_table(path)
    origin = json.loads(table.schema.metadata[METADATA.encode()])
    origin.pop(SEAL)
    origin |= {"ranker": ranker, "engine": {**origin["engine"], "dtype": "float64"}}
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(origin)}), path)


@pytest.mark.long
@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_eval_says_who_made_the_scores(run: Run, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"s.{suffix}"
    run("rank", "toys/like", "-o", out, "--engine", "fake")
    run("eval", "toys/like", "--scores", out, "-o", tmp_path / "report.json", "--draws", "100")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["reference"] == report["rankers"][0]["name"] == "decoder"
    origin = report["rankers"][0]["origin"]
    assert origin["engine"]["name"] == "fake"
    assert len(origin["prompt"]) == len(origin["requests"]) == 64
    baselines = {row["name"]: row["origin"]["ranker"] for row in report["rankers"][1:]}
    assert baselines
    assert all(name == ranker for name, ranker in baselines.items())


@pytest.mark.long
def test_eval_names_a_student_and_a_stranger_by_their_names(
    run: Run, toys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    run("rank", "toys/like", "-o", out, "--engine", "fake")
    table = pq.read_table(out)
    rename(out, "student:small")
    report = promptrank.evaluate("toys/like", project=toys, scores=out, draws=0)
    assert report.reference == report.rankers[0].name == "student:small"
    three = write(tmp_path / "three.jsonl", table.select(list(NEEDED)).to_pylist())
    report = promptrank.evaluate(
        "toys/like", project=toys, scores=out, vs=[f"scores:{three}"], draws=0
    )
    stranger = report.ranker(f"scores:{three}")
    assert report.rankers[1] == stranger
    assert stranger.origin["ranker"] == f"scores:{three}"
    assert stranger.unscored == 0
    assert stranger.differences["auc"].value == 0.0
    said: list[str] = []
    report = promptrank.evaluate("toys/like", project=toys, scores=three, draws=0, say=said.append)
    assert report.reference == f"scores:{three}"
    assert report.counts.candidates == PEOPLE * 5
    assert any("does not say how it was made" in line for line in said)


@pytest.mark.long
def test_scores_of_other_prompts_are_refused_unless_allowed(
    run: Run, toys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    run("rank", "toys/like", "-o", out, "--engine", "fake")
    words = ("eval", "toys/like", "--scores", out, "--draws", "100")
    assert "other prompts" not in run(*words).stderr
    template = toys / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("You rank", "Rank"))
    with pytest.raises(DataError, match="other prompts than toys/like words today"):
        run(*words)
    assert "warning:" in run(*words, "--allow-changed").stderr
    # As a rival they are compared all the same, and it is said.
    said: list[str] = []
    promptrank.evaluate(
        "toys/like", project=toys, engine="fake", vs=[f"scores:{out}"], draws=0, say=said.append
    )
    assert any("other prompts" in line for line in said)
    # What reads fields does not read the template.
    rename(out, "student:small")
    run(*words)
