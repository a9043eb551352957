"""Probes of a decoder that was trained to do what a note says: what they must find, and must not.

The figures beside the assertions are of one run with four epochs.
"""

import pytest

import promptrank
from promptrank.evaluation.probe_rows import ProbeRow
from support.planted_notes import make_project, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ProbeRow]:
    root = make_project(tmp_path_factory.mktemp("notes"))
    probes = ["set:vars.note=blue", "set:vars.greeting=welcome", "instruction", "sections"]
    report = promptrank.evaluate(
        "toys/red-hello",
        project=root,
        adapter=trained(root),
        draws=200,
        probes=[*probes, "candidates:shuffled"],
    )
    auc = report.ranker("decoder").cells["auc"].value
    assert auc is not None and auc > 0.98  # 1.000
    return {row.name: row for row in report.probes}


def test_a_note_that_is_turned_round_turns_the_order_round(rows: dict[str, ProbeRow]) -> None:
    row = rows["set:vars.note=blue"]
    assert row.cells["auc"].value == pytest.approx(0, abs=0.05)  # .000
    assert row.differences["auc"].verdict == "worse"
    assert row.survival is not None and row.survival.share == pytest.approx(-1, abs=0.1)
    assert row.order is not None and row.order.kendall_tau.value is not None
    assert row.order.kendall_tau.value < -0.2  # -.458; toys of one color have an order of chance
    assert row.subjects is not None and row.subjects.worse > 0.95


def test_a_greeting_changes_prompts_and_nothing_else(rows: dict[str, ProbeRow]) -> None:
    row = rows["set:vars.greeting=welcome"]
    assert row.changed == row.requests > 0
    assert row.largest_change is not None and row.largest_change < 0.05  # .0008
    assert row.cells["auc"].value == pytest.approx(1, abs=0.02)
    assert row.differences["auc"].verdict is None


def test_without_the_note_much_of_the_lift_is_lost(rows: dict[str, ProbeRow]) -> None:
    for name in ("instruction", "instruction:note"):
        assert rows[name].differences["auc"].verdict == "worse"  # -.298, -.337
        survival = rows[name].survival
        assert survival is not None and survival.share is not None
        assert survival.share < 0.8  # .40, .33


def test_sections_find_what_is_used(rows: dict[str, ProbeRow]) -> None:
    assert rows["sections:item"].differences["auc"].verdict == "worse"  # -.513
    assert rows["sections:item"].cells["auc"].value == pytest.approx(0.5, abs=0.06)
    name = rows["sections:subject"]  # a name says nothing
    assert name.largest_change is not None and name.largest_change < 0.05  # .0008
    assert rows["sections:history"].reason == "the task has no history"


def test_the_order_of_candidates_moves_scores_by_rounding_alone(rows: dict[str, ProbeRow]) -> None:
    row = rows["candidates:shuffled"]
    assert row.largest_change is not None and row.largest_change < 1e-5  # 5e-09
