"""Precompute: the coverage curve by hand, the head and nothing else scored, and the tail still."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.api.adapters import set_alias
from promptrank.api.precompute import precompute
from promptrank.caching.score_cache import ScoreCache
from promptrank.cli.main import app
from promptrank.errors import DataError, InputError
from promptrank.project import builtin_root
from promptrank.ranking.ranker import Ranker
from promptrank.requests.write import write_table
from promptrank.runtime.runtime import Runtime
from promptrank.serve.app import make_app
from promptrank.serve.shapes.every import SHAPES
from promptrank.tables.query_log import coverage_of, log_coverage
from promptrank.workspace.rankers import open_ranker
from support.adapters import a_folder
from support.serving import app_of, ask, hosted_of, rank_body


def test_a_zipf_log_by_hand(tmp_path: Path) -> None:
    """Twenty queries, the n-th asked 2520 / n times where that is whole, else not at all."""
    times = {f"q{n:02}": 2520 // n for n in range(1, 11)}  # 2520 is divisible by 1 to 10
    times |= {f"r{n:02}": 1 for n in range(10)}
    total = 7381 + 10  # 2520 * (1 + 1/2 + ... + 1/10) = 7381
    path = tmp_path / "log.csv"
    path.write_text("query,count\n" + "".join(f"{q},{n}\n" for q, n in times.items()))
    seen = log_coverage(path, 0.8)
    assert (seen.queries, seen.traffic) == (20, total)
    # 1% and 5% of 20 are one query each, 10% two, 20% four, 50% ten.
    assert [head.queries for head in seen.curve] == [1, 1, 2, 4, 10]
    shares = [2520, 2520, 3780, 5250, 7381]
    assert [head.traffic for head in seen.curve] == pytest.approx([n / total for n in shares])
    # 2520 + 1260 + 840 + 630 + 504 = 5754 is .779 of 7391; with 420 more it is .835.
    assert (seen.head.queries, seen.keys) == (6, ("q01", "q02", "q03", "q04", "q05", "q06"))
    assert seen.head.traffic == pytest.approx(6174 / total)
    assert seen.head.later is None  # counts alone do not tell early from late


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_head_is_measured_on_later_traffic(tmp_path: Path, suffix: str) -> None:
    """Early: a a a b. Late: b b b a. A head of one has 3/4 of its own half and 1/4 of the other."""
    asked = list("aaabbbba")
    path = tmp_path / f"log{suffix}"
    if suffix == ".csv":
        path.write_text("text\n" + "\n".join(asked) + "\n")
    elif suffix == ".jsonl":  # in another order, by time
        rows = [f'{{"text": "{q}", "time": {t}}}\n' for t, q in enumerate(asked)]
        path.write_text("".join(reversed(rows)))
    else:
        pq.write_table(pa.table({"text": asked, "time": pa.array(range(8))}), path)
    seen = log_coverage(path, 0.7)
    assert seen.queries == 2
    assert seen.curve[0].later == pytest.approx(1 / 4)
    assert seen.curve[0].traffic == pytest.approx(1 / 2)
    # For 0.7 of all both are needed; of the earlier half alone, one.
    assert seen.head.queries == 2
    assert seen.head.later == pytest.approx(1 / 4)
    again = coverage_of(((q, float(t)) for t, q in enumerate(asked)), 0.7)
    assert again == seen


def test_queries_are_keys_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"q": "Red"}\n{"q": "red"}\n{"q": "red "}\n{"q": null}\n{"q": ""}\n')
    assert log_coverage(path, 1.0, query="q").queries == 3
    numbers = tmp_path / "ids.csv"
    numbers.write_text("query_id,count\n007,2\n7,1\n8,0\n9,-1\n")
    assert log_coverage(numbers, 1.0).keys == ("007", "7")


def test_a_log_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("word\nred\n")
    with pytest.raises(DataError, match="no column query_id or query or text; name the query's"):
        log_coverage(path, 0.8)
    with pytest.raises(DataError, match=r"--query: no column 'wrd'.*word"):
        log_coverage(path, 0.8, query="wrd")
    with pytest.raises(DataError, match="holds no query"):
        coverage_of([], 0.8)
    with pytest.raises(DataError, match="there is no such file"):
        log_coverage(tmp_path / "nope.csv", 0.8)


QUERIES = {"red car": 6, "blue car": 3, "doll": 2, "ball": 1}


def asked(root: Path) -> tuple[Path, Path]:
    """Requests of three of four queries, two documents each; and the log."""
    requests, log = root / "requests.jsonl", root / "log.csv"
    rows = [
        {"request_id": text, "query_id": text, "query": {"text": text}, "item_id": f"d{n}"}
        | {"item": {"text": f"about {text}, {n}"}}
        for text in ("red car", "doll", "ball")
        for n in range(2)
    ]
    write_table(requests, rows)
    log.write_text("query,count\n" + "".join(f"{q},{n}\n" for q, n in QUERIES.items()))
    return requests, log


@pytest.mark.long
def test_the_head_is_scored_once_and_the_tail_not(tmp_path: Path, tiny_llama_path: Path) -> None:
    requests, log = asked(tmp_path)
    given: dict[str, Any] = {"requests": requests, "engine": "fake"}
    given |= {"model": str(tiny_llama_path)}
    given |= {"project": tmp_path}
    seen = precompute("rerank/generic", log, share=0.7, dry=True, **given)
    assert not (tmp_path / "cache").exists() and seen.coverage.keys == ("red car", "blue car")
    done = precompute("rerank/generic", log, share=0.7, **given)
    assert (done.requests, done.without, done.hits, done.asked) == (1, 1, 0, 2)
    again = precompute("rerank/generic", log, share=0.9, **given)  # goes on where it was
    assert (again.requests, again.hits, again.asked) == (2, 2, 2)
    whole = precompute("rerank/generic", share=1, **given)  # the requests are the log
    assert (whole.coverage.queries, whole.hits, whole.asked) == (3, 4, 2)
    with pytest.raises(InputError, match=r"none of its requests .* such as 'x'"):
        log.write_text("query\nx\n")
        precompute("rerank/generic", log, **given)
    with pytest.raises(InputError, match="share 0: a share"):
        precompute("rerank/generic", log, share=0, **given)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*answers\.sqlite"):
        precompute("rerank/generic", cache=tmp_path / "file", **given)


def test_the_command_tells_the_curve(tmp_path: Path, tiny_llama_path: Path) -> None:
    requests, log = asked(tmp_path)
    command = ["precompute", "rerank/generic", "--log", str(log), "--requests", str(requests)]
    command += ["--engine", "fake", "--model", str(tiny_llama_path), "--project", str(tmp_path)]
    told = CliRunner().invoke(app, [*command, "--share", "0.5"])
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert "12 queries asked, 4 different ones; as they are written, to the letter" in lines
    assert " 50%          (2)        75.0%                 -" in lines
    assert "50% of the traffic: the 1 query asked most, 25.0% of the different ones" in lines
    assert "0 prompts were there already, 2 were answered by the model" in told.output


@pytest.mark.long
def test_a_server_answers_the_head_without_the_model(tmp_path: Path, tiny_llama_path: Path) -> None:
    requests, log = asked(tmp_path)
    given: dict[str, Any] = {"engine": "fake", "project": tmp_path}
    given |= {"model": str(tiny_llama_path)}
    precompute("rerank/generic", log, share=0.5, requests=requests, **given)

    def served(cache: ScoreCache | None) -> tuple[Ranker, Runtime]:
        runtime = Runtime(cache=cache)
        return open_ranker("rerank/generic", runtime=runtime, **given), runtime

    def body(query: str, numbers: Sequence[int]) -> dict[str, Any]:
        asked = {"model": "rerank/generic", "query": query}
        return asked | {"documents": [f"about {query}, {n}" for n in numbers]}

    with ScoreCache(tmp_path / "cache") as kept:
        ranker, runtime = served(kept)
        plain, other = served(None)
        names = ["rerank/generic"]
        with runtime, other:
            known = make_app(hosted_of(ranker, names=names), SHAPES)
            bare = make_app(hosted_of(plain, names=names), SHAPES)
            for query, numbers, cached in (
                ("red car", (0, 1), 2),  # precomputed
                ("red car", (0, 1, 2), 2),  # a document that nobody asked about before
                ("red car", (0, 1, 2), 3),  # and now it is known
                ("blue car", (0, 1), 0),  # the tail
            ):
                said = ask(known, "/v2/rerank", body(query, numbers))
                expected = ask(bare, "/v2/rerank", body(query, numbers))
                assert said.status_code == 200, said.text
                assert said.headers["x-promptrank-cached"] == str(cached)
                assert "x-promptrank-cached" not in expected.headers
                assert said.json()["results"] == expected.json()["results"]
            metrics = ask(known, "/metrics").text
    assert 'promptrank_cache_hits_total{cache="scores"' in metrics
    line = next(each for each in metrics.splitlines() if 'hits_total{cache="scores"' in each)
    assert line.endswith(" 7.0")


def test_an_alias_that_moves_is_another_model(toys: Path) -> None:
    """What the cache knows of the old adapter is no answer of the new one."""
    for seed, name in enumerate(("old", "new")):
        a_folder(toys / "adapters" / name, seed)
    body = rank_body("r1")
    with ScoreCache(toys / "cache") as kept, Runtime(cache=kept) as runtime:
        seen = []
        for name in ("old", "new", "old"):
            set_alias("toys@prod", name, project=toys)
            ranker = open_ranker(
                "toys/like", project=toys, engine="fake", adapter="toys@prod", runtime=runtime
            )
            said = ask(app_of(ranker), "/v1/rank", body)
            assert said.status_code == 200, said.text
            scores = [each["score"] for each in said.json()["scored"]]
            seen.append((int(said.headers["x-promptrank-cached"]), scores))
            del ranker
            runtime.unload_unused()
    assert [hits for hits, _ in seen] == [0, 0, 3]
    assert seen[0][1] == seen[2][1] != seen[1][1]


def test_the_page_shows_what_the_command_prints(tmp_path: Path) -> None:
    page = (builtin_root() / "docs" / "reference" / "serving.md").read_text()
    log = re.search(r'```csv title="log\.csv"\n(.*?)```', page, re.DOTALL)
    shown = re.search(r"\$ promptrank (precompute .*?)\n(.*?)```", page, re.DOTALL)
    assert log is not None and shown is not None
    (tmp_path / "log.csv").write_text(log[1])
    command = shown[1].replace("log.csv", str(tmp_path / "log.csv")).split()
    told = CliRunner().invoke(app, command)
    assert told.output == shown[2]


@pytest.mark.slow
def test_serve_cache_by_the_real_command(toys: Path) -> None:
    command = [sys.executable, "-m", "promptrank", "serve", "toys/like", "--engine", "fake"]
    command += ["--project", str(toys), "--port", "0", "--cache"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        url = process.stderr.readline().strip()
        assert "ready" in (line.strip() for line in iter(process.stderr.readline, ""))
        said = [httpx.post(f"{url}/v1/rank", json=rank_body("r1"), timeout=30) for _ in range(2)]
        assert [each.headers["x-promptrank-cached"] for each in said] == ["0", "3"]
        assert said[0].json()["scored"] == said[1].json()["scored"]
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert (toys / "cache").is_dir()
