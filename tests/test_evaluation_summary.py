"""The report in a few lines: the verdict first, one row a ranker, whatever the width."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from promptrank.basics.plurals import counted
from promptrank.evaluation.compare import report_of
from promptrank.evaluation.report import Counts, Report, ReportSlice
from promptrank.evaluation.report_cells import family_of
from promptrank.evaluation.report_facts import facts
from promptrank.evaluation.report_markdown import markdown_table
from promptrank.evaluation.report_rows import Pair
from promptrank.evaluation.report_summary import everything, summary
from promptrank.evaluation.requirement_grammar import parse_requirements
from promptrank.evaluation.requirements import results_of
from promptrank.evaluation.seen import Seen
from promptrank.evaluation.step_summary import step_summary
from promptrank.evaluation.verdict import verdict_of
from support.measured import labelled_of, simulated
from support.reports import report, row

METRICS = ["auc", "gauc", "ndcg@10", "mrr", "recall@3", "log_loss", "ece"]
BASELINES = ("popularity", "item_member_mean", "bm25", "logistic", "random")


def usual() -> Report:
    """What a usual eval gives: five baselines and two rivals, on the metrics of movies/like."""
    generator = np.random.default_rng(0)
    rows, score = simulated(60, 8, generator)
    names = (*BASELINES, "base", "adapter:movies")
    scores = {"decoder": score}
    scores |= {n: score + (1 + i) * generator.normal(size=len(score)) for i, n in enumerate(names)}
    chance = 1 / (1 + np.exp(-score))
    labelled = labelled_of(rows, scores, {"decoder": chance, "base": np.sqrt(chance)})
    made = report_of(labelled, METRICS, reference="decoder", draws=200)
    made = replace(
        made,
        baselines=BASELINES,
        seen=Seen(60, 54, 200, 150),
        absent={"logged": "scores none of the 480 labelled candidates"},
        cuts={"events dropped": 12, "candidates with shortened fields": 0},
        errors={"too_long": 3},
        notes=("random is the expectation over all orders of the candidates",),
    )
    return replace(made, verdict=verdict_of(made, ["base", "adapter:movies"]))


def shown(report: Report, width: int = 120, *, full: bool = False) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print((everything if full else summary)(report, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_usual_report_is_at_most_25_lines_and_the_verdict_is_the_first(width: int) -> None:
    given = usual()
    lines = shown(given, width)
    assert len(lines) <= 25
    assert max(map(len, lines)) <= width
    assert given.verdict is not None
    assert " ".join(lines).startswith(given.verdict.text)
    text = "\n".join(lines)
    assert "…" not in text
    for ranker in given.rankers:
        assert f"\n{ranker.name} " in text
    assert "corrected for 7 comparisons" in text
    assert "60 subjects, 60 requests, 480 candidates" in text
    kept = next(line.split() for line in lines if line.startswith("ranker"))
    for name in METRICS:  # in the table, or named as one that --full shows
        assert name in kept or any(line.startswith("--full") and name in line for line in lines)


def test_a_row_says_how_a_ranker_differs_and_what_could_have_been_seen() -> None:
    given = report(row("decoder", 0.78), row("base", 0.70, -0.08), row("bm25", 0.77, -0.01))
    lines = shown(given)
    head = next(line for line in lines if line.startswith("ranker"))
    assert head.split("  ")[-2:] == [" auc - decoder's", "could show"]
    cells = {line.split()[0]: line.split() for line in lines if line}
    assert cells["decoder"] == ["decoder", ".780", ".600", ".730-.830"]
    assert cells["base"] == ["base", ".700▼", ".600", "-.080", "(-.110", "to", "-.050)", ".040"]
    assert cells["bm25"][1] == ".770"


def test_slices_and_pairs_take_a_line_each() -> None:
    few = ReportSlice(
        "history",
        "1-2",
        Counts(30, 30, 300, 100, 0, 0, 0),
        (row("decoder", 0.6), row("bm25", 0.65, 0.05)),
    )
    given = report(row("decoder", 0.78), row("bm25", 0.74, -0.04), slices=(few,))
    pair = Pair("rrf:decoder+bm25", "bm25", given.rankers[1].differences)
    given = replace(given, pairs=(pair,), verdict=verdict_of(given))
    lines = shown(given)
    cells = next(line.split() for line in lines if line.startswith("history"))
    assert cells[:4] == ["history", "1-2", "30", "300"]
    assert cells[4:] == [".600", "(.550-.650)", "-.050", "(-.080", "to", "-.020)"]
    assert any(line.startswith("rrf:decoder+bm25 - bm25: auc -.040 (-.070 to") for line in lines)


def test_everything_has_the_same_first_line_and_every_interval() -> None:
    given = usual()
    text = "\n".join(shown(given, full=True))
    assert given.verdict is not None
    assert " ".join(text.split()).startswith(given.verdict.text)
    gap = given.ranker("bm25").differences["gauc"]
    assert gap.detectable is not None
    assert f"shows {gap.detectable:.3f}".replace("0.", ".") in text
    assert "log_loss, ece of popularity, item_member_mean" in text


def test_a_steps_summary_has_verdict_requirements_and_all_tables_folded() -> None:
    given = replace(usual(), provenance={"task": "movies/like"})
    asked = parse_requirements(["auc >= base", "auc >= 0.99"])
    given = replace(given, requirements=tuple(results_of(given, asked)))
    given = replace(given, verdict=verdict_of(given))
    text = step_summary(given)
    assert text.startswith(
        "### promptrank eval movies/like\n\n**does not ship: 1 of 2 requirements fails "
        "(auc >= 0.99)**\n\n- holds: `auc` ."
    )
    assert "- **FAILS: `auc` ." in text
    assert text.index("| decoder ") < text.index("<details>") < text.index("Difference to decoder")
    assert text.endswith("</details>\n\n")


def test_a_steps_summary_has_a_table_of_slices_without_those_that_hold_everything() -> None:
    given = usual()
    whole = ReportSlice("subject_seen", "new", given.counts, given.rankers)
    counts = replace(given.counts, subjects=30, candidates=240)
    few = ReportSlice("history", "1-2", counts, given.rankers)
    text = step_summary(replace(given, slices=(whole, few)))
    assert "subject_seen" not in text
    assert text.count("history 1-2") == 1
    assert "▼" in text.split("<details>")[0]
    for part in text.split("<details>"):  # whoever sees a mark sees what it means
        assert "▲ better, ▼ worse than decoder, by intervals corrected for 7 comparisons" in part
    without = step_summary(given)
    assert len(text) < len(without) + 2500


def test_marks_are_explained_where_there_are_some() -> None:
    even = report(row("decoder", 0.78), row("base", 0.78, 0.0, half=0.03))
    assert not any("▲" in line for width in (80, 120) for line in shown(even, width))
    assert not any("▲" in line for line in shown(even, full=True))
    worse = report(row("decoder", 0.78), row("base", 0.70, -0.08))
    assert any("▲ better, ▼ worse than decoder" in line for line in shown(worse))
    many = report(row("decoder", 0.78), *(row(f"r{i}", 0.78, 0.0, half=0.03) for i in range(3)))
    told = "\n".join(shown(many))
    assert "Intervals corrected for 3 comparisons; none leaves out 0." in told


def test_one_of_a_kind_is_told_in_the_singular() -> None:
    given = report(row("decoder", 0.78))
    given = replace(given, counts=Counts(1, 1, 1, 1, 1, 1, 1))
    text = "\n".join(shown(given))
    assert "1 subject, 1 request, 1 candidate, 1 of them relevant" in text
    assert "left out: 1 candidate without a label" in text
    assert counted(1, "query", "queries") == "1 query"
    assert counted(2000, "query", "queries") == "2,000 queries"


def test_texts_of_users_are_no_markdown() -> None:
    lines = markdown_table(["slice", "auc"], [["Drama|Romance <b> @ann", ".7"]])
    (cells,) = [line for line in lines if "Drama" in line]
    assert "Drama\\|Romance &lt;b> &#64;ann" in cells
    assert len(re.split(r"(?<!\\)\|", cells)) == len(re.split(r"(?<!\\)\|", lines[0]))


def test_slices_of_few_subjects_are_named() -> None:
    few = Counts(3, 3, 12, 5, 0, 0, 0)
    part = ReportSlice("history", "1-2", few, (row("decoder", 0.7),))
    told = list(facts(replace(usual(), slices=(part,))))
    assert any(line.startswith("fewer than 30 subjects: history 1-2; ") for line in told)


def test_no_difference_leaves_the_scale_of_its_metric() -> None:
    draws = np.random.default_rng(0).normal(-0.9, 0.2, 500)
    made = family_of({"a": (-0.9, draws)}, lower_is_better=False, largest=1.0)["a"]
    assert (made.low, made.adjusted_low) == (-1.0, -1.0) and made.high is not None
    free = family_of({"a": (-0.9, draws)}, lower_is_better=False)["a"]
    assert free.low is not None and free.low < -1
