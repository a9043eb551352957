"""A classifier from a decoder's answers alone, and the two judges it is shown to."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import promptrank
from promptrank.evaluation.agreement import rank_correlation
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.students.lessons import make_lessons
from promptrank.students.teacher_agreement import auc, calls_relevant, with_outcomes
from promptrank.workspace.request_files import given_file
from promptrank.workspace.tasks import OpenTask, open_task

BENCH = Path(__file__).parent.parent / "bench" / "fit.py"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    """The benchmark, as a module."""
    spec = importlib.util.spec_from_file_location("bench_fit", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_fit"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_fit"]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenTask:
    """jobs/fit on a small marketplace, with its requests beside it."""
    root = tmp_path_factory.mktemp("jobs")
    promptrank.simulate_jobs(root / "data/jobs", promptrank.Switches(members=80, seed=2))
    task = open_task("jobs/fit", project=root)
    promptrank.build(task, root / "requests.parquet")
    return task


def write_scores(path: Path, chances: dict[tuple[str, str], float]) -> None:
    """A scores file of P(bad), as `rank` writes it."""
    p = np.array(list(chances.values()))
    columns = {
        "request_id": [request for request, _ in chances],
        "candidate_id": [candidate for _, candidate in chances],
        "score": p,
        "bad_probability": p,
        "bad_logprob_bad": np.log(p),
        "bad_logprob_good": np.log(1 - p),
    }
    pq.write_table(pa.table(columns), path)


@pytest.mark.slow
def test_a_student_of_answers_alone_learns_them_and_not_the_labels(
    bench: ModuleType,
    opened: OpenTask,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A teacher with a rule of its own: early and late levels are bad, whatever the member.
    file = given_file(opened, opened.project / "requests.parquet")
    chances = {
        (r.request_id, c.candidate_id): 0.8
        if c.item.fields["level"] in ("trainee", "lead")
        else 0.3
        for r in file.read()
        for c in r.candidates
    }
    scores = tmp_path / "scores.parquet"
    write_scores(scores, chances)
    bench.main(
        [
            *("--teacher", f"scores:{scores}", "--project", str(opened.project)),
            *("--draws", "100", "--timed", "1"),
        ]
    )
    said = capsys.readouterr().out.splitlines()
    line = dict(part.split("=") for part in said[-1].split())
    keys = [(r.request_id, c.candidate_id) for r in file.read({"test"}) for c in r.candidates]
    truth = bench.truth_of(opened.project / "data/jobs")
    bad = np.array([truth[key] for key in keys])
    taught = auc(bad, np.array([chances[key] for key in keys])) or 0.0
    assert line["teacher_truth_auc"] == f"{taught:.3f}"
    assert float(line["labels_auc"]) > 0.99
    assert float(line["truth_auc"]) == pytest.approx(taught, abs=0.05)
    # The same trees on recorded labels know the truth, and nothing of the teacher's rule.
    (labels,) = [row.split() for row in said if row.startswith("  gbdt, labels")]
    assert float(labels[2]) < 0.65
    assert float(labels[4]) > 0.75


@pytest.mark.long
def test_without_labels_none_is_seen_in_any_part(opened: OpenTask) -> None:
    file = given_file(opened, opened.project / "requests.parquet")
    requests = list(file.read({"train", "valid"}))
    few = {next(r.request_id for r in requests if r.split == part) for part in ("train", "valid")}
    for shown, expected in ((set[str](), 0), (few, 2), (None, len(requests))):
        lessons = make_lessons(opened.task, requests, None, labelled=shown)
        assert sum(lesson.labels["bad"][0] is not None for lesson in lessons) == expected


def test_what_a_teacher_calls_relevant_is_cut_at_one_half_or_at_the_median() -> None:
    said, cut = calls_relevant(np.array([0.2, 0.5, 0.6, 0.9]))
    assert (said.tolist(), cut) == ([False, False, True, True], 0.5)
    said, cut = calls_relevant(np.array([0.01, 0.02, 0.04, 0.05]))
    assert said.tolist() == [False, False, True, True]
    assert cut == pytest.approx(0.03)
    # One of twenty-one is less than a twentieth; one of twenty is not.
    assert calls_relevant(np.array([0.1] * 20 + [0.9]))[1] == 0.1
    assert calls_relevant(np.array([0.1] * 19 + [0.9]))[1] == 0.5


def test_rank_correlation_by_hand() -> None:
    # Ranks 1, 2, 3, 4 against 1, 2, 4, 3: 1 - 6 x 2 / (4 x 15)
    assert rank_correlation(np.array([1, 2, 3, 9.0]), np.array([0.1, 0.2, 0.9, 0.3])) == (
        pytest.approx(0.8)
    )
    assert rank_correlation(np.array([1.0, 2]), np.array([1.0, 1])) is None


def test_outcomes_of_another_judge() -> None:
    pair = tuple(Candidate(c, Item(c, {}), outcomes={"bad": "bad"}) for c in "ab")
    request = Request("r", Subject(member_id="m", member={}), pair)
    (other,) = with_outcomes([request], "bad", {("r", "a"): "good", ("other", "b"): "bad"})
    assert [dict(c.outcomes) for c in other.candidates] == [{"bad": "good"}, {}]
    assert [c.item for c in other.candidates] == [c.item for c in pair]
