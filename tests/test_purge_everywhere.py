"""One person is planted in every place that promptrank writes, and the command takes them out."""

import io
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from promptrank.api.build import build
from promptrank.api.purge import purge
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_plan, rank_run
from promptrank.basics.seals import read_sealed
from promptrank.caching.score_cache import ScoreCache
from promptrank.cli.main import app
from promptrank.requests.dicts import request_from_dict
from promptrank.requests.judgement_file import append_judgements, judgements_name, read_judgements
from promptrank.requests.judgement_rows import Judgement
from promptrank.scores.columns import schema_of
from promptrank.serve.serving_log import ServingLog
from promptrank.workbench.database import Database
from promptrank.workbench.kept_rankings import KeptRankings, key_of
from promptrank.workbench.versions import KeptRun, Versions
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.rankers import open_ranker
from support.logs import toy_request
from support.serving import app_of, ask

TASK = "toys/like"
GONE, LONGER = "member-4711", "member-47110"
TEXTS = TaskTexts("task", "template", "t.j2")


def plant(root: Path) -> None:
    """Runs, scores, request files, a log, a workbench, labels and a cache, with both of them."""
    for name in ("people.csv", "ratings.csv"):
        text = (root / name).read_text()
        for old, new in (("p1,", f"{GONE},"), ("p2,", f"{LONGER},")):
            text = text.replace(f"\n{old}", f"\n{new}")
        (root / name).write_text(text)
    for suffix in (".parquet", ".jsonl"):
        requests = root / f"requests{suffix}"
        build(TASK, requests, project=root)
        given: dict[str, Any] = {"engine": "fake", "project": root, "requests": requests}
        rank(TASK, root / f"scores{suffix}", **given)
    rank_run(TASK, root / "run", **given, size=5, splits={"train", "test"}, cache=True)
    ranker = open_ranker(TASK, project=root, engine="fake")
    log = ServingLog(root / "log")
    served = app_of(ranker, serving_log=log)
    for place, name in enumerate((GONE, LONGER)):
        assert ask(served, "/v1/rank", toy_request(f"call-{place}", name)).status_code == 200
    log.close()
    with closing(Database(root / ".promptrank" / "workbench.sqlite")) as database:
        key, schema = key_of(ranker.origin, "digest", None), schema_of(ranker.task)
        rankings = KeptRankings(database)
        rankings.begin(key, ranker.origin, schema)
        bodies = [
            toy_request(f"kept-{n}", name)["request"] for n, name in enumerate((GONE, LONGER))
        ]
        rankings.put(key, list(ranker.rank_many(map(request_from_dict, bodies))), schema)
        run = KeptRun(
            TASK, TEXTS, TEXTS, edit_key=key, saved_key=key, request_ids=("kept-0", "kept-1")
        )
        Versions(database).keep(run)
        with database.writing() as writing:
            writing.execute("UPDATE runs SET report = ?", (json.dumps({"worst": ["kept-0"]}),))
    labels = [
        Judgement(f"j{n}", 1.0, "Zoe", "answer", f"r{n}", name, ("t1",), "like", "like")
        for n, name in enumerate((GONE, LONGER))
    ]
    labels.append(Judgement("j2", 2.0, "Zoe", "undo", undoes="j0"))
    append_judgements(root / judgements_name(TASK), labels)


def command_of(root: Path) -> list[str]:
    command = ["purge", "--subject", GONE, "--project", str(root), "--log", str(root / "log")]
    for name in ("run", "scores.parquet", "scores.jsonl"):
        command += ["--run", str(root / name)]
    for name in ("requests.parquet", "requests.jsonl"):
        command += ["--requests", str(root / name)]
    return command


def places(root: Path) -> list[Path]:
    """Every file that promptrank wrote: not the tables, the task or the model."""
    own = ("run", "scores", "requests", "log", ".promptrank", "judgements", "cache")
    names = [path for path in root.iterdir() if path.name.lstrip(".").startswith(own)]
    names.append(root / ".promptrank")
    below = (p for name in names for p in ([name] if name.is_file() else name.rglob("*")))
    passing = ("-shm", "-wal", ".gitignore")  # of the log `unpacked` reads itself
    return [p for p in below if p.is_file() and not p.name.endswith(passing)]


def unpacked(path: Path) -> Iterator[bytes]:
    """All that a file holds, by other means than the ones of the command."""
    yield path.read_bytes()
    if path.suffix == ".parquet":
        plain = io.BytesIO()
        pq.write_table(pq.read_table(path), plain, compression="none", use_dictionary=False)
        yield plain.getvalue()
    if path.suffix == ".sqlite":
        log = path.with_name(f"{path.name}-wal")
        yield log.read_bytes() if log.exists() else b""
        with closing(sqlite3.connect(path)) as db:
            yield "\n".join(db.iterdump()).encode()
            if "rankings" in {name for (name,) in db.execute("SELECT name FROM sqlite_schema")}:
                yield from (
                    zlib.decompress(x) for (x,) in db.execute("SELECT scored FROM rankings")
                )


def holding(root: Path) -> set[Path]:
    wanted = GONE.encode()
    return {
        path.relative_to(root)
        for path in places(root)
        for data in unpacked(path)
        if any(data[at + len(wanted) : at + len(wanted) + 1] != b"0" for at in _all(data, wanted))
    }


def _all(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


@pytest.mark.long
def test_a_person_leaves_every_place(toys: Path) -> None:
    plant(toys)
    before = holding(toys)
    kinds = {path.parts[0] for path in before}
    assert kinds >= {"run", "scores.parquet", "scores.jsonl", "requests.parquet", "requests.jsonl"}
    assert kinds >= {"log", ".promptrank", "judgements"}
    with ScoreCache(toys / "cache") as cache:
        theirs, others = cache.count_of(GONE), cache.info().entries
        assert 0 < theirs < others
    files = {path: path.read_bytes() for path in places(toys)}
    kept = {path: table for path in files if (table := others_in(path)) is not None}
    assert len(kept) > 6
    dry = CliRunner().invoke(app, [*command_of(toys), "--dry-run"])
    assert dry.exit_code == 0 and "would go" in dry.output, dry.output
    assert {path: path.read_bytes() for path in places(toys)} == files
    done = CliRunner().invoke(app, command_of(toys))
    assert done.exit_code == 0, done.output
    assert f"0 left of {len(places(toys)):,} files looked at" in done.output, places(toys)
    assert holding(toys) == set()
    with ScoreCache(toys / "cache") as cache:
        assert cache.count_of(GONE) == 0
        assert cache.info().entries == others - theirs
    for path, table in kept.items():
        now = others_in(path) if path.exists() else table.schema.empty_table()
        assert now is not None and now.equals(table, check_metadata=True), path
    # The one whose id begins like theirs is everywhere still.
    for name in ("scores.parquet", "run/scores", "requests.parquet", "log"):
        tables = (
            [toys / name] if name.endswith("parquet") else sorted((toys / name).rglob("*.parquet"))
        )
        rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
        assert LONGER in {row.get("subject_id") or row.get("member_id") for row in rows}, name
    assert [row.id for row in read_judgements(toys / judgements_name(TASK))] == ["j1"]
    with closing(Database(toys / ".promptrank" / "workbench.sqlite")) as database:
        (run,) = Versions(database).every(TASK)
        assert run.request_ids == ("kept-1",)
        assert Versions(database).report(run.run_id) is None
        scores = KeptRankings(database).scores(run.edit_key, ["kept-0", "kept-1"])
        assert set(scores.table.column("subject_id").to_pylist()) == {LONGER}
    again = CliRunner().invoke(app, command_of(toys))
    assert again.exit_code == 0 and " removed" not in again.output


def others_in(path: Path) -> pa.Table | None:
    """The rows of a parquet file that name nobody by that id: what a purge must not touch."""
    if path.suffix != ".parquet":
        return None
    table = pq.read_table(path, partitioning=None)
    names = [n for n in ("subject_id", "member_id", "request_id") if n in table.column_names]
    theirs: set[str] = set()
    rows = table.select(names).to_pylist()
    for row in rows:
        if GONE in (row.get("subject_id"), row.get("member_id")):
            theirs.add(row["request_id"])
    keep = [
        row["request_id"] not in theirs and not row["request_id"].startswith(f"{GONE}@")
        for row in rows
    ]
    if "log" in path.parts and "call-0" in {row["request_id"] for row in rows}:
        keep = [k and row["request_id"] != "call-0" for k, row in zip(keep, rows, strict=True)]
    return table.filter(pa.array(keep, pa.bool_()))


@pytest.mark.slow
def test_a_purge_that_is_killed_at_any_moment_goes_on(toys: Path, tmp_path: Path) -> None:
    plant(toys)
    command = [sys.executable, "-m", "promptrank"]
    draw, statuses = random.Random(16), []
    for number in range(4):
        root = tmp_path / f"copy-{number}"
        shutil.copytree(toys, root)
        process = subprocess.Popen([*command, *command_of(root)], stdout=subprocess.DEVNULL)
        while process.poll() is None and not list(root.rglob("*.purged")):
            time.sleep(0.001)
        time.sleep(draw.random() * 0.3)
        process.send_signal(signal.SIGKILL)
        statuses.append(process.wait())
        done = CliRunner().invoke(app, command_of(root))
        assert done.exit_code == 0, done.output
        assert holding(root) == set()
        assert not list(root.rglob("*.purged")) and not list(root.rglob("*purge.json"))
    assert -signal.SIGKILL in statuses


@pytest.mark.long
def test_several_runs_and_a_ranking_that_was_stopped(toys: Path) -> None:
    again = (toys / "tasks/toys/like.yaml").read_text().replace("Will they", "Would they")
    (toys / "tasks/toys/again.yaml").write_text(again)
    given: dict[str, Any] = {"engine": "fake", "project": toys, "splits": {"train", "test"}}
    rank_plan([TASK, "toys/again"], toys / "both", size=10, **given)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("promptrank.runs.scored_file.FILE_SHARD", 8)
        asked = iter((False, True))
        rank(TASK, toys / "scores.parquet", stop=lambda: next(asked), **given)
    partial = toys / "scores.parquet.partial"
    (toys / "scores.parquet").write_bytes(b"")  # of an earlier ranking
    (there,) = partial.glob("scores/*.parquet")
    pq.write_table(pq.read_table(there), toys / "scores.parquet")
    before = [read_sealed(path, then="") for path in sorted(toys.glob("both/*/summary.json"))]
    there_now = {row["subject_id"] for row in pq.read_table(there).to_pylist()}
    name = min(there_now)
    done = purge(name, project=toys, runs=[toys / "both", toys / "scores.parquet"])
    assert done.left == ()
    assert name not in pq.read_table(there).column("subject_id").to_pylist()
    after = [read_sealed(path, then="") for path in sorted(toys.glob("both/*/summary.json"))]
    both = read_sealed(toys / "both" / "summary.json", then="")
    assert [each["scored"] + each["purged"] for each in after] == [b["scored"] for b in before]
    assert both["purged"] == sum(each["purged"] for each in after) > 0
    assert [run["purged"] for run in both["runs"].values()] == [a["purged"] for a in after]
    # Both go on: nothing of the person is scored again where a shard was done.
    rank_plan([TASK, "toys/again"], toys / "both", size=10, **given)
    for path in (toys / "both").rglob("scores/*.parquet"):
        assert name not in pq.read_table(path).column("subject_id").to_pylist()
