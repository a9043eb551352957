"""Corrections: what a person answers overrides that label, everywhere it is read, and no other."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import promptrank
from promptrank.basics.spreadsheets import guarded, read_cells, unguarded, write_cells
from promptrank.basics.telling import silent
from promptrank.errors import DataError
from promptrank.records import Candidate, Item, Request, Subject
from promptrank.requests.corrections import CORRECTED, corrected_items, overridden, read_corrections
from promptrank.training.label_shares import Choosable, HeldOut, select
from promptrank.training.prepared import Prepared, prepare
from promptrank.training.settings import Settings
from promptrank.training.survey import Survey
from promptrank.workspace.correction_files import correction_files
from promptrank.workspace.request_files import build_file, given_file, request_file
from promptrank.workspace.tasks import OpenTask, open_task
from promptrank.workspace.training_parts import EncoderOpener
from support.data import make_task

HEAD = "request_id,candidate_id,answer\n"


def opened_toys(toys: Path, *settings: str) -> OpenTask:
    return open_task("toys/like", project=toys, settings=["corrections=fixed.csv", *settings])


def labels_of(requests: Sequence[Request]) -> dict[tuple[str, str], str | None]:
    return {
        (r.request_id, c.candidate_id): c.outcomes.get("like")
        for r in requests
        for c in r.candidates
    }


def requests_of(opened: OpenTask, path: Path | None = None) -> list[Request]:
    with request_file(opened, path, splits=None, say=silent) as file:
        return list(file.read())


def bare(request: Request) -> Request:
    """All of a request that is no label."""
    meta = {name: value for name, value in request.meta.items() if name != CORRECTED}
    candidates = tuple(replace(c, outcomes={}, label_source=None) for c in request.candidates)
    return replace(request, candidates=candidates, meta=meta)


@pytest.mark.long
@pytest.mark.parametrize(
    "ending", [pytest.param(None, marks=pytest.mark.slow), ".parquet", ".jsonl"]
)
def test_only_the_corrected_labels_change(toys: Path, ending: str | None) -> None:
    """Histories, statistics and as-of numbers stay as logged, in files built before too."""
    settings = ["statistics.liked={mean: 'stars', of: item}"]
    plain = open_task("toys/like", project=toys, settings=settings)
    path = None
    if ending is not None:
        path = toys / f"requests{ending}"
        build_file(plain, path, say=silent)
    before = requests_of(plain, path)
    was = labels_of(before)
    rng = random.Random(7)
    chosen = rng.sample(sorted(was), 12)
    answers = {key: "drop" if i % 4 == 0 else flipped(was[key]) for i, key in enumerate(chosen)}
    write_cells(toys / "fixed.csv", HEAD.strip().split(","), [[*k, a] for k, a in answers.items()])
    opened = opened_toys(toys, *settings)
    after = requests_of(opened, path)
    wanted = was | {key: None if a == "drop" else a for key, a in answers.items()}
    assert labels_of(after) == wanted
    assert [bare(r) for r in after] == [bare(r) for r in before]
    logged = {
        (r.request_id, name): answer["like"]
        for r in after
        for name, answer in overridden(r).items()
    }
    assert logged == {key: was[key] for key in chosen}
    sources = {
        (r.request_id, c.candidate_id) for r in after for c in r.candidates if c.label_source
    }
    assert sources == set(chosen)


def flipped(answer: str | None) -> str:
    return "dislike" if answer == "like" else "like"


@pytest.mark.slow
def test_a_label_is_found_again_when_requests_are_grouped_anew(toys: Path) -> None:
    """Blocks are counted back from the last rating, so one more moves all of a member's."""
    before = requests_of(open_task("toys/like", project=toys))
    mine = [r for r in before if r.subject.subject_id == "p3"]
    request = mine[1]
    candidate = request.candidates[2]
    answer = flipped(candidate.outcomes["like"])
    row = [request.request_id, candidate.candidate_id, "p3", answer]
    write_cells(toys / "fixed.csv", ["request_id", "candidate_id", "subject_id", "answer"], [row])
    with (toys / "ratings.csv").open("a", newline="") as file:
        file.write("p3,t19,2000000,5\r\n")
    changed = requests_of(opened_toys(toys))
    plain = labels_of(requests_of(open_task("toys/like", project=toys)))
    differ = {k: v for k, v in labels_of(changed).items() if plain[k] != v}
    assert [(key[1], value) for key, value in differ.items()] == [(candidate.candidate_id, answer)]
    assert request.request_id not in {r.request_id for r in changed}  # the name is gone


@pytest.mark.long
def test_what_matches_nothing_is_counted_and_told(toys: Path) -> None:
    build_file(open_task("toys/like", project=toys), toys / "r.parquet", say=silent)
    plain = requests_of(open_task("toys/like", project=toys), toys / "r.parquet")
    key = next(iter(labels_of(plain)))
    (toys / "fixed.csv").write_text(f"{HEAD}{','.join(key)},drop\nnobody,t1,like\n{key[0]},t1,\n")
    said: list[str] = []
    given_file(opened_toys(toys), toys / "r.parquet", said.append)
    assert said == [
        "corrections: 1 of 2 labels stand in the requests that were read; 1 match no candidate, "
        f"such as 't1' of request 'nobody' ({toys}/fixed.csv:3)"
    ]


@pytest.mark.slow
def test_validate_says_how_many_apply(toys: Path) -> None:
    (toys / "fixed.csv").write_text(f"{HEAD}nobody,t1,like\n")
    checked = promptrank.validate("toys/like", project=toys, settings=["corrections=fixed.csv"])
    assert not checked.problems
    assert any(
        "0 of 1 labels stand in the requests that were read" in line for line in checked.warnings
    )
    (toys / "fixed.csv").write_text(f"{HEAD}nobody,t1,perhaps\n")
    checked = promptrank.validate("toys/like", project=toys, settings=["corrections=fixed.csv"])
    assert any("no answer 'perhaps' to like" in line for line in checked.problems)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{HEAD}r,c,maybe\n", r"fixed.csv:2: no answer 'maybe' to like; there are: like, dislike"),
        (
            f"{HEAD}r,c,like\nr,c,No\n",
            "fixed.csv:3: 'dislike' for 'c' of .*'like' at .*csv:2; keep",
        ),
        (f"{HEAD}r,,like\n", "fixed.csv:2: no request_id or candidate_id"),
        ("request_id,candidate_id,question,answer\nr,c,lke,like\n", "did you mean 'like'"),
        ("request_id,candidate_id\nr,c\n", "no column answer in its first line"),
        ("", "which has nothing"),
        (f"{HEAD}r,c,like,more\n", "fixed.csv:2: 4 cells under 3 columns"),
        (f'{HEAD}r,"c,like\n', "is no CSV file"),
    ],
)
def test_rows_that_cannot_be_meant(toys: Path, text: str, why: str) -> None:
    (toys / "fixed.csv").write_text(text)
    with pytest.raises(DataError, match=why):
        read_corrections([toys / "fixed.csv"], opened_toys(toys).task)


def test_a_file_that_is_not_there(toys: Path) -> None:
    with pytest.raises(DataError, match=r"corrections: no file .*fixed.csv; .* --doubts FILE.csv"):
        correction_files(opened_toys(toys))


def test_answers_by_any_of_their_words(tmp_path: Path) -> None:
    answers = {
        "good": {"say": ["Yes", "Sure"], "value": 1, "labels": ["2", "1"]},
        "bad": {"say": "No", "value": 0, "labels": ["0"]},
    }
    task = make_task(questions={"q": {"answers": answers}})
    words = ["good", "YES", "sure", "2", "No", "0", "BAD", "Drop", ""]
    path = tmp_path / "c.csv"
    # As a spreadsheet saves it where commas are decimal signs.
    lines = [f"r;c{i};{word}" for i, word in enumerate(words)]
    path.write_text("\ufeff" + "\r\n".join(["request_id;candidate_id;answer", *lines, ";;"]))
    made = [c.answer for c in read_corrections([path], task)]
    assert made == ["good"] * 4 + ["bad"] * 3 + [None]


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-7", "@a", "\tb", "'=c", "''", "\uff1dd", "it's", ""]
)
def test_texts_that_spreadsheets_would_run(tmp_path: Path, text: str) -> None:
    cell = guarded(text)
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d"))
    assert unguarded(cell) == text
    write_cells(tmp_path / "x.csv", ["a", "b"], [[text, -1.5], ["x", float("nan")]])
    rows = [row for _, row in read_cells(tmp_path / "x.csv", ("a",))]
    assert unguarded(rows[0]["a"]) == text and rows[0]["b"] == "-1.5"
    assert rows[1] == {"a": "x", "b": ""}


def test_cells_longer_than_csv_reads_by_itself(tmp_path: Path) -> None:
    write_cells(tmp_path / "x.csv", ["answer", "comment"], [["like", "x" * 200_000]])
    assert [len(row["comment"]) for _, row in read_cells(tmp_path / "x.csv", ())] == [200_000]


def test_a_corrected_turn_trains_as_a_candidate_alone() -> None:
    turns = (("a", 10.0), ("b", 11.0))
    entries = [
        Choosable("r1", "m", 10.0, ("a", "b", "c"), (), ("b",)),
        Choosable("r2", "m", 20.0, ("d",), (*turns, ("c", 12.0))),
    ]
    shares = select(Survey(entries).subjects(), None)
    # r2 trains d and the turns a and c; r1 is taken for b, which stands wrong in r2's history.
    assert shares["r2"].turns == {("b", 11.0)} and shares["r2"].labels == 3
    assert shares["r1"].items == {"a", "c"} and shares["r1"].labels == 1
    dropped = [replace(entries[0], labelled=("a", "c")), entries[1]]
    shares = select(Survey(dropped).subjects(), None)
    assert shares["r2"].turns == {("b", 11.0)} and "r1" not in shares


@pytest.mark.parametrize("name", ["corrected", CORRECTED])
@pytest.mark.parametrize("value", [True, {"c0": {"like": "like"}}, ["c0"]])
def test_a_request_file_may_have_any_meta(name: str, value: object) -> None:
    """What a file says of itself is no correction, whatever it is called."""
    candidate = Candidate("c0", Item("t0", {}))
    request = Request("r", Subject("p", {}), (candidate,), (), meta={name: value})
    assert not overridden(request) and not corrected_items(request, "like")
    held = HeldOut()
    held.add(request)
    assert not held.since


def prepared(toys: Path, said: list[str], *settings: str) -> Prepared:
    opened = open_task("toys/like", project=toys, settings=list(settings))
    file = toys / "requests.parquet"
    if not file.is_file():
        build_file(opened, file, say=silent)
    opener = EncoderOpener(opened, Path(opened.task.model), 2048)
    given = given_file(opened, file)
    store = toys / "examples"
    return prepare(
        "t", opened.task, given, Settings(valid=0), opener, number=0, store=store, say=said.append
    )


@pytest.mark.long
def test_training_sees_corrections_and_keeps_no_stale_examples(toys: Path) -> None:
    said: list[str] = []
    plain = prepared(toys, said)
    held = {e.request_id: e for e in plain.examples}
    example = plain.examples[0]
    target = example.branches[0][1][0]
    assert target is not None
    answer = "dislike" if target.value else "like"
    key = f"{example.request_id},{example.candidate_ids[0]}"
    (toys / "fixed.csv").write_text(f"{HEAD}{key},{answer}\n")
    fixed = prepared(toys, said, "corrections=fixed.csv")
    made = {e.request_id: e for e in fixed.examples}
    assert [name for name in held if made[name] != held[name]] == [example.request_id]
    now = made[example.request_id].branches[0][1][0]
    assert now is not None and now.value == 1 - target.value
    assert fixed.data != plain.data
    (toys / "fixed.csv").write_text(f"{HEAD}{key},drop\n")  # the same name, another answer
    dropped = prepared(toys, said, "corrections=fixed.csv")
    assert dropped.labels == plain.labels - 1
    assert not any("reused" in line for line in said)
    prepared(toys, said, "corrections=fixed.csv")
    assert any("reused" in line for line in said)


@pytest.mark.long
def test_a_label_that_is_dropped_from_the_test_is_held_out_all_the_same(toys: Path) -> None:
    file = toys / "r.parquet"
    build_file(open_task("toys/like", project=toys), file, say=silent)
    before = requests_of(open_task("toys/like", project=toys), file)
    request = next(r for r in before if r.split == "test")
    name = request.candidates[0].candidate_id
    (toys / "fixed.csv").write_text(f"{HEAD}{request.request_id},{name},drop\n")
    after = requests_of(opened_toys(toys), file)
    (now,) = (r for r in after if r.request_id == request.request_id)
    held, was = HeldOut(), HeldOut()
    held.add(now)
    was.add(request)
    assert not now.candidates[0].outcomes and held.since == was.since
