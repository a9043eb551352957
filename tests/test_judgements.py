"""Judgements: rows that are never lost, labels by majority, preferences, and agreement."""

import multiprocessing
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import promptrank
from promptrank.basics.telling import silent
from promptrank.errors import DataError, InputError
from promptrank.evaluation.labeller_agreement import labeller_agreements
from promptrank.evaluation.preference_rows import preference_lines
from promptrank.evaluation.preferences import preferences_among
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.requests.judged_labels import judged_labels
from promptrank.requests.judgement_file import append_judgements, read_judgements
from promptrank.requests.judgement_rows import Judgement, line_of, standing
from promptrank.scores.origin import Origin
from promptrank.scores.scores import Scores, scores_of
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import open_task


def said(
    number: int, who: str, answer: str, candidate: str = "c", request: str = "r", **more: str
) -> Judgement:
    return Judgement(
        f"j{number}", 1e9 + number, who, "answer", request, "s", (candidate,), "like", answer,
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


def chose(
    number: int, who: str, pair: tuple[str, str], preferred: str | None, request: str = "r"
) -> Judgement:
    name = f"p{number}"
    return Judgement(name, 1e9, who, "preference", request, "s", pair, preferred=preferred)


def undo(number: int, who: str, what: str) -> Judgement:
    return Judgement(f"u{number}", 1e9, who, "undo", undoes=what)


def test_rows_come_back_as_they_were_and_once(tmp_path: Path) -> None:
    path = tmp_path / "judgements/toys/like.jsonl"
    rows = [
        said(1, "Ann", "like", comment='line\n"two" \u2028 é', shown="d"),
        chose(2, "Bob", ("=cmd", "b"), None),
        undo(3, "Ann", "j1"),
        Judgement("k", 1e9, "Ann", "skip", "r", "s", ("a", "b"), by="uncertain"),
    ]
    for row in rows:
        append_judgements(path, [row])
    append_judgements(path, rows[:2])  # sent again
    kept = read_judgements(path)
    assert [replace(row, line=0) for row in kept] == rows
    assert [row.line for row in kept] == [1, 2, 3, 4]
    assert path.read_text().count("\n") == 4
    assert '"preferred": null' in path.read_text().split("\n")[1]


@pytest.mark.parametrize("torn", [1, 20, 90])
def test_what_a_kill_left_of_a_row_is_cut_off_by_the_next(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "j.jsonl"
    append_judgements(path, [said(1, "Ann", "like")])
    with path.open("ab") as file:
        file.write(line_of(said(2, "Ann", "dislike"))[:torn])
    assert [row.id for row in read_judgements(path)] == ["j1"]
    append_judgements(path, [said(3, "Bob", "like")])
    assert [row.id for row in read_judgements(path)] == ["j1", "j3"]


def test_a_last_line_that_an_editor_left_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(line_of(said(1, "Ann", "like")).rstrip(b"\n"))
    append_judgements(path, [said(2, "Bob", "like")])
    assert [row.id for row in read_judgements(path)] == ["j1", "j2"]


def _append(path: Path, who: str, count: int) -> None:
    for number in range(count):
        append_judgements(path, [replace(said(number, who, "like"), id=f"{who}{number}")])


@pytest.mark.slow
def test_two_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    path, context = tmp_path / "j.jsonl", multiprocessing.get_context("spawn")
    people = [context.Process(target=_append, args=(path, who, 40)) for who in ("Ann", "Bob")]
    for each in people:
        each.start()
    for each in people:
        each.join(60)
    kept = {row.id for row in read_judgements(path)}
    assert kept == {f"{who}{n}" for who in ("Ann", "Bob") for n in range(40)}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[]", ":1: no judgement"),
        ('{"id": "a", "time": "now", "labeller": "x", "kind": "undo"}', "time: Input should be"),
        ('{"id": "a", "time": 1.0, "labeller": "x", "kind": "guess"}', "kind: Input should be"),
        ('{"id": "a", "time": 1.0, "labeller": " ", "kind": "undo", "undoes": "b"}', "labeller"),
        ('{"id": "a", "time": 1.0, "labeller": "x", "kind": "answer"}', "say what is judged"),
    ],
)
def test_a_line_that_is_no_judgement_is_told_with_its_place(
    tmp_path: Path, line: str, why: str
) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=why):
        read_judgements(path)


def test_what_could_not_be_read_back_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    wrong = [
        said(1, "Ann", "like", comment="half a character \udc80"),
        said(1, "Ann", "like", comment="x" * 2001),
        said(1, "An\nn", "like"),
        chose(1, "Ann", ("a", "b"), "c"),
        chose(1, "Ann", ("a", "a"), "a"),
    ]
    for row in wrong:
        with pytest.raises(InputError, match="no judgement"):
            append_judgements(path, [row])
    assert read_judgements(path) == []


def test_most_labellers_decide_and_the_last_word_of_each_counts() -> None:
    rows = [
        said(1, "Ann", "like"),
        said(2, "Bob", "dislike"),
        said(3, "Cem", "dislike"),
        said(4, "Ann", "like", "d"),
        said(5, "Bob", "dislike", "d"),
        said(6, "Ann", "like", "e"),
        said(7, "Ann", "dislike", "e"),
        said(8, "Ann", "like", "f"),
        undo(9, "Ann", "j8"),
        said(10, "Bob", "like", "g"),
        undo(11, "Ann", "j10"),  # of another: it stays
    ]
    labels = judged_labels(standing(rows))
    assert {key[1]: row.answer for key, row in labels.settled.items()} == {
        "c": "dislike", "e": "dislike", "g": "like",
    }  # fmt: skip
    assert labels.split == (("r", "d", "like"),)


def test_undoing_a_second_thought_brings_the_first_back() -> None:
    held = standing([said(1, "Ann", "like"), said(2, "Ann", "dislike"), undo(3, "Ann", "j2")])
    assert [row.answer for row in held.answers] == ["like"]


def test_agreement_is_cohens_kappa_by_hand() -> None:
    """20 + 15 of 50 alike, 25 and 30 times yes: (.7 - .5) / (1 - .5) = .4, Cohen's own example."""
    told = [("like", "like")] * 20 + [("like", "dislike")] * 5
    told += [("dislike", "like")] * 10 + [("dislike", "dislike")] * 15
    rows = []
    for number, (ann, bob) in enumerate(told):
        rows += [said(2 * number, "Ann", ann, f"c{number}")]
        rows += [said(2 * number + 1, "Bob", bob, f"c{number}")]
    pair = ("a", "b")
    rows += [chose(1, "Ann", pair, "a"), chose(2, "Cem", pair[::-1], "a")]
    answers, pairs = labeller_agreements(standing(rows))
    assert (answers.labellers, answers.question) == (("Ann", "Bob"), "like")
    assert (answers.both, answers.same) == (50, 35)
    assert answers.kappa == pytest.approx(0.4)
    # The same pair the other way round is the same choice; one alone says nothing about chance.
    assert (pairs.labellers, pairs.same, pairs.kappa) == (("Ann", "Cem"), 1, None)


def requests_of(count: int) -> list[Request]:
    candidates = tuple(Candidate(name, Item(name, {})) for name in "abc")
    return [Request(f"r{i}", Subject(f"m{i}", {}), candidates) for i in range(count)]


def by(scores: Sequence[float | None], requests: Sequence[Request]) -> Scores:
    keys = [(r.request_id, name) for r in requests for name in "abc"]
    return scores_of(keys, list(scores) * len(requests), None, Origin("t", "x"))


def test_agreement_with_preferences_by_hand() -> None:
    """a over b: right; c over a: wrong; b over c: a tie, half; one alike, one split, one lost."""
    requests = requests_of(5)
    given = [
        chose(1, "Ann", ("a", "b"), "a", "r0"),
        chose(2, "Ann", ("c", "a"), "c", "r1"),
        chose(3, "Ann", ("b", "c"), "b", "r2"),
        chose(4, "Ann", ("b", "c"), None, "r3"),
        chose(5, "Ann", ("a", "b"), "a", "r4"),
        chose(6, "Bob", ("a", "b"), "b", "r4"),
        chose(7, "Ann", ("a", "b"), "a", "gone"),
        chose(8, "Ann", ("a", "c"), "a", "r4"),
        replace(chose(9, "Ann", ("a", "c"), "a", "r3"), by="uncertain"),
    ]
    scores = {"decoder": by([2.0, 1.0, 1.0], requests), "other": by([1.0, 2.0, 3.0], requests)}
    lost = scores["other"].table.to_pylist()
    keys = [(row["request_id"], row["candidate_id"]) for row in lost]
    some = [
        None if key == ("r4", "c") else row["score"] for key, row in zip(keys, lost, strict=True)
    ]
    scores["other"] = scores_of(keys, some, None, Origin("t", "y"))
    told = preferences_among(given, requests, scores, draws=200, seed=0)
    assert told is not None
    assert (told.pairs, told.subjects, told.equal, told.split, told.unscored) == (4, 4, 1, 1, 1)
    shares = {row.name: row.share for row in told.rankers}
    assert shares == pytest.approx({"decoder": (1 + 0 + 0.5 + 1) / 4, "other": 1 / 4})
    assert all(row.low <= row.share <= row.high for row in told.rankers)  # type: ignore[operator]
    lines = list(preference_lines(told))
    assert lines[0].startswith("preferences: 4 pairs of 4 subjects")
    assert "1 both alike, 1 people split, 1 no score" in lines[0]
    assert "decoder agrees with 62%" in lines[1] and "1 of these pairs was chosen" in lines[2]
    assert preferences_among(given[6:7], requests, scores, draws=0, seed=0) is None


@pytest.mark.slow
def test_what_was_judged_is_what_eval_measures_by(toys: Path) -> None:
    """Labels of the log are overridden, labels that were lacking are added, and choices told."""
    opened = open_task("toys/like", project=toys)
    with request_file(opened, None, splits=None, say=silent) as file:
        requests = list(file.read())
    test = [r for r in requests if r.split == "test" and len(r.candidates) > 1]
    rng, rows, wanted = random.Random(5), list[Judgement](), dict[tuple[str, str], str]()
    for number, request in enumerate(test[:6]):
        candidate = rng.choice(request.candidates)
        answer = "dislike" if candidate.outcomes["like"] == "like" else "like"
        wanted[request.request_id, candidate.candidate_id] = answer
        rows.append(
            replace(
                said(number, "Ann", answer, candidate.candidate_id, request.request_id),
                subject_id=request.subject.subject_id,
            )
        )
        first, second = request.candidates[:2]
        rows.append(
            chose(
                number,
                "Ann",
                (first.candidate_id, second.candidate_id),
                first.candidate_id,
                request.request_id,
            )
        )
    append_judgements(toys / "judgements/toys/like.jsonl", rows)
    setting = ["corrections=judgements/toys/like.jsonl"]
    judged = open_task("toys/like", project=toys, settings=setting)
    with request_file(judged, None, splits=None, say=silent) as file:
        after = {(r.request_id, c.candidate_id): c for r in file.read() for c in r.candidates}
    before = {(r.request_id, c.candidate_id): c for r in requests for c in r.candidates}
    changed = {key: c.outcomes["like"] for key, c in after.items() if c != before[key]}
    assert changed == wanted
    report = promptrank.evaluate(judged, engine="fake", draws=50)
    assert any("6 of 6 labels" in note for note in report.notes)
    assert report.preferences is not None and report.preferences.pairs == 6
    plain = promptrank.evaluate(opened, engine="fake", draws=50)
    assert plain.preferences is None
    assert plain.ranker("decoder").cells["auc"] != report.ranker("decoder").cells["auc"]


@pytest.mark.long
def test_the_workbenchs_file_may_not_be_there_yet_and_others_must(toys: Path) -> None:
    setting = "corrections=judgements/toys/like.jsonl"
    opened = open_task("toys/like", project=toys, settings=[setting])
    with request_file(opened, None, splits=None, say=silent) as file:
        assert file.corrections is None
    other = open_task("toys/like", project=toys, settings=["corrections=judgements/like.jsonl"])
    with (
        pytest.raises(DataError, match="the workbench writes"),
        request_file(other, None, splits=None, say=silent),
    ):
        pass
