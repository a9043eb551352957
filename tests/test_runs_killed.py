"""Requests that kill the process that ranks them: known, set aside, and nobody else is."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from promptrank.basics.digests import json_digest
from promptrank.errors import ModelError
from promptrank.ranking.ranker import Ranker
from promptrank.runs import sharded_run
from promptrank.runs.attempts import Attempt, Suspicion, attempt, ledger_path
from promptrank.runs.feeding import Feed
from promptrank.runs.prompt_digests import PromptDigests
from promptrank.runs.request_blocks import Blocks
from promptrank.runs.sharded_run import RunSummary
from promptrank.runs.watched_attempts import WatchedAttempt
from promptrank.runtime.opened import Opened
from support.sharded import AT_ONCE, TASK, Scoring, errors_of, files_of, rows_of
from support.toys import make_project


class Killed(BaseException):
    """As SIGKILL: nothing is cleared away."""


class Dying:
    """A scoring whose engine dies as it is told; the command is then given again."""

    def __init__(self, scoring: Scoring, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scoring, self.folder = scoring, folder
        self.dies: Callable[[list[str]], bool] = lambda ids: False
        self.dying = self.ahead = False
        close = Attempt.close

        def asked(ids: list[str]) -> None:
            if self.dies(ids):
                self.dying = True
                raise Killed

        def quiet_close(ledger: Attempt) -> None:
            os.close(ledger._file) if self.dying else close(ledger)

        monkeypatch.setattr(scoring.engine, "asked", asked)
        monkeypatch.setattr(Attempt, "close", quiet_close)

    def run(self, name: str = "run", **more: Any) -> RunSummary:
        self.dying = False
        return self.scoring.run(self.folder / name, **more)

    def until_done(self, name: str = "run", most: int = 12, **more: Any) -> tuple[RunSummary, int]:
        """Its end, and how often it was killed before."""
        for kills in range(most):
            with suppress(Killed):
                return self.run(name, **more), kills
        raise AssertionError(f"killed {most} times")


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory, tiny_llama_path: Path) -> Scoring:
    return Scoring(make_project(tmp_path_factory.mktemp("killed") / "toys", tiny_llama_path))


@contextmanager
def begun_ahead(ranker: Ranker, blocks: Blocks, *_: Any, **__: Any) -> Iterator[Feed]:
    """A feed as with processes that prepare, but that whoever waits does the engine's steps."""
    with ThreadPoolExecutor(1) as writer:
        yield Feed(blocks, writer=writer)


@pytest.fixture(params=["one after another", "begun ahead"])
def dying(
    scoring: Scoring,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Dying:
    made = Dying(scoring, tmp_path, monkeypatch)
    made.ahead = request.param == "begun ahead"
    if made.ahead:
        monkeypatch.setattr(sharded_run, "fed", begun_ahead)
        monkeypatch.setattr(Opened, "ahead", 2)
    return made


@pytest.fixture
def unbroken(dying: Dying) -> list[dict[str, Any]]:
    dying.run("unbroken")
    return rows_of(dying.folder / "unbroken")


@pytest.mark.long
def test_a_request_that_kills_the_process_is_set_aside_after_three_kills(
    dying: Dying, unbroken: list[dict[str, Any]]
) -> None:
    dying.dies = lambda ids: "r13" in ids
    done, kills = dying.until_done()
    assert kills == 3
    folder = dying.folder / "run"
    assert rows_of(folder) == [row for row in unbroken if row["request_id"] != "r13"]
    (error,) = errors_of(folder)
    assert (error["request_id"], error["reason"]) == ("r13", "killed_the_process")
    counted = done.counted
    assert counted.candidates == counted.scored + counted.set_aside
    assert (counted.set_aside, counted.partial) == (2, 1)
    assert not (folder / "begun").exists()
    # It is tried again by a later run, and nothing else is.
    dying.dies = lambda ids: ids != ["r13"]
    again = dying.run("again", earlier=folder)
    assert again.counted.reused == counted.requests - 1
    assert rows_of(dying.folder / "again") == unbroken


@pytest.mark.long
def test_a_request_that_kills_before_the_engine_has_it_is_known_too(
    dying: Dying, unbroken: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a tokenizer may, or a template's filter."""
    encoder = dying.scoring.ranker.encoder
    assert encoder is not None
    plan = encoder._plan

    def deadly(request: Any) -> Any:
        if request.request_id == "r13":
            dying.dying = True
            raise Killed
        return plan(request)

    monkeypatch.setattr(encoder, "_plan", deadly)
    _, kills = dying.until_done()
    # The first kill is held against the shard in hand, where there is one.
    assert kills == (4 if dying.ahead else 3)
    rows = [row for row in unbroken if row["request_id"] != "r13"]
    assert rows_of(dying.folder / "run") == rows


@pytest.mark.long
@pytest.mark.parametrize("noted", [False, True])
def test_it_is_tried_again_every_night(
    dying: Dying,
    unbroken: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    noted: bool,
) -> None:
    dying.dies = lambda ids: "r13" in ids
    dying.until_done("first")
    with monkeypatch.context() as patch:
        if noted:  # as by an earlier version, which noted its prompts as those of a scored one
            patch.setattr(PromptDigests, "forget", lambda *args: None)
        second, kills = dying.until_done("second", earlier=dying.folder / "first")
    assert kills == 3 and second.counted.reasons == {"killed_the_process": 1}
    dying.dies = lambda ids: False
    third = dying.run("third", earlier=dying.folder / "second")
    assert (third.counted.set_aside, third.counted.reused) == (0, third.counted.requests - 1)
    assert rows_of(dying.folder / "third") == unbroken


FOURS = [b"first 0-3", b"later 4-7"]


@pytest.mark.long
def test_who_is_in_hand(dying: Dying) -> None:
    """Those that the engine has, four at a time; not those of the shard that wait for them."""
    lines: list[bytes] = []

    def look(ids: list[str]) -> bool:
        lines.append((dying.folder / "run" / "begun" / "000001").read_bytes().split(b"\n")[0])
        return False

    dying.dies = lambda ids: ids[0] in ("r8", "r12") and look(ids)
    dying.run()
    both = [b"first 0-7"] * 2
    assert [line.strip() for line in lines] == (both if dying.ahead else FOURS)
    assert {len(line) for line in lines} == {999}


def test_who_has_nothing_to_ask_does_not_pause(scoring: Scoring) -> None:
    """Else another shard would begin beside it, and a kill there be held against nobody."""
    watched = WatchedAttempt(scoring.ranker, [], None)
    assert list(watched.rankings(lambda works, results: None, 8)) == []


@pytest.mark.long
def test_several_in_one_shard_are_known(dying: Dying, unbroken: list[dict[str, Any]]) -> None:
    poison = {"r1", "r2", "r6"}
    dying.dies = lambda ids: not poison.isdisjoint(ids)
    done, kills = dying.until_done()
    assert kills <= 3 * len(poison)
    assert {error["request_id"] for error in errors_of(dying.folder / "run")} == poison
    assert done.counted.candidates == done.counted.scored + done.counted.set_aside


@pytest.mark.long
def test_what_kills_together_and_not_alone_is_ranked_alone(
    dying: Dying, unbroken: list[dict[str, Any]]
) -> None:
    dying.dies = lambda ids: {"r4", "r7"} <= set(ids)
    done, kills = dying.until_done()
    assert kills == 3
    assert rows_of(dying.folder / "run") == unbroken
    assert done.counted.errors == 0


@pytest.mark.long
def test_kills_from_outside_accuse_nobody(dying: Dying, unbroken: list[dict[str, Any]]) -> None:
    """At any batch, time and again at the same one, as long as it is not at the same request."""
    begun = 0

    def killed_at(due: int) -> Callable[[list[str]], bool]:
        def outside(ids: list[str]) -> bool:
            nonlocal begun
            begun += 1
            return begun == due

        return outside

    for place in range(1, 6):
        folder = f"run{place}"
        for due in (place, place + 1, place + 1, place + 2):
            begun = 0
            dying.dies = killed_at(due)
            with suppress(Killed):
                dying.run(folder)
        dying.dies = lambda ids: False
        dying.run(folder)
        assert files_of(dying.folder / folder) == files_of(dying.folder / "unbroken")


@pytest.mark.long
def test_where_every_request_kills_it_is_not_the_requests(dying: Dying) -> None:
    dying.dies = lambda ids: True
    with pytest.raises(ModelError, match="killed 7 times, at every request that it began"):
        dying.until_done()
    (dying.folder / "run" / "begun" / "000000").unlink()
    dying.dies = lambda ids: False
    assert dying.run().counted.errors == 0


@pytest.mark.long
def test_what_ends_by_itself_leaves_nobody_suspected(dying: Dying) -> None:
    asked: list[list[str]] = []

    def stopped(ids: list[str]) -> bool:
        asked.append(ids)
        if "r2" in ids:
            raise KeyboardInterrupt
        return False

    dying.dies = stopped
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            dying.run()

    def counting(ids: list[str]) -> bool:
        asked.append(ids)
        return False

    dying.dies = counting
    assert dying.run().counted.errors == 0
    assert all(len(ids) == AT_ONCE for ids in asked)


# ---- the ledger by itself


def begin(folder: Path, ids: Sequence[str], content: str = "c") -> Any:
    return attempt(folder, 3, "i", content, ids)


IDS = [f"r{n}" for n in range(6)]


def killed(folder: Path, *steps: tuple[str, int, int], ids: Sequence[str] = IDS) -> Suspicion:
    """An attempt that is killed when it has written so much; what it had known."""
    with begin(folder, ids) as ledger:
        for what, start, end in steps:
            if what == "alone":
                ledger.alone(start)
            else:
                ledger.batch(range(start, end), first=start == 0)
        ledger.close = lambda: os.close(ledger._file)
        suspicion: Suspicion = ledger.suspicion
    return suspicion


def after(folder: Path, content: str = "c") -> Suspicion:
    with begin(folder, IDS, content) as ledger:
        suspicion: Suspicion = ledger.suspicion
    return suspicion


def fresh(content: str) -> Suspicion:
    return Suspicion("i", content, json_digest(IDS))


def test_the_ledger_by_hand(tmp_path: Path) -> None:
    assert killed(tmp_path, ("batch", 0, 1), ("batch", 1, 4)) == fresh("c")
    second = killed(tmp_path, ("alone", 0, 1), ("alone", 1, 2))
    assert second.suspects == ("r1", "r2", "r3") and not second.known
    third = killed(tmp_path, ("alone", 0, 1))
    assert third.suspects == ("r2", "r3") and third.known
    fourth = killed(tmp_path, ("alone", 0, 1), ("batch", 0, 5))
    assert (fourth.accused, fourth.suspects, fourth.known) == (("r2",), ("r3",), False)
    # Places are those of the requests that are still asked.
    fifth = after(tmp_path)
    assert (fifth.accused, fifth.suspects) == (("r2",), ("r0", "r1", "r3", "r4", "r5"))
    assert fifth.kills == 4
    # An attempt that ended by itself changes nothing; another shard in its place begins anew.
    assert after(tmp_path) == fifth
    assert after(tmp_path, "other") == fresh("other")


def test_a_survivor_is_no_longer_suspected(tmp_path: Path) -> None:
    killed(tmp_path, ("batch", 2, 4))
    killed(tmp_path, ("alone", 0, 1))
    known = killed(tmp_path, ("alone", 0, 1), ("alone", 1, 2))
    assert known.suspects == ("r2", "r3") and known.known
    assert after(tmp_path).suspects == ("r3",)
    assert after(tmp_path).known and not after(tmp_path).accused


def test_places_are_of_the_requests_that_were_asked_then(tmp_path: Path) -> None:
    # Begun anew with an earlier run, which has the rows of the first two.
    killed(tmp_path, ("batch", 0, 2))
    with begin(tmp_path, IDS[2:]) as ledger:
        assert not ledger.suspicion.suspects
    killed(tmp_path, ("batch", 0, 2))
    assert after(tmp_path).suspects == ("r0", "r1")


@pytest.mark.long
def test_a_ledger_that_is_damaged_is_none(tmp_path: Path) -> None:
    killed(tmp_path, ("batch", 2, 4))
    path = ledger_path(tmp_path, 3)
    written = path.read_bytes()
    for place in range(0, len(written), 5):
        for damaged in (written[:place], written[:place] + b"\x07" + written[place + 1 :]):
            path.write_bytes(damaged)
            got = after(tmp_path)
            assert not got.accused and set(got.suspects) <= set(IDS)
    path.write_bytes(b"later 5-9000\n" + written.partition(b"\n")[2])
    assert after(tmp_path).suspects == ("r5",)


# ---- real processes

CHILD = """
import os, signal, sys
from promptrank.engine.fake import FakeEngine
begin, poison = FakeEngine.begin, sys.argv.pop(1)

def deadly(self, trees):
    if poison in [tree.tree_id for tree in trees]:
        os.kill(os.getpid(), signal.SIGKILL)
    yield from begin(self, trees)

FakeEngine.begin = deadly
import promptrank.__main__
promptrank.__main__.start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("prepare", ["0", "1"])
def test_a_process_that_is_killed_by_a_request_ends_after_three_kills(
    toys: Path, prepare: str
) -> None:
    whole = Scoring(toys)
    whole.run(toys / "unbroken")
    words = ["rank", TASK, "--engine", "fake", "--project", str(toys), "--shard", "8"]
    words += ["--requests", str(whole.file.path), "--prepare", prepare]
    command = [sys.executable, "-c", CHILD, "r13", *words, "--run", str(toys / "run")]
    codes = [
        subprocess.run(command, capture_output=True, check=False, timeout=100).returncode
        for _ in range(4)
    ]
    assert codes == [-signal.SIGKILL] * 3 + [0]
    rows = rows_of(toys / "unbroken")
    assert rows_of(toys / "run") == [row for row in rows if row["request_id"] != "r13"]
