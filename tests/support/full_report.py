"""A report in which everything is told, for tests of pages."""

import dataclasses

from promptrank.evaluation.agreement import Agreement
from promptrank.evaluation.drift_rows import Drift, DriftPoint, RankerDrift
from promptrank.evaluation.example_requests import ExampleCandidate, ExampleRequest, PromptPiece
from promptrank.evaluation.off_policy_rows import Amount, OffPolicy, PolicyRow
from promptrank.evaluation.preference_rows import PreferenceRow, Preferences
from promptrank.evaluation.probe_rows import ProbeRow, SubjectChange, SubjectChanges
from promptrank.evaluation.report import Report, ReportSlice, RequirementResult, Transfer
from promptrank.evaluation.report_rows import (
    Calibration,
    Cell,
    Cost,
    Difference,
    OrderAgreement,
    Pair,
    ReliabilityBin,
    Survival,
)
from promptrank.evaluation.seen import Seen
from promptrank.evaluation.verdict import verdict_of
from support.reports import cell, report, row


def example(name: str, *relevant: bool | None, text: str | None = None) -> ExampleRequest:
    """A request of candidates with these labels, whose order the baseline turns round."""
    rows = tuple(
        ExampleCandidate(
            f"{name}-c{i}",
            f"{name}-i{i}",
            None if label is None else float(label),
            label,
            {"decoder": -float(i), "bm25": float(i)},
            {"decoder": i + 1.0, "bm25": float(len(relevant) - i)},
            text,
        )
        for i, label in enumerate(relevant)
    )
    prompt = (PromptPiece("instruction", text),) if text is not None else ()
    return ExampleRequest(name, f"{name}-s", 0.75, True, 40, rows, prompt)


def probes() -> tuple[ProbeRow, ...]:
    """Sections, a curve, and an edit that changes no prompt."""
    gap = {"auc": Difference(-0.123, -0.2, -0.05, "worse", -0.2, -0.05, 0.1)}
    cells = row("probed", 0.577).cells
    same = Cell(0.43, 0.4, 0.46, None, "requests", 205, 4)
    whom = SubjectChanges("gauc", 99, 0.62, 0.21, (SubjectChange("m-17", -0.75),))
    without = ProbeRow(
        "sections",
        "sections:history",
        "no past events",
        200,
        151,
        cells=cells,
        differences=gap,
        survival=Survival("sections:history", "decoder", "auc", 0.385, 0.3, 0.5),
        score_change=0.0871,
        largest_change=0.913,
        probability_change=0.0429,
        order=OrderAgreement("sections:history", "decoder", same, same),
        unscored=12,
        subjects=whom,
    )
    return (
        without,
        dataclasses.replace(without, probe="context", name="context:0"),
        ProbeRow("context", "context:10", "all past events", 200, plain=True, cells=cells),
        ProbeRow("set:vars.x=1", "set:vars.x=1", "vars.x set to 1", 200, 0, "changes no prompt"),
    )


def full_report() -> Report:
    """A report in which every field holds something that can be told on the page."""
    bins = (ReliabilityBin(0.25, 0.125, 0.0625, 0.1875, 771),)
    said = Calibration(0.7313, 0.6127, 0.0817, 0.1519)
    decoder = dataclasses.replace(
        row("decoder", 0.7),
        calibration=said,
        reliability=bins,
        origin={"engine": {"name": "packed-engine"}},
    )
    agreed = Agreement(4321, 17, 0.00031, 0.001, 0.9876, 0.913, False)
    bm25 = dataclasses.replace(
        row("bm25", 0.55, -0.15), agreement=agreed, cost=Cost(12.5, 3_140_000), kept=0.83
    )
    behind = {"auc": Difference(0.317, 0.2, 0.4, "better")}
    logistic = dataclasses.replace(row("logistic", 0.69, 0.01), unscored=7171, behind=behind)
    counts = dataclasses.replace(
        report(decoder).counts, unlabelled=1234, left_out=77, partial_requests=9
    )
    beside = Difference(-0.118, -0.15, -0.08, "worse", -0.16, -0.07, 0.04)
    promised = Difference(0.093, 0.05, 0.13, "worse", 0.04, 0.14, 0.05)
    part = ReportSlice("history", "1-2", counts, (decoder, bm25, logistic), beside, promised)
    other = ReportSlice("history", "3-5", counts, (decoder, bm25, logistic))
    pair = Pair("logistic", "bm25", {"auc": Difference(0.161, 0.1, 0.2, "better")})
    lift, weight = Amount(-0.0042, -0.0061, -0.0017), Amount(1.0625)
    earned = PolicyRow(
        "decoder", Amount(0.0387, 0.0311, 0.0444), None, None, lift, 641.0, 808, weight, 26.5, 13
    )
    off_policy = OffPolicy(
        Amount(0.0429, 0.0413, 0.0437), (earned,), 50, 209, 3232, 6, 20.0, ("a note of the log's",)
    )
    top1 = Cell(0.59, 0.52, 0.66, None, "requests", 205, 4)
    tau = Cell(-0.273, -0.31, -0.22, None, "requests", 205, 4)
    made = report(
        decoder,
        bm25,
        logistic,
        absent={"mean": "an absent ranker"},
        seen=Seen(100, 37, 500, 480),
        cuts={"events dropped": 5151},
        errors={"no such item": 6161},
        notes=("a note of its own",),
        provenance={"command": "eval", "task": "toys/like", "versions": {"duckdb": "9.8.7"}},
        pairs=(pair,),
        best_baseline="logistic",
        judged="decoder",
        survival=Survival("decoder, obscured", "decoder", "auc", 0.62, 0.4, 0.8),
        slices=(part, other),
        off_policy=off_policy,
        preferences=Preferences(
            (PreferenceRow("decoder", 0.72, 0.61, 0.83), PreferenceRow("bm25", 0.55)),
            83,
            47,
            9,
            3,
            2,
        ),
        drift=Drift(
            "auc",
            "training",
            1_699_833_600.0,
            604_800.0,
            (
                RankerDrift(
                    "decoder",
                    tuple(
                        DriftPoint(1_699_833_600.0 + 604_800 * i, 410 + i, 50, cell(0.7 - i / 64))
                        for i in range(3)
                    ),
                    Difference(-0.0156, -0.02, -0.01, "worse", -0.021, -0.011, 0.008),
                ),
            ),
        ),
        orders=(
            OrderAgreement("bm25", "decoder", top1, tau),
            OrderAgreement("decoder", "incoming", top1, tau),
        ),
        transfers=(
            Transfer(
                "decoder",
                "adapter:alone",
                "toys/like",
                ("toys/like", "toys/hate"),
                {"auc": Difference(-0.0871, -0.1012, -0.0734, "worse", -0.112, -0.0623)},
                ("auc",),
                ("a caveat of the transfer's",),
            ),
        ),
        probes=probes(),
        requirements=(
            RequirementResult("auc >= 0.9", False, None, 0.7, None, 0.9, short_by=0.2, subjects=99),
        ),
        examples=(example("r1", True, False, None), example("r2", False, True)),
    )
    return dataclasses.replace(made, counts=counts, verdict=verdict_of(made), seed=4711)
