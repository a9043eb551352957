"""Negative transfer: told from cards and paired intervals, found where it is planted."""

from dataclasses import replace
from pathlib import Path

import pytest

import promptrank
from promptrank.evaluation.report import Report, Transfer
from promptrank.evaluation.report_facts import facts
from promptrank.evaluation.report_rows import Difference, Pair
from promptrank.evaluation.step_summary import step_summary
from promptrank.evaluation.transfer import JointAndSingle, transfer_text, transfers_of
from promptrank.workspace.joint_adapters import joint_and_single
from promptrank.workspace.tasks import open_task
from support.adapters import a_card, a_folder, a_task_card
from support.planted_jobs import make_project
from support.planted_settings import PLANTED
from support.reports import report, row

BOTH = ("toys/like", "toys/hate")


def kin(joint: str = "decoder", single: str = "adapter:one") -> JointAndSingle:
    return JointAndSingle(joint, single, "toys/like", BOTH)


def shown(made: Report, pair: JointAndSingle) -> Transfer:
    (transfer,) = transfers_of(made, [pair])
    return transfer


def test_a_loss_is_named_whichever_of_the_two_is_the_reference() -> None:
    # The single adapter is .08 (.05 to .11) better than the joint one.
    first = shown(report(row("decoder", 0.7), row("adapter:one", 0.78, 0.08)), kin())
    assert transfer_text(first) == (
        "negative transfer on toys/like: decoder (trained with toys/hate too) is worse than "
        "adapter:one (trained on toys/like alone): auc -.080 (-.110 to -.050)"
    )
    other = report(row("decoder", 0.78), row("adapter:both", 0.7, -0.08))
    second = shown(other, kin("adapter:both", "decoder"))
    assert second.differences["auc"] == first.differences["auc"] and second.worse == ("auc",)
    pairs = (Pair("adapter:both", "adapter:one", {"auc": first.differences["auc"]}),)
    rows = row("decoder", 0.6), row("adapter:both", 0.7, 0.1), row("adapter:one", 0.78, 0.18)
    third = shown(report(*rows, pairs=pairs), kin("adapter:both"))
    assert third.worse == ("auc",)
    assert list(transfers_of(report(row("decoder", 0.7)), [kin()])) == []  # set aside, say


def test_less_is_better_for_some_metrics() -> None:
    gap = Difference(-0.05, -0.06, -0.04, "better", -0.07, -0.03)  # the single one's log-loss
    single = replace(row("adapter:one", 0.7, 0.0), differences={"log_loss": gap})
    text = transfer_text(shown(report(row("decoder", 0.7), single), kin()))
    assert text.endswith("alone): log_loss +.050 (+.030 to +.070)") and text.startswith("negative")


def test_a_placebo_is_told_with_what_would_have_shown() -> None:
    made = report(row("decoder", 0.7), row("adapter:one", 0.71, 0.01))
    transfer = replace(shown(made, kin()), caveats=("they were trained on other requests of x",))
    assert transfer_text(transfer) == (
        "no negative transfer is shown on toys/like: decoder (trained with toys/hate too) less "
        "adapter:one (trained on toys/like alone): auc -.010 (-.040 to +.020); .040 would be "
        "marked four times in five; they were trained on other requests of x"
    )
    told = replace(made, transfers=(transfer,))
    assert transfer_text(transfer) in list(facts(told, short=True))
    assert f"- {transfer_text(transfer)}" in step_summary(told).split("<details>")[0]


def test_who_is_joint_and_who_is_alone_is_in_the_cards(toys: Path) -> None:
    one = a_task_card()
    elsewhere = replace(one, fingerprints={**one.fingerprints, "data": "other"})
    folder = toys / "adapters"
    a_folder(folder / "both", card=a_card(None, **{"toys/like": one, "toys/hate": one}))
    a_folder(folder / "one", card=a_card(None, **{"toys/like": one}))
    other = replace(
        a_card(None, **{"toys/like": elsewhere}), training={"lr": 1.0, "average": 3, "half": False}
    )
    a_folder(folder / "other", card=other)
    a_folder(folder / "stranger", card=a_card(None, **{"toys/hate": one}))
    a_folder(folder / "peft")
    task = open_task("toys/like", project=toys)
    names = ("one", "other", "stranger", "peft")
    found = joint_and_single(task, {"decoder": "both", **{f"adapter:{n}": n for n in names}})
    assert found == (
        JointAndSingle("decoder", "adapter:one", "toys/like", BOTH),
        JointAndSingle(
            "decoder",
            "adapter:other",
            "toys/like",
            BOTH,
            (
                "their training differs in lr, average too",
                "they were trained on other requests of toys/like",
            ),
        ),
    )


@pytest.mark.slow
@pytest.mark.xdist_group("planted")
def test_a_planted_conflict_is_flagged_and_a_placebo_is_not(tmp_path: Path) -> None:
    """Two regions whose members want the same, and a task that asks the first for the opposite."""
    root = make_project(tmp_path / "p", members=1500)
    tasks = root / "tasks/jobs"
    text = (tasks / "north.yaml").read_text()
    apply, skip = (line for line in text.splitlines() if 'say: "' in line)
    # Of several things that happened the answer that stands first counts.
    opposite = skip.replace("[view, dismiss, none]", "[apply]")
    opposite += "\n" + apply.replace("}", ", labels: [view, dismiss, none]}")
    turned = text.replace(f"{apply}\n{skip}", opposite)
    (tasks / "opposite.yaml").write_text(turned)

    def trained(adapter: str, *regions: str) -> None:
        named = [f"jobs/{region}" for region in regions]
        promptrank.train(named, adapter, project=root, training=PLANTED)

    trained("single", "north")
    trained("conflict", "north", "opposite")
    trained("agreeing", "north", "east")
    vs = ["adapter:conflict", "adapter:agreeing"]
    made = promptrank.evaluate("jobs/north", project=root, adapter="single", vs=vs, draws=200)
    conflict, placebo = made.transfers
    assert conflict.name == "adapter:conflict" and conflict.worse == ("auc",)
    assert conflict.differences["auc"].value < -0.1 and conflict.caveats == ()
    assert placebo.name == "adapter:agreeing" and placebo.worse == ()
