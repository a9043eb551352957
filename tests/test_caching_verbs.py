"""Verbs with a score cache: the scores of a run without one, and how many came from it."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.api.caches import cache_info, prune_cache
from promptrank.api.evaluate import evaluate
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.caching.prompt_keys import Answerer
from promptrank.caching.score_cache import ScoreCache
from promptrank.cli import cache_option
from promptrank.cli.cache import bytes_of, seconds_of, size_text
from promptrank.cli.main import app
from promptrank.engine.contract import SlotScore
from promptrank.errors import InputError
from promptrank.runs.cache_use import CacheUse
from promptrank.runs.sharded_run import RunSummary, StoppedBetween
from promptrank.workspace.kept_scores import teachers_cache

TASK = "toys/like"


def run(root: Path, folder: str, **more: Any) -> RunSummary:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3, "limit": 7} | more
    return rank_run(TASK, root / folder, **given)


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a run but what only tells of its start, by path."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def rows_of(root: Path, folder: str) -> pa.Table:
    return pa.concat_tables(
        pq.read_table(path) for path in sorted((root / folder).glob("scores/*"))
    )


@pytest.mark.long
def test_a_run_with_a_cache_has_the_scores_of_one_without(toys: Path) -> None:
    assert run(toys, "plain").throughput.cache is None
    stops = iter((False, True))
    with pytest.raises(StoppedBetween):
        run(toys, "first", cache=True, stop=lambda: next(stops))
    first, second = run(toys, "first", cache=True), run(toys, "second", cache=True)
    prompts = first.counted.scored
    use = first.throughput.cache
    assert use is not None
    assert use.hits == 0
    assert 0 < use.asked < prompts  # a shard was done before
    assert second.throughput.cache == CacheUse(prompts, 0)
    assert second.throughput.as_dict()["cache_hits"] == prompts
    for folder in ("first", "second"):
        assert files(toys / folder) == files(toys / "plain")
    rows = rows_of(toys, "plain")
    # Whose they are is known, and so they can be removed.
    member = rows.column("subject_id")[0].as_py()
    own = rows.column("subject_id").to_pylist().count(member)
    with ScoreCache(toys / "cache") as cache:
        assert cache.purge(member) == own
    third = run(toys, "third", cache=True)
    assert third.throughput.cache == CacheUse(prompts - own, own)


@pytest.mark.slow
def test_a_file_and_an_evaluation_answer_from_it_too(toys: Path, tmp_path: Path) -> None:
    said: list[str] = []
    given: dict[str, Any] = {"engine": "fake", "project": toys, "cache": tmp_path / "kept"}
    plain = rank(TASK, toys / "plain.parquet", engine="fake", project=toys)
    ranked = rank(TASK, toys / "a.parquet", **given, say=said.append)
    again = rank(TASK, toys / "b.parquet", **given, say=said.append)
    assert ranked.summary.throughput.cache == CacheUse(0, ranked.candidates)
    assert again.summary.throughput.cache == CacheUse(ranked.candidates, 0)
    first, a, b = (pq.read_table(toys / f"{name}.parquet") for name in ("plain", "a", "b"))
    assert first.equals(a)
    assert first.equals(b)
    assert plain.candidates == ranked.candidates
    report = evaluate(TASK, **given, draws=100, say=said.append)
    assert "prompts answered from the cache, 0 by the model" in said[-1]
    without = evaluate(TASK, engine="fake", project=toys, draws=100)
    assert report.rankers[0].cells == without.rankers[0].cells
    assert not (toys / "cache").exists()
    with pytest.raises(InputError, match="for decoders"):
        rank(TASK, toys / "c.parquet", engine="baseline:popularity", project=toys, cache=True)


@pytest.mark.long
def test_a_cache_that_cannot_be_used_is_gone_on_without(toys: Path) -> None:
    (toys / "file").write_text("")
    said: list[str] = []
    done = run(toys, "run", cache=toys / "file" / "cache", say=said.append)
    assert done.throughput.cache is None
    assert [line for line in said if "going on without the cache" in line]
    assert done.counted.scored


@pytest.mark.long
def test_the_command_shows_and_prunes(toys: Path) -> None:
    def told(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, [*words, "--project", str(toys)])
        assert result.exit_code == code or (code and result.exception is not None), result.output
        return result.output

    for words in (("info",), ("prune", "--older-than", "30d")):
        assert "no score cache there yet" in told("cache", *words)
    assert json.loads(told("cache", "info", "--json"))["entries"] == 0
    assert not (toys / "cache").exists()
    out = str(toys / "a.parquet")
    told("rank", TASK, "--limit", "7", "--engine", "fake", "--cache", "-o", out)
    file = json.loads(told("cache", "info", "--json"))
    count = pq.read_metadata(toys / "a.parquet").num_rows
    assert file["entries"] == count
    assert file["answerers"][0]["entries"] == count
    assert file["answerers"][0]["adapter"] is None
    table = told("cache", "info")
    assert f"{count:,} entries" in table
    assert file["answerers"][0]["model"] in table
    printed = CliRunner().invoke(app, ["cache", "info", "--project", str(toys)]).stdout
    assert [line.split()[0] for line in printed.splitlines()[1:]] == ["model", "fake"]
    assert f"{count:,} entries" in printed
    told("cache", "prune", code=2)
    assert "0 entries removed" in told("cache", "prune", "--older-than", "30d")
    assert f"{count:,} entries removed" in told("cache", "prune", "--max-size", "1kB")
    assert cache_info(project=toys).entries == 0
    assert prune_cache(project=toys, older_than=0.0)[0] == 0


@pytest.mark.long
def test_a_finished_run_says_nothing_of_the_cache(toys: Path) -> None:
    words = ["rank", TASK, "--limit", "3", "--engine", "fake", "--run", str(toys / "run")]
    words += ["--project", str(toys), "--cache"]
    first, second = (CliRunner().invoke(app, words).output for _ in range(2))
    assert "from the cache" in first
    assert "from the cache" not in second


def test_servers_have_no_cache(toys: Path) -> None:
    given: dict[str, Any] = {"engine": "http://127.0.0.1:9", "project": toys, "cache": True}
    for refused in (
        lambda: rank(TASK, toys / "a.parquet", **given),
        lambda: rank_run(TASK, toys / "run", **given),
        lambda: rank_plan([TASK], toys / "runs", **given),
        lambda: evaluate(TASK, **given),
    ):
        with pytest.raises(InputError, match=r"weights answer at an address is not known"):
            refused()
    said: list[str] = []
    assert teachers_cache("http://127.0.0.1:9", True, said.append) is False
    assert "not kept" in said[0]
    assert teachers_cache("packed", True, said.append) is True


def test_numbers_with_units_are_read() -> None:
    assert [seconds_of(text) for text in ("12h", "30d", "2W", "0.5d")] == [
        43_200,
        2_592_000,
        1_209_600,
        43_200,
    ]
    assert [bytes_of(t) for t in ("1000", "2GB", "1.5 kB", "3m")] == [
        1000,
        2 * 10**9,
        1500,
        3 * 10**6,
    ]
    for text in ("", "d", "-1d", "30", "1e9d", "30 days"):
        with pytest.raises(InputError, match="such as 30d"):
            seconds_of(text)
    for text in ("", "GB", "-1", "2XB", "nan"):
        with pytest.raises(InputError, match="2GB"):
            bytes_of(text)
    assert [size_text(n) for n in (0, 999, 1000, 2.5e6, 3e12)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "2.5 MB",
        "3,000.0 GB",
    ]


@pytest.mark.parametrize(
    ("words", "cache"),
    [
        ([], False),
        (["--cache"], True),
        (["--cache", "--out", "o"], True),
        (["--cache", "folder"], "folder"),
        (["--cache=folder"], "folder"),
        (["--out", "o", "--cache"], True),
    ],
)
def test_the_folder_may_be_left_out(words: list[str], cache: bool | str) -> None:
    import typer

    seen: list[bool | str] = []
    small = typer.Typer()

    @small.command(cls=cache_option.CachingCommand)
    def command(task: str, out: str = "", cache: cache_option.Cache = None) -> None:
        seen.append(cache_option.chosen(cache))

    assert CliRunner().invoke(small, ["task", *words]).exit_code == 0
    assert seen == [cache]


def test_a_task_behind_cache_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    import typer

    small = typer.Typer()

    @small.command(cls=cache_option.CachingCommand)
    def command(tasks: list[str], cache: cache_option.Cache = None) -> None:
        (tmp_path / "ran").touch()

    def ran(*words: str) -> BaseException | None:
        return CliRunner().invoke(small, ["a", *words]).exception

    for task in ("movies/like", "tasks/own.yaml"):
        refused = ran("--cache", task, "b")
        assert isinstance(refused, InputError) and f"or --cache={task} for a" in str(refused)
    assert not (tmp_path / "ran").exists()
    assert ran("--cache=movies/like") is None and (tmp_path / "ran").exists()


WRITER = """
import random, sys
from promptrank.caching.score_cache import ScoreCache
from promptrank.caching.prompt_keys import Answerer
from promptrank.engine.contract import SlotScore

folder, seed, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
who = Answerer("fake", "m", "digest", "float32", "cpu", None, None)
draw = random.Random(seed)
with ScoreCache(folder, wait=60) as cache:
    for _ in range(rounds):
        numbers = [draw.randrange(5000) for _ in range(100)]
        answers = [
            (n.to_bytes(16, "big"), f"s{n % 9}", SlotScore((-float(n),), 0.5, 0)) for n in numbers
        ]
        known = cache.look_up([(key, of) for key, of, _ in answers])
        expected = {key: score for key, _, score in answers}
        assert all(score == expected[key] for key, score in known.items())
        cache.keep(who, answers)
        print(len(known), flush=True)
"""


@pytest.mark.slow
def test_processes_share_one_cache_and_one_is_killed(tmp_path: Path) -> None:
    """Four write and read what each other wrote, in turns with a purge and a prune."""

    def started(seed: int, rounds: int) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", WRITER, str(tmp_path), str(seed), str(rounds)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    whole = [started(seed, 60) for seed in range(3)]
    killed = started(3, 100_000)
    assert killed.stdout is not None
    for _ in range(20):
        killed.stdout.readline()
    with ScoreCache(tmp_path, wait=60) as cache:
        cache.purge("s4")
        time.sleep(random.Random(0).random() / 10)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        killed.stdout.close()
        cache.prune(max_bytes=10**6)
        for process in whole:
            output, _ = process.communicate(timeout=120)
            assert process.returncode == 0
            assert len(output.split()) == 60
        cache.purge("s4")
        assert cache.count_of("s4") == 0
        wanted = [n.to_bytes(16, "big") for n in range(5000)]
        known = cache.look_up([(key, None) for key in wanted])
        assert cache.damaged == 0
        assert len(known) == cache.info().entries > 2000
        assert all(
            score.logprobs == (-float(int.from_bytes(key, "big")),) for key, score in known.items()
        )
    with sqlite3.connect(tmp_path / "answers.sqlite") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_what_is_kept_by_hand_is_there_for_others(tmp_path: Path) -> None:
    """Two that have it open see what the other keeps, without closing anything."""
    who = Answerer("fake", "m", "digest", "float32", "cpu", "adapters/movies", "digest")
    score = SlotScore((-1.0, -2.0), 0.5, None)
    with ScoreCache(tmp_path) as one, ScoreCache(tmp_path) as other:
        one.keep(who, [(b"k" * 16, "ann", score)])
        assert other.look_up([(b"k" * 16, "bob")]) == {b"k" * 16: score}
        assert one.purge("bob") == 1
        assert other.look_up([(b"k" * 16, "bob")]) == {}
        other.count(who, 3)
        assert [(a.adapter, a.hits) for a in one.info().answerers] == [("movies", 3)]


@pytest.mark.long
def test_runs_of_a_plan_share_one_cache(toys: Path) -> None:
    """Two tasks that word the same prompts: what the first has asked the second knows."""
    copy = toys / "tasks" / "toys" / "again.yaml"
    copy.write_text((toys / "tasks" / "toys" / "like.yaml").read_text())
    given: dict[str, Any] = {"engine": "fake", "project": toys, "limit": 4, "cache": True}
    done = rank_plan([TASK, "toys/again"], toys / "both", **given)
    prompts = done["toys-like"].counted.scored
    used = [each.throughput.cache for each in done.values()]
    assert used == [CacheUse(0, prompts), CacheUse(prompts, 0)]
