"""Plan: tokens, hours and money by hand, and unique tokens by another way of counting."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from typer.testing import CliRunner

from promptrank.api.build import build
from promptrank.api.plan import plan, plan_runs
from promptrank.cli.main import app as command
from promptrank.cli.plan import _needed
from promptrank.engine.contract import Branch, Slot, Tree
from promptrank.errors import InputError
from promptrank.requests.read import read_requests
from promptrank.runs.planning import Needed, Tokens, unique_tokens
from promptrank.workspace.encoders import encoder_of
from promptrank.workspace.tasks import open_task


def test_tokens_by_hand() -> None:
    # Two questions, the second of which has an answer of two tokens.
    slots = (Slot((7, 8), ((1,), (2,))), Slot((7, 9), ((1, 5), (2,))))
    tree = Tree("r", (0,) * 10, (Branch((3, 4), slots), Branch((3, 5, 6), slots)), shared=4)
    tokens = Tokens().plus(3, tree)  # the third candidate cannot be asked about
    assert (tokens.requests, tokens.candidates, tokens.prompts) == (1, 3, 4)
    assert tokens.tokens == 2 * (10 + 2 + 2) + 2 * (10 + 3 + 2)
    # 3, 4, 7, 8, 9 and 1 of the first; then 5, 6, 7, 8, 9 and 1 of the second.
    assert tokens.unique == 10 - 4 + 6 + 6 and tokens.computed == tokens.unique + 4
    more = tokens.plus(3, tree).plus(0, None)
    assert (more.requests, more.prompts, more.computed) == (3, 8, 2 * 18 + 4)
    # Half of nine requests are such requests: the instruction still counts once.
    assert more.of_requests(9).computed == 6 * 18 + 4
    assert more.of_candidates(600).computed == 200 * 18 + 4


def test_unique_tokens_are_the_beginnings_that_there_are() -> None:
    random = Random(3)
    for _ in range(50):
        paths = [tuple(random.choices((1, 2), k=random.randrange(6))) for _ in range(6)]
        beginnings = {path[:end] for path in paths for end in range(1, len(path) + 1)}
        assert unique_tokens(paths) == len(beginnings)


def test_hours_and_money_by_hand() -> None:
    tokens = Tokens(10, 100, 100, tokens=9e9, unique=7.2e9 - 5, instruction=5)
    needed = Needed(tokens, 1000.0, 2.0)
    assert needed.gpu_hours == 2000 and needed.cost == 4000
    assert needed.hours == {1: 2000, 8: 250, 100: 20}
    assert needed.gpus_in_a_day == 84  # 2000 / 24 = 83.3
    assert Needed(tokens, 1000.0, None).cost is None


@pytest.mark.long
def test_requests_are_counted_as_they_are_encoded(toys: Path) -> None:
    build("toys/like", toys / "requests.parquet", project=toys)
    opened = open_task("toys/like", project=toys)
    encoder = encoder_of(opened, None, print)
    trees = [
        encoder.encode(request).tree
        for request in read_requests(toys / "requests.parquet", task=opened.task, errors=print)
    ]
    given: dict[str, Any] = {
        "project": toys,
        "requests": toys / "requests.parquet",
        "tokens_per_second": 1.0,
    }
    whole = plan("toys/like", **given, limit=1000)
    assert whole.sampled == whole.all.tokens.requests == len(trees)
    assert whole.all.tokens.prompts == sum(len(tree.branches) for tree in trees if tree)
    unique = len(
        {
            (n, path[:end])
            for n, tree in enumerate(trees)
            if tree
            for branch in tree.branches
            for path in [(*tree.prefix, *branch.ids, *branch.slots[0].ids)]
            for end in range(1 + tree.shared, len(path) + 1)
        }
    )
    assert whole.all.tokens.unique == unique
    part = plan("toys/like", **given, limit=8, candidates_per_day=10**9)
    assert part.sampled == 8 and part.all.tokens.requests == len(trees)
    assert part.all.tokens.unique == pytest.approx(unique, rel=0.2)
    assert part.day is not None and part.day.tokens.candidates == 10**9
    # What cannot be read is no part of what is scored.
    row = {"member_id": "m", "member": {"name": "Ann"}, "item_id": "i"}
    row["item"] = {"title": "Ball", "color": "red"}
    lines = [row | {"request_id": n, "time": "soon" if n < 2 else n} for n in range(5)]
    given["requests"] = toys / "some.jsonl"
    given["requests"].write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    said: list[str] = []
    some = plan("toys/like", **given, say=said.append)
    assert (some.sampled, some.all.tokens.requests, some.all.tokens.candidates) == (3, 3, 3)
    assert said[-1].startswith("2 of 5 requests cannot be read")


@pytest.mark.long
def test_the_command_asks_for_a_rate_and_tells_money_by_a_price_alone(toys: Path) -> None:
    words = ["plan", "toys/like", "--project", str(toys)]
    ran = CliRunner().invoke(command, words)
    assert isinstance(ran.exception, InputError) and "bench/score.py" in str(ran.exception)
    ran = CliRunner().invoke(command, [*words, "--tokens-per-second", "1000", "--price", "2"])
    assert ran.exit_code == 0 and "GPU-hours at 2 each" in ran.stdout, ran.output
    without = _needed(Needed(Tokens(1, 1, 1, 1, 1, 1), 1000.0, None), about=False)
    assert any("hours at 1,000" in line for line in without)
    assert not any("GPU-hours" in line for line in without)
    for rate in ("0", "nan", "inf", "-1"):
        ran = CliRunner().invoke(command, [*words, "--tokens-per-second", rate])
        assert isinstance(ran.exception, InputError), rate


@pytest.mark.long
def test_a_plan_is_the_sum_of_its_runs(toys: Path) -> None:
    build("toys/like", toys / "requests.parquet", project=toys)
    (toys / "night.yaml").write_text(
        "runs:\n"
        "  - {task: toys/like, name: all, requests: requests.parquet}\n"
        "  - {task: toys/like, name: few, requests: requests.parquet, limit: 5}\n"
    )
    words = ["plan", "--plan", str(toys / "night.yaml"), "--project", str(toys)]
    ran = CliRunner().invoke(command, [*words, "--tokens-per-second", "1000"])
    assert ran.exit_code == 0, ran.output
    assert [line.split(":")[0] for line in ran.stdout.splitlines() if line[0] != " "] == [
        "all",
        "few",
        "all runs",
    ]
    each, whole = plan_runs(
        toys / "night.yaml", project=toys, tokens_per_second=10.0, candidates_per_day=10**6
    )
    alone = plan(
        "toys/like", project=toys, requests=toys / "requests.parquet", tokens_per_second=10.0
    )
    assert each["all"].all == alone.all
    assert each["few"].all.tokens.requests == 5
    parts = [one.all.tokens for one in each.values()]
    assert whole.all.tokens.computed == sum(part.computed for part in parts)
    assert whole.day is not None
    assert whole.day.tokens.tokens == pytest.approx(
        10**6 * whole.all.tokens.tokens / whole.all.tokens.candidates
    )
