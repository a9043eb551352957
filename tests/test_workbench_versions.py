"""Versions of the workbench: what is kept survives, is bounded, and is never half there."""

import multiprocessing
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from promptrank.errors import DataError, InputError
from promptrank.ranking.ranker import Ranker
from promptrank.requests.dicts import request_from_dict
from promptrank.scores.columns import schema_of
from promptrank.workbench import versions as module
from promptrank.workbench.database import Database
from promptrank.workbench.kept_rankings import KeptRankings, key_of
from promptrank.workbench.versions import DONE, KeptRun, Versions
from promptrank.workspace.drafts import TaskTexts
from promptrank.workspace.rankers import open_ranker
from support.serving import rank_body

OLD = TaskTexts("old task", "old template", "t.j2")
NEW = TaskTexts("old task", "new template", "t.j2")


def run_of(name: str = "", made: float = 1.0, key: str = "", task: str = "toys/like") -> KeptRun:
    return KeptRun(task, NEW, OLD, made=made, name=name, edit_key=key, saved_key=key)


def ranked(toys: Path) -> tuple[Ranker, KeptRankings, Versions, Database]:
    database = Database(toys / ".promptrank" / "workbench.sqlite")
    ranker = open_ranker("toys/like", project=toys, engine="fake")
    return ranker, KeptRankings(database), Versions(database), database


def test_a_run_comes_back_as_it_was_kept_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / ".promptrank" / "workbench.sqlite"
    kept = KeptRun("t", NEW, OLD, part="test", request_ids=("b", "a"), facts={"model": "m"})
    database = Database(path)
    Versions(database).keep(kept)
    Versions(database).rename(kept.run_id, "  shorter \n prompt ", "because")
    Versions(database).ended(kept.run_id, DONE, None)
    database.close()
    again = Versions(Database(path)).run(kept.run_id)
    assert (again.name, again.note, again.state) == ("shorter prompt", "because", DONE)
    assert (again.edit, again.saved, again.request_ids) == (NEW, OLD, ("b", "a"))
    assert again.facts == {"model": "m"} and again.made == kept.made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_keeping_a_run_again_leaves_the_name_that_it_was_given_meanwhile() -> None:
    versions = Versions(Database(None))
    run = run_of()
    versions.keep(run)
    versions.rename(run.run_id, "mine", "")
    versions.keep(run)
    assert [each.name for each in versions.every("toys/like")] == ["mine"]


def test_old_unnamed_runs_go_by_count_and_named_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    versions = Versions(Database(None))
    assert versions.keep(run_of("named", made=0.0)) == 0
    versions.keep(run_of(made=0.0, task="other"))
    pruned = [versions.keep(run_of(made=float(at))) for at in range(1, 5)]
    assert pruned == [0, 0, 1, 1]
    assert [run.made for run in versions.every("toys/like")] == [4.0, 3.0, 0.0]
    assert len(versions.every("other")) == 1


def test_rankings_come_back_as_scores_and_go_with_the_last_run_that_has_them(toys: Path) -> None:
    ranker, rankings, versions, database = ranked(toys)
    requests = [request_from_dict(rank_body(name)["request"]) for name in ("r1", "r2")]
    schema = schema_of(ranker.task)
    key = key_of(ranker.origin, "digest", None)
    first, second = run_of(key=key, made=1.0), run_of(key=key, made=2.0)
    versions.keep(first)
    versions.keep(second)
    rankings.begin(key, ranker.origin, schema)
    made = list(ranker.rank_many(requests))
    rankings.put(key, made, schema)
    scores = rankings.scores(key, ["r2", "nowhere", "r1"])
    assert [name for name, _ in scores.keys] == ["r2"] * 3 + ["r1"] * 3
    assert scores.origin.prompt == ranker.fingerprint
    assert scores.origin.task_digest == ranker.origin.task_digest
    expected = {(m.request_id, s.candidate_id): s.score for m in made for s in m.scored}
    assert dict(zip(scores.keys, scores.numbers("score"), strict=True)) == expected
    with database.writing() as connection:
        connection.execute("UPDATE rankings SET scored = zeroblob(50) WHERE request_id = 'r2'")
    assert rankings.scores(key, ["r1"]).keys
    with pytest.raises(DataError, match="damaged"):
        rankings.scores(key, ["r2"])
    versions.delete(first.run_id)
    assert rankings.known(key) == {"r1", "r2"}
    versions.delete(second.run_id)
    assert rankings.known(key) == set()
    with pytest.raises(DataError, match="not kept any more"):
        rankings.scores(key, ["r1"])
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == (0,)


def test_a_key_is_of_all_that_changes_a_score_and_of_nothing_else(toys: Path) -> None:
    from dataclasses import replace

    ranker, *_ = ranked(toys)
    origin = ranker.origin
    key = key_of(origin, "digest", None)
    assert origin.engine is not None
    noted = {**origin.engine, "notes": ["opened in another way"]}
    assert key_of(replace(origin, engine=noted, adapter="elsewhere"), "digest", None) == key
    for other in (
        replace(origin, prompt="p"),
        replace(origin, task_digest="t"),
        replace(origin, adapter_digest="a"),
        replace(origin, engine={**origin.engine, "dtype": "int8"}),
    ):
        assert key_of(other, "digest", None) != key
    assert key_of(origin, "another file", None) != key
    assert key_of(origin, "digest", "changed items") != key


def write_and_die(path: Path) -> None:
    database = Database(path)
    Versions(database).keep(run_of("before the kill"))
    with database.writing() as connection:
        connection.execute("DELETE FROM runs")
        os._exit(9)


def test_what_a_killed_server_had_begun_is_taken_back_and_what_it_had_kept_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "workbench.sqlite"
    process = multiprocessing.get_context("fork").Process(target=write_and_die, args=(path,))
    process.start()
    process.join(20)
    assert process.exitcode == 9
    assert [run.name for run in Versions(Database(path)).every("toys/like")] == ["before the kill"]


def test_two_servers_see_each_others_runs(tmp_path: Path) -> None:
    one, other = (Versions(Database(tmp_path / "workbench.sqlite")) for _ in range(2))
    one.keep(run_of("mine", made=1.0))
    other.keep(run_of("theirs", made=2.0))
    assert [run.name for run in one.every("toys/like")] == ["theirs", "mine"]


def test_a_file_that_is_no_database_or_of_a_later_promptrank_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "workbench.sqlite"
    path.write_text("no database at all, but long enough to have a header of its own " * 4)
    with pytest.raises(InputError, match=r"workbench\.sqlite: cannot be used .*move it away"):
        Database(path)
    later = tmp_path / "later.sqlite"
    with sqlite3.connect(later) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InputError, match="later promptrank"):
        Database(later)


def test_names_and_notes_are_bounded_and_runs_that_are_gone_are_said() -> None:
    versions = Versions(Database(None))
    with pytest.raises(InputError, match="the name has 81 characters; 80 at most"):
        versions.rename("x", "n" * 81, "")
    for call in (versions.run, lambda name: versions.rename(name, "n", "")):
        with pytest.raises(DataError, match="no run 'gone' is kept here"):
            call("gone")
