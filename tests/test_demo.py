"""The demo's pieces, without its model: whose ranking is shown, and what is said of the figures."""

import dataclasses
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from promptrank.cli.demo_conclusion import conclusion, page, renamed, short_table
from promptrank.cli.demo_plan import BASELINES, PUPIL
from promptrank.cli.demo_ranking import (
    Movie,
    choose_member,
    ranked_movies,
    ranking_table,
    write_request,
)
from promptrank.evaluation.report import Counts, Report
from promptrank.evaluation.report_rows import Cell, Cost, Difference, Pair, RankerRow

TITLES = {"i1": "Alpha", "i2": "Beta [1]", "i3": "Gamma", "i4": "Delta"}


def write_tables(folder: Path, stars: dict[str, dict[str, int]]) -> Path:
    """Tables and a request file in which each member's movies are one request of the test part."""
    ids = list(TITLES)
    items = {"item_id": ids, "title": list(TITLES.values()), "year": [1990, 1991, None, 1993]}
    pq.write_table(pa.table(items), folder / "items.parquet")
    ratings = [
        {"member_id": member, "item_id": item, "rating": given, "timestamp": 5}
        for member, theirs in stars.items()
        for item, given in theirs.items()
    ]
    pq.write_table(pa.Table.from_pylist(ratings), folder / "ratings.parquet")
    history = [
        {"item_id": "i3", "action": "like", "time": 1.0},
        {"item_id": "i4", "action": "like", "time": 2.0},
        {"item_id": "i1", "action": "dislike", "time": 3.0},
    ]
    rows = [
        {
            "request_id": f"{member}@5",
            "split": "train" if member == "m0" else "test",
            "member_id": member,
            # The format has these on a request's first row only.
            "member": {"age": 30, "occupation": "baker"} if not place else None,
            "history": history if not place else None,
            "item_id": item,
        }
        for member, theirs in stars.items()
        for place, item in enumerate(theirs)
    ]
    requests = folder / "requests.parquet"
    pq.write_table(pa.Table.from_pylist(rows), requests)
    (folder / "requests.items.arrow").write_bytes(b"items")
    return requests


def test_the_member_shown_gave_the_most_different_stars(tmp_path: Path) -> None:
    requests = write_tables(
        tmp_path,
        {
            "m0": {"i1": 1, "i2": 2, "i3": 3, "i4": 4},  # not of the test part
            "m1": {"i1": 5, "i2": 5, "i3": 5, "i4": 4},
            "m2": {"i1": 5, "i2": 3, "i3": 1, "i4": 1},
            "m3": {"i1": 1, "i2": 2, "i3": 3},
        },
    )
    member = choose_member(requests, tmp_path)
    assert (member.request_id, member.member_id) == ("m2@5", "m2")
    assert member.about == "30 years old, baker"
    assert (member.liked, member.disliked) == (("Delta", "Gamma"), ("Alpha",))


def test_one_request_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    requests = write_tables(tmp_path, {"m1": {"i1": 5, "i2": 4}, "m2": {"i1": 1, "i3": 2}})
    write_request(requests, "m2@5", tmp_path / "one.parquet")
    rows = pq.read_table(tmp_path / "one.parquet").to_pylist()
    assert [(row["request_id"], row["item_id"]) for row in rows] == [("m2@5", "i1"), ("m2@5", "i3")]
    assert rows[0]["history"][0]["item_id"] == "i3"
    assert (tmp_path / "one.items.arrow").read_bytes() == b"items"


def test_the_ranking_has_titles_and_stars(tmp_path: Path) -> None:
    write_tables(tmp_path, {"m1": {"i1": 2, "i2": 5, "i3": 1}})
    scores = {
        "subject_id": ["m1"] * 3,
        "item_id": ["i1", "i2", "i3"],
        "rank": [2, 1, 3],
        "score": [0.5, 0.75, 0.25],
    }
    pq.write_table(pa.table(scores), tmp_path / "scores.parquet")
    movies = ranked_movies(tmp_path / "scores.parquet", tmp_path)
    assert movies == [
        Movie("Beta [1]", 1991, 0.75, 5),
        Movie("Alpha", 1990, 0.5, 2),
        Movie("Gamma", None, 0.25, 1),
    ]
    lines = shown(ranking_table(movies))
    assert lines[2].split() == ["1", "Beta", "[1]", "(1991)", "75%", "*****"]
    assert lines[4].split() == ["3", "Gamma", "25%", "*"]


def shown(table: object) -> list[str]:
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(table)
    return console.export_text().splitlines()


def cell(value: float) -> Cell:
    return Cell(value, value - 0.05, value + 0.05, None, "subjects", 100, 0)


def report_of(item_means: Difference, student: Difference) -> Report:
    """A decoder at .782, with the differences of two other rankers to it."""

    def ranker(name: str, auc: Difference) -> RankerRow:
        cells = {"auc": cell(0.782 + auc.value), "ndcg@10": cell(0.85)}
        return RankerRow(name, 0, cells, {"auc": auc})

    decoder = RankerRow("decoder", 0, {"auc": cell(0.782), "ndcg@10": cell(0.868)})
    worst = Difference(-0.28, -0.33, -0.23, "worse")
    others = (ranker("item_member_mean", item_means), ranker("scores:s", student))
    return Report(
        "decoder",
        ("auc", "ndcg@10"),
        1000,
        0,
        0.95,
        Counts(100, 100, 1000, 560, 0, 0, 0),
        (decoder, ranker("random", worst), *others),
        pairs=(Pair("decoder", "random", {}),),
    )


NAMES = {"decoder": "decoder, shipped adapter", "scores:s": PUPIL, **BASELINES}


def said(report: Report, **costs: float | None) -> str:
    given: dict[str, float | None] = {"decoder_us": 69_400.0, "student_us": 25.2, **costs}
    return conclusion(
        renamed(report, NAMES),
        list(BASELINES.values()),
        PUPIL,
        decoder_us=given["decoder_us"],
        student_us=given["student_us"],
    )


LEVEL = Difference(-0.013, -0.037, 0.008, None)


def test_the_conclusion_in_two_sentences() -> None:
    text = said(report_of(LEVEL, Difference(-0.018, -0.034, -0.002, "worse")))
    assert text == (
        "On 100 members the decoder with the shipped adapter cannot be told apart from the best "
        "simple baseline, item mean + member mean: AUC .782 against .769 (difference +.013, 95% "
        "interval -.008 to +.037). Its student, small trees that learned from the decoder's "
        "answers, ranks worse than the decoder: AUC .764 (difference -.018, 95% interval -.034 to "
        "-.002), and takes 25 microseconds a candidate where the decoder takes 69 milliseconds."
    )


@pytest.mark.parametrize(
    ("item_means", "student", "words"),
    [
        (Difference(-0.05, -0.08, -0.02, "worse"), LEVEL, "ranks better than the best simple"),
        (Difference(0.05, 0.02, 0.08, "better"), LEVEL, "ranks worse than the best simple"),
        (LEVEL, LEVEL, "cannot be told apart from it: AUC .769"),
        (LEVEL, Difference(0.02, 0.01, 0.03, "better"), "ranks better than the decoder: AUC .802"),
        (Difference(-0.05, None, None, None), LEVEL, ".732 (difference +.050)."),
    ],
)
def test_the_words_follow_the_numbers(
    item_means: Difference, student: Difference, words: str
) -> None:
    assert words in said(report_of(item_means, student))


def test_the_conclusion_without_costs_says_none() -> None:
    text = said(report_of(LEVEL, LEVEL), decoder_us=None, student_us=None)
    assert text.endswith("interval -.037 to +.008).")


def test_the_short_table_has_the_best_first_with_intervals() -> None:
    report = renamed(report_of(Difference(0.01, -0.01, 0.03, None), LEVEL), NAMES)
    lines = shown(short_table(report))
    assert lines[0].split() == ["ranker", "AUC", "NDCG@10"]
    names = [line[:26].strip() for line in lines[2:]]
    assert names == [
        "item mean + member mean",
        "decoder, shipped adapter",
        "student of the decoder",
        "random order",
    ]
    assert lines[3].endswith(".782 (.732-.832)   .868 (.818-.918)")


def test_names_are_changed_wherever_a_ranker_is_named() -> None:
    report = dataclasses.replace(report_of(LEVEL, LEVEL), absent={"popularity": "no scores"})
    changed = renamed(report, {"decoder": "D", "random": "R", "popularity": "P"})
    assert changed.reference == "D"
    assert [ranker.name for ranker in changed.rankers][:2] == ["D", "R"]
    assert dict(changed.absent) == {"P": "no scores"}
    assert [(pair.name, pair.against) for pair in changed.pairs] == [("D", "R")]


def test_the_page_has_the_conclusion_first_and_every_table() -> None:
    report = renamed(report_of(LEVEL, LEVEL), NAMES)
    cells = report.rankers[0].cells
    rows = (
        RankerRow("teacher", 0, cells, cost=Cost(69_400.0, 543_000_000)),
        RankerRow("small", 0, cells, cost=Cost(25.2, 38_000), kept=0.5),
    )
    students = dataclasses.replace(report, rankers=rows, best_baseline="random")
    text = page("Two sentences.", report, students)
    assert text.startswith("# The demo's report\n\nTwo sentences.\n")
    for words in ("| decoder, shipped adapter |", "| student of the decoder ", "543.0 MB", "25.2"):
        assert words in text
