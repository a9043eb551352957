"""Purge: a person leaves every place that was written, nobody else does, and a kill is no harm."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from promptrank.api.build import build
from promptrank.api.purge import Purged, purge
from promptrank.api.rank import rank
from promptrank.api.rank_run import rank_run
from promptrank.basics.owner import owned
from promptrank.basics.seals import read_sealed, write_sealed
from promptrank.cli.main import app
from promptrank.errors import DataError, ErrorRow, InputError
from promptrank.purging.proof import occurrences
from promptrank.purging.purged_subject import PurgedSubject
from promptrank.requests.read import read_requests
from promptrank.requests.write import write_table
from promptrank.runs import shards
from promptrank.runs.read_run import read_run
from promptrank.scores.read import read_scores
from promptrank.workspace.tasks import open_task

TASK = "toys/like"
GONE = "p1"
"""Beside it there are p10 and p11, whose ids it is part of."""


def run(root: Path, folder: str = "run", **more: Any) -> Any:
    given: dict[str, Any] = {"engine": "fake", "project": root, "size": 3} | more
    return rank_run(TASK, root / folder, **given)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    paths = sorted(folder.glob("scores/*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def proved(purged: Purged) -> None:
    assert purged.left == ()
    assert purged.looked > 0


@pytest.mark.long
def test_a_run_loses_one_person_and_is_a_run_still(toys: Path) -> None:
    requests = toys / "requests.parquet"
    build(TASK, requests, project=toys)
    run(toys, requests=requests, splits={"test", "train"})
    before = rows_of(toys / "run")
    told = purge(GONE, project=toys, runs=[toys / "run"], dry=True)
    assert told.left and rows_of(toys / "run") == before
    done = purge(GONE, project=toys, runs=[toys / "run"])
    proved(done)
    theirs = [row for row in before if row["subject_id"] == GONE]
    assert theirs and {row["subject_id"] for row in before} >= {"p10", "p11"}
    assert rows_of(toys / "run") == [row for row in before if row["subject_id"] != GONE]
    assert [each.amounts["row of scores"] for each in done.removed] == [len(theirs)]
    assert done.removed[0].requests == {row["request_id"] for row in theirs}
    summary = read_sealed(toys / "run" / "summary.json", then="")
    assert summary["purged"] == len(theirs)
    assert summary["candidates"] == sum(
        summary[name] for name in ("scored", "removed", "set_aside", "purged")
    )
    mass = sum(row["like_label_mass"] for row in before if row["subject_id"] != GONE)
    assert summary["label_mass"]["like"] == pytest.approx(mass)
    assert len(read_run(toys / "run", open_task(TASK, project=toys).task, TASK)) == len(
        before
    ) - len(theirs)
    # The same command finds all done; another run takes over what is there, and asks for the rest.
    assert run(toys, requests=requests, splits={"test", "train"}).counted.purged == len(theirs)
    assert len(rows_of(toys / "run")) == len(before) - len(theirs)
    again = run(
        toys, "later", requests=requests, splits={"test", "train"}, since=toys / "run"
    ).counted
    assert again.requests - again.reused == len(done.removed[0].requests)
    assert purge(GONE, project=toys, runs=[toys / "run"]).removed[0].told() == ""


@pytest.mark.long
def test_a_stopped_run_goes_on_after_a_purge(toys: Path) -> None:
    asked = iter([False, False, True])
    with pytest.raises(KeyboardInterrupt):
        run(toys, stop=lambda: next(asked), splits={"test", "train"})
    first = {row["request_id"] for row in rows_of(toys / "run") if row["subject_id"] == GONE}
    orphan = toys / "run" / "scores" / "000002.parquet"
    pq.write_table(pa.table({"subject_id": [GONE]}), orphan)
    proved(purge(GONE, project=toys, runs=[toys / "run"]))
    assert not orphan.exists()
    assert run(toys, splits={"test", "train"}).resumed == 2
    there = {row["request_id"] for row in rows_of(toys / "run") if row["subject_id"] == GONE}
    assert not there & first  # what was purged is not scored again


@pytest.mark.long
@pytest.mark.parametrize("steps", range(6))
def test_a_purge_that_is_killed_goes_on(
    toys: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    run(toys, splits={"test", "train"})
    run(toys, "whole", splits={"test", "train"})
    purge(GONE, project=toys, runs=[toys / "whole"])
    left = steps

    class Killed(BaseException):
        pass

    real = Path.replace

    def step(act: Any, *given: Any) -> Any:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        return act(*given)

    with monkeypatch.context() as patch:
        # Every renaming and every sealed file of an exchange is a place to be killed at.
        sealing = "promptrank.purging.exchange.write_sealed"
        patch.setattr(sealing, lambda *given: step(write_sealed, *given))
        patch.setattr(
            Path,
            "replace",
            lambda path, to: (
                step(real, path, to) if path.name.endswith(".purged") else real(path, to)
            ),
        )
        with pytest.raises(Killed):
            purge(GONE, project=toys, runs=[toys / "run"])
    # Somebody else's purge comes first, and finishes what this one began.
    purge("nobody", project=toys, runs=[toys / "run"])
    proved(purge(GONE, project=toys, runs=[toys / "run"]))
    assert _files(toys / "run") == _files(toys / "whole")


def _files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "run.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.long
def test_a_run_under_way_and_a_damaged_shard_are_refused(toys: Path) -> None:
    run(toys)
    with owned(toys / "run", "rank"), pytest.raises(InputError, match="rank"):
        purge(GONE, project=toys, runs=[toys / "run"])
    path = shards.scores_path(toys / "run", 0)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=r"000000.*the command that made it"):
        purge(GONE, project=toys, runs=[toys / "run"])
    with pytest.raises(DataError, match="there is no such file"):
        purge(GONE, project=toys, runs=[toys / "nope"])
    with pytest.raises(InputError, match="empty id"):
        purge(" ", project=toys)


def test_requests_that_were_set_aside_keep_the_sum(tmp_path: Path) -> None:
    """Worked out by hand: of 10 candidates one row each, but for a whole request of three."""
    texts = ("request_id", "subject_id", "candidate_id", "item_id")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in texts),
            ("rank", pa.int32()),
            ("score", pa.float64()),
            ("partial", pa.bool_()),
            ("events_dropped", pa.int32()),
            ("q_label_mass", pa.float64()),
        ]
    )
    scores = pa.Table.from_pylist(
        [
            _row("a@1", "a", "x", rank=1, partial=True, dropped=4, mass=0.5),
            _row("a@1", "a", "y", rank=None, partial=True, dropped=4, mass=0.25),
            _row("b@1", "b", "x", rank=1, partial=False, dropped=2, mass=0.125),
            _row("b@1", "b", "a", rank=2, partial=False, dropped=2, mass=1.0),
        ],
        schema,
    )
    errors = [
        ErrorRow("a@1", "z", "engine", "no_score", "m"),
        ErrorRow("a@1", None, "prompt", "event_bad", "m"),  # speaks for an event, not a candidate
        ErrorRow("a@2", None, "engine", "too_long", "m"),  # of three candidates
        ErrorRow("b@1", "w", "engine", "no_score", "m"),
        ErrorRow("a@1", "u", "data", "bad_row", "m", 1),  # never read
    ]
    reasons = {"no_score": 2, "event_bad": 1, "too_long": 1, "bad_row": 1}
    counted = shards.ShardCounts(3, 9, 3, 1, 5, 1, 5, 1, 6, 0, {"q": 1.875}, reasons, 0, 0, 0, {})
    shard = shards.Shard(0, "i", "c", "a@1", "b@1", None, counted, {})
    shards.write_shard(tmp_path, shard, scores, errors, [("a@1", "p", "c"), ("b@1", "p", "c")], {})
    (tmp_path / "run.json").write_text("{}")
    proved(purge("a", project=tmp_path, runs=[tmp_path], items=False))
    now = shards.read_shard(tmp_path, 0).counted
    assert (now.candidates, now.scored, now.removed, now.set_aside, now.purged) == (9, 2, 0, 4, 3)
    assert (now.unread, now.partial, now.cut_events, now.label_mass) == (0, 0, 2, {"q": 1.125})
    lines = (tmp_path / "errors/000000.jsonl").read_text().splitlines()
    said = [json.loads(line)["reason"] for line in lines]
    assert sorted(said) == ["no_score", "purged", "purged"] and now.errors == 3
    facts = shards.read_shard(tmp_path, 0)
    assert facts.counted.reasons == {"no_score": 1, "purged": 2}
    assert (facts.first, facts.last) == ("b@1", "b@1")
    # As an item it stood in b's request: the pair goes, and its request is asked again.
    proved(purge("a", project=tmp_path, runs=[tmp_path], items=True))
    now = shards.read_shard(tmp_path, 0).counted
    assert (now.candidates, now.scored, now.set_aside, now.purged) == (9, 1, 4, 4)
    assert pq.read_table(shards.prompts_path(tmp_path, 0)).num_rows == 0


def _row(
    request: str,
    subject: str,
    item: str,
    *,
    rank: int | None,
    partial: bool,
    dropped: int,
    mass: float,
) -> dict[str, Any]:
    row: dict[str, Any] = {"request_id": request, "subject_id": subject, "rank": rank}
    row |= {"candidate_id": item, "item_id": item, "score": 0.5, "partial": partial}
    return row | {"events_dropped": dropped, "q_label_mass": mass}


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_scores_and_request_files_keep_everybody_else(toys: Path, suffix: str) -> None:
    opened = open_task(TASK, project=toys)
    requests, scores = toys / f"requests{suffix}", toys / f"scores{suffix}"
    build(TASK, requests, project=toys)
    rank(TASK, scores, engine="fake", project=toys, requests=requests)
    asked = {r.request_id: r for r in read_requests(requests, task=opened.task, errors=print)}
    said = read_scores(scores, opened.task, TASK).table.to_pylist()
    requests.chmod(0o600)
    done = purge(GONE, project=toys, runs=[scores], requests=[requests])
    proved(done)
    now = {r.request_id: r for r in read_requests(requests, task=opened.task, errors=print)}
    assert now == {k: r for k, r in asked.items() if r.subject.subject_id != GONE} != asked
    rows = read_scores(scores, opened.task, TASK).table.to_pylist()
    assert rows == [row for row in said if row["subject_id"] != GONE] != said
    assert requests.stat().st_mode & 0o777 == 0o600
    config = read_sealed(toys / "scores.config.json", then="")
    assert config["result"]["candidates"] == len(rows)
    assert not list(toys.glob(".*purge*"))


AWKWARD = ['o\'neil "x"', "two\nlines", "zoë\u2603", "a,b", "*?[x]", "back\\slash", "100%", "-5.5"]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_ids_go_and_their_like_stays(tmp_path: Path, name: str) -> None:
    others = [f"{name}x", f"x{name}", f"{name}@x.org"]
    rows = [
        {"request_id": f"r{place}", "member_id": each, "item_id": f"i{place}", "item": {"t": "T"}}
        for place, each in enumerate([*others, name])
    ]
    for path in (tmp_path / "a.jsonl", tmp_path / "b.parquet"):
        schema = pa.Table.from_pylist(rows).schema if path.suffix == ".parquet" else None
        write_table(path, rows, schema)
        whom = PurgedSubject(name)
        assert {each.where.removesuffix(".") for each in occurrences(path, whom)}
        proved(purge(name, project=tmp_path, requests=[path]))
        kept = (
            pq.read_table(path).to_pylist()
            if schema is not None
            else [json.loads(line) for line in path.read_bytes().splitlines()]
        )
        assert [row["member_id"] for row in kept] == others


@given(st.text("ab@.1-", min_size=1, max_size=3), st.text("ab@.1-", max_size=3), st.integers(0, 99))
def test_a_request_is_theirs_by_its_name_only_as_build_names_it(
    name: str, more: str, time: int
) -> None:
    whom = PurgedSubject(name)
    assert whom.is_request(f"{name}@{time}") and whom.is_request(f"{name}@{time}.5#2")
    assert not whom.is_request(name)
    longer = f"{more}{name}@{time}"
    if more:
        assert not whom.is_request(longer) or longer.startswith(f"{name}@")


def test_the_proof_sees_what_no_reader_shows(tmp_path: Path) -> None:
    """A dictionary keeps a value that no row has; SQLite keeps what was deleted."""
    whom = PurgedSubject("member-77")
    column = pa.array(["member-77", "member-770", "other"]).dictionary_encode()
    pq.write_table(pa.table({"m": column}).slice(1), tmp_path / "d.parquet", write_statistics=False)
    assert pq.read_table(tmp_path / "d.parquet")["m"].to_pylist() == ["member-770", "other"]
    assert [each.where for each in occurrences(tmp_path / "d.parquet", whom)] == ["m"]
    pq.write_table(pa.table({"n": ["member-770"]}), tmp_path / "n.parquet")
    assert not list(occurrences(tmp_path / "n.parquet", whom))
    nested = pa.table({"h": [[{"item_id": "member-77"}]]})
    pq.write_table(nested, tmp_path / "h.parquet")
    assert {(e.where, e.item) for e in occurrences(tmp_path / "h.parquet", whom)} == {
        ("h.item_id", True),
        ("statistics of h.list.element.item_id", True),
    }
    with sqlite3.connect(tmp_path / "s.sqlite") as db:
        db.execute("PRAGMA secure_delete = OFF")
        db.execute("CREATE TABLE t (x TEXT)")
        db.executemany("INSERT INTO t VALUES (?)", [("member-77",), ("member-770",)] * 2)
        db.commit()
        db.execute("DELETE FROM t WHERE x = 'member-77'")
        db.commit()
    db.close()
    places = [each.where for each in occurrences(tmp_path / "s.sqlite", whom)]
    assert places == ["bytes of s.sqlite"]
    (tmp_path / "e.jsonl").write_text('{"a": {"x": ["m\\u0065mber-77"]}}\n{"a": "member-770"}\n')
    assert len(list(occurrences(tmp_path / "e.jsonl", whom))) == 1


def test_an_id_of_an_item_needs_a_word(tmp_path: Path) -> None:
    rows = [
        {"request_id": "r1", "member_id": "7", "item_id": "1", "item": {"t": "x"}},
        {"request_id": "r2", "member_id": "8", "item_id": "7", "item": {"t": "x"}},
    ]
    write_table(tmp_path / "r.jsonl", rows)
    command = ["purge", "--subject", "7", "--requests", str(tmp_path / "r.jsonl")]
    command += ["--project", str(tmp_path)]
    undecided = CliRunner().invoke(app, command)
    assert undecided.exit_code == 3
    assert "left as an item's id" in undecided.output and "--no-items where not" in undecided.output
    told = CliRunner().invoke(app, [*command, "--no-items"])
    assert told.exit_code == 0, told.output
    assert "0 left of 1 file looked at" in told.output and "1 place with an item" in told.output
    assert "not looked into: your own tables" in told.output
