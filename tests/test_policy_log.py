"""The log that exploration makes, by the very page that shows it: ranked, tapped, and asked."""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import promptrank
from support.pages import DOCS, write_files

READERS, ROUNDS = 80, 25
LOOK = (1.0, 0.7, 0.5, 0.35, 0.25)


def worth(book: str) -> float:
    """P(tap) of a book on top."""
    return 0.1 + 0.8 * int(book[1:]) / 40


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
@pytest.mark.parametrize("design", ["epsilon: 0.6", "temperature: 0.5"])
def test_a_scores_file_is_a_log_that_tells_the_truth(
    tmp_path: Path, design: str, tiny_llama_path: Path
) -> None:
    root = tmp_path / "books"
    promptrank.init(root)
    write_files(DOCS / "reference" / "policy.md", root)
    draw, start = random.Random(7), 1_700_000_000
    readers = [{"reader_id": f"r{r}", "taste": "slow"} for r in range(READERS)]
    write_csv(root / "data/readers.csv", readers)
    ratings = [
        {
            "reader_id": f"r{r}",
            "book_id": f"b{book}",
            "stars": draw.randint(1, 5),
            "rated_at": start + 86_400 * n + r,
        }
        for r in range(READERS)
        for n, book in enumerate(draw.sample(range(1, 41), ROUNDS))
    ]
    write_csv(root / "data/ratings.csv", ratings)
    given: dict[str, Any] = {"project": root, "engine": "fake", "model": str(tiny_llama_path)}
    log = root / "data/shown.parquet"
    steps = [f"steps=[{{explore: {{first: 5, {design}}}}}]"]
    promptrank.rank("books/like", log, settings=steps, splits={"train", "valid", "test"}, **given)
    shown = pq.read_table(log).to_pylist()
    taps = [
        {
            "request_id": row["request_id"],
            "candidate_id": row["candidate_id"],
            "action": "tap",
            "tapped_at": row["time"] + 60,
        }
        for row in shown
        if draw.random() < worth(row["item_id"]) * LOOK[row["rank"] - 1]
    ]
    write_csv(root / "data/taps.csv", taps)
    file = root / "requests.parquet"
    promptrank.build("books/shown", file, project=root)
    kept = {
        (row["request_id"], row["candidate_id"]): (row["position"], row["propensity"])
        for row in pq.read_table(file).to_pylist()
    }
    assert kept == {
        (row["request_id"], row["candidate_id"]): (row["rank"], row["propensity"]) for row in shown
    }
    orders = {"best": 1.0, "worst": -1.0}
    for name, sign in orders.items():
        lines = [
            json.dumps(
                {
                    "request_id": row["request_id"],
                    "candidate_id": row["candidate_id"],
                    "score": sign * worth(row["item_id"]),
                }
            )
            for row in shown
        ]
        (root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    rivals = [f"scores:{root / name}.jsonl" for name in orders]
    report = promptrank.evaluate("books/shown", requests=file, vs=rivals, draws=300, **given)
    earned = report.off_policy
    # The first requests know nothing of any item's mean, the last ones have open windows.
    assert earned is not None and earned.requests == READERS * (ROUNDS // 5 - 2)
    by_request: dict[str, list[float]] = {}
    for row in shown:
        by_request.setdefault(row["request_id"], []).append(worth(row["item_id"]))
    rows = {row.name: row for row in earned.rankers}
    for rival, sign in zip(rivals, orders.values(), strict=True):
        truth = sum(
            sum(
                w * look
                for w, look in zip(sorted(each, key=lambda w: -sign * w), LOOK, strict=True)
            )
            for each in by_request.values()
        ) / len(by_request)
        row = rows[rival]
        assert row.dr is not None and row.dr.low is not None and row.dr.high is not None
        # An interval and a half: it is held to truth here, not to its coverage.
        width = row.dr.high - row.dr.low
        assert row.dr.value == pytest.approx(truth, abs=0.75 * width)
        assert row.mean_weight.value == pytest.approx(1, abs=0.25)
        assert row.effective > 100
    best, worst = (rows[rival].dr for rival in rivals)
    assert best is not None and worst is not None and best.value > worst.value
