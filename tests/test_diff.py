"""Diff: two runs held against each other, by hand and by a second implementation."""

import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from promptrank.api.diff import diff
from promptrank.api.purge import purge
from promptrank.api.rank_run import rank_run
from promptrank.cli.main import app as command
from promptrank.errors import DataError, InputError
from promptrank.runs.run_differences import WorstRequest

Row = tuple[str, str, float | None]

THEN: list[Row] = [
    ("r1", "a", 0.9),
    ("r1", "b", 0.5),
    ("r1", "c", 0.1),
    ("r2", "x", 0.2),
    ("r2", "y", 0.1),
    ("r2", "z", None),
    ("old", "q", 0.7),
]
NOW: list[Row] = [
    ("r1", "a", 0.4),  # behind b now
    ("r1", "b", 0.5),
    ("r1", "d", 0.1),  # in the place of c
    ("r2", "y", 0.25),
    ("r2", "x", 0.2),
    ("r2", "z", 0.05),
    ("later", "q", 0.7),
]


def scores_file(path: Path, rows: list[Row], **more: list[Any]) -> Path:
    names = ("request_id", "candidate_id", "score")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    table = pa.table(columns | more)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_by_hand(tmp_path: Path, suffix: str) -> None:
    parts = ["test", "test", "test", "valid", "valid", "valid", "valid"]
    mass = [0.9, 0.8, 0.7, 0.6, 0.5, None, 0.1]  # z has none, nor a score
    then = scores_file(tmp_path / f"then{suffix}", THEN, split=parts, like_label_mass=mass)
    now = scores_file(tmp_path / "now.parquet", NOW, split=parts)
    apart = diff(then, now).differences
    assert (apart.requests, apart.candidates) == (2, 4)  # a, b, x, y
    # Differences: .5, 0, 0, .15
    assert apart.largest == pytest.approx(0.5) and apart.mean == pytest.approx(0.1625)
    assert apart.median == 0 and apart.p99 == pytest.approx(0.5) and apart.beyond == 0.5
    assert (apart.top, apart.order) == (2, 2)
    assert apart.rank_correlation == pytest.approx(-1) and apart.overlap is None
    assert (apart.gone, apart.new) == (2, 3)  # c, q; d, z, q
    assert (apart.gone_requests, apart.new_requests) == (1, 1)
    was, now_mass = apart.label_mass["like"]
    assert was == pytest.approx((0.9 + 0.8 + 0.7 + 0.6 + 0.5 + 0.1) / 6) and now_mass is None
    assert apart.parts["test"].max_difference == pytest.approx(0.5)
    assert apart.parts["valid"].mean_difference == pytest.approx(0.075)
    assert [part.changed_top for part in apart.parts.values()] == [1, 1]
    assert apart.examples == ["r1", "r2", "later", "old"]
    assert apart.worst[2] == WorstRequest("later", None, False, False, 0, 1)
    assert not apart.same
    # Two whose scores were as close as this may change places; a and b were .4 apart.
    near = diff(then, now, tolerance=0.3).differences
    assert (near.top, near.order, near.beyond) == (1, 1, 0.25)


@pytest.mark.long
def test_what_is_the_same_within_the_tolerance_ends_with_0(tmp_path: Path) -> None:
    then = scores_file(tmp_path / "then.parquet", [("r", "a", 0.50001), ("r", "b", 0.5)])
    now = scores_file(tmp_path / "now.parquet", [("r", "b", 0.50001), ("r", "a", 0.5)])
    ran = CliRunner().invoke(command, ["diff", str(then), str(now)])
    assert ran.exit_code == 0 and "is the same as" in ran.stdout
    assert "not known: nothing says how then.parquet and now.parquet" in ran.stdout
    ran = CliRunner().invoke(command, ["diff", str(then), str(now), "--tolerance", "1e-6"])
    assert ran.exit_code == 3 and "is NOT the same as" in ran.stdout


def test_a_first_candidate_that_is_new_is_another_one(tmp_path: Path) -> None:
    then = scores_file(tmp_path / "then.parquet", [("r", "a", 0.5), ("r", "b", 0.5)])
    now = scores_file(tmp_path / "now.parquet", [("r", "a", 0.5), ("r", "n", 0.6), ("r", "b", 0.5)])
    apart = diff(then, now).differences
    assert (apart.top, apart.order, apart.new, apart.gone) == (1, 0, 1, 0)


def test_places_are_those_written_and_what_a_policy_takes_out_is_told(tmp_path: Path) -> None:
    rows: list[Row] = [("r", "a", 0.9), ("r", "b", 0.5), ("r", "c", 0.1)]
    then = scores_file(tmp_path / "then.parquet", rows, rank=[1, 2, 3])
    turned = scores_file(tmp_path / "turned.parquet", rows, rank=[2, 1, 3])
    without = scores_file(tmp_path / "without.parquet", rows, rank=[1, None, 2])
    apart = diff(then, turned).differences
    assert (apart.largest, apart.top, apart.order) == (0, 1, 1)
    assert apart.rank_correlation == pytest.approx(0.5)  # 1 - 6 * 2 / (3 * 8)
    apart = diff(then, without).differences
    assert (apart.top, apart.order, apart.gone) == (0, 1, 0) and not apart.same


def test_of_more_than_ten_it_is_told_how_many_of_the_first_stay(tmp_path: Path) -> None:
    rows: list[Row] = [("r", f"c{n}", 1 - n / 100) for n in range(12)]
    other: list[Row] = [(r, c, 0.895 if c == "c0" else s) for r, c, s in rows]  # to place 11
    then = scores_file(tmp_path / "then.parquet", rows)
    apart = diff(then, scores_file(tmp_path / "now.parquet", other)).differences
    assert apart.overlap == 0.9


def run(root: Path, name: str, **more: Any) -> Path:
    rank_run("toys/like", root / name, engine="fake", project=root, size=3, **more)
    return root / name


@pytest.mark.long
def test_runs_are_the_same_and_what_changed_is_told(toys: Path) -> None:
    first = run(toys, "first")
    ran = CliRunner().invoke(command, ["diff", str(first), str(run(toys, "second"))])
    assert ran.exit_code == 0 and "nothing changed since" in ran.stdout, ran.output
    fewer = run(toys, "fewer", limit=1)
    ran = CliRunner().invoke(command, ["diff", str(first), str(fewer)])
    assert ran.exit_code == 3 and "nothing changed since" not in ran.stdout, ran.output
    assert "but other requests; look at --split and --limit" in ran.stdout
    assert "  requests that differ, such as " in ran.stdout
    purged = run(toys, "purged")
    purge("p1", project=toys, runs=[purged])
    ran = CliRunner().invoke(command, ["diff", str(first), str(purged)])
    assert ran.exit_code == 3 and f"of {purged} were purged" in ran.stdout, ran.output
    assert "nothing changed since" in ran.stdout and "--limit" not in ran.stdout
    template = toys / "templates/toys/like.j2"
    template.write_text(template.read_text().replace("You rank toys", "You order toys"))
    third, out = run(toys, "third"), toys / "diff.json"
    ran = CliRunner().invoke(command, ["diff", str(first), str(third), "--out", str(out)])
    assert ran.exit_code == 3 and "changed since: prompts: the template" in ran.stdout, ran.output
    said = json.loads(out.read_text())
    # The same by plain Python.
    tables = [
        [
            row
            for path in sorted(folder.glob("scores/*.parquet"))
            for row in pq.read_table(path).to_pylist()
        ]
        for folder in (first, third)
    ]
    ranks: list[dict[str, dict[str, tuple[int, float]]]] = []
    for rows in tables:
        ranks.append(defaultdict(dict))
        for row in rows:
            ranks[-1][row["request_id"]][row["candidate_id"]] = (row["rank"], row["score"])
    then, now = ranks
    apart = [abs(then[r][c][1] - now[r][c][1]) for r in then for c in then[r]]
    assert said["max_difference"] == max(apart)
    assert said["mean_difference"] == pytest.approx(sum(apart) / len(apart))
    assert said["p99_difference"] == sorted(apart)[-(-len(apart) * 99 // 100) - 1]
    assert said["changed_top"] == sum(
        min(then[r], key=lambda c: then[r][c][0]) != min(now[r], key=lambda c: now[r][c][0])
        for r in then
    )
    correlations = [
        spearmanr(*zip(*((then[r][c][0], now[r][c][0]) for c in then[r]), strict=True)).statistic
        for r in then
        if len(then[r]) > 1
    ]
    assert said["rank_correlation"] == pytest.approx(sum(correlations) / len(correlations))
    mass = [row["like_label_mass"] for row in tables[1]]
    assert said["label_mass"]["like"]["now"] == pytest.approx(sum(mass) / len(mass))


@pytest.mark.long
def test_what_cannot_be_compared_is_told(toys: Path) -> None:
    good = scores_file(toys / "good.parquet", [("r", "a", 0.5)])
    twice = scores_file(toys / "twice.parquet", [("r", "a", 0.5), ("r", "a", 0.5)])
    odd = scores_file(toys / "odd.parquet", [("r", "a", float("nan"))])
    other = scores_file(toys / "other.parquet", [("s", "a", 0.5)])
    for file, said in [
        (twice, "request r, candidate a comes twice"),
        (odd, "1 scores are NaN or infinite"),
        (other, "no candidate in common"),
        (toys / "none.parquet", "there is no such run or scores file"),
        (toys, "is no folder of a run"),
    ]:
        with pytest.raises(DataError, match=said):
            diff(good, file)
    with pytest.raises(InputError, match="a tolerance of nan"):
        diff(good, good, tolerance=float("nan"))
    whole = run(toys, "whole")
    shutil.copytree(whole, toys / "cut")
    path = toys / "cut/scores/000001.parquet"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"000001.parquet is not what was written"):
        diff(whole, toys / "cut")
    (toys / "cut/shards/000000.json").unlink()
    with pytest.raises(DataError, match=r"000000.json is missing; the command that made the run"):
        diff(whole, toys / "cut")
    (toys / "cut/summary.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        diff(whole, toys / "cut")
