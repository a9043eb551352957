"""Runs that were killed, damaged or filled the disk, and what --resume makes of them."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from promptrank.api.train import Trained
from promptrank.errors import InputError, ModelError
from promptrank.training import checkpoints, objective
from promptrank.training.settings import Settings
from promptrank.training.trainer import AdapterTrainer
from support.runs import QUICK, TURNS, apart, killed_before_saving, run


class Stop(Exception):
    """Ends a run where a kill would."""


@pytest.mark.long
def test_a_stopped_run_ends_where_an_unbroken_one_does(toys: Path, whole: Trained) -> None:
    def stop(done: int, total: int | None) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        run(toys, "broken", progress=stop)
    assert not (toys / "adapters" / "broken").exists()
    with pytest.raises(InputError, match=r"unfinished run.*--resume"):
        run(toys, "broken")
    with pytest.raises(InputError, match="the run to resume had other settings"):
        run(toys, "broken", resume=True, training=Settings(steps=7))
    said: list[str] = []
    again = run(toys, "broken", resume=True, say=said.append)
    assert "resuming after step 4" in said
    assert apart(whole.path, again.path) <= 1e-5
    assert whole.before == again.before
    assert whole.after["toys/like"] == pytest.approx(again.after["toys/like"])
    assert whole.best == again.best


@pytest.mark.slow
def test_a_resumed_run_draws_the_same_prompt_tokens(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[int]] = []
    plain = objective.thinned

    def thinned(*given: Any) -> Any:
        made = plain(*given)
        drawn.append(made.prompt_rows.tolist())
        return made

    def stop(done: int, total: int | None) -> None:
        if done == 3:
            raise Stop

    monkeypatch.setattr(objective, "thinned", thinned)
    training = replace(QUICK, steps=4, every=2, valid=0, prompt_rows=5)
    run(toys, "unbroken", training=training)
    every = list(drawn)
    assert all(len(rows) == 5 for rows in every) and len({str(r) for r in every}) > 1
    drawn.clear()
    with pytest.raises(Stop):
        run(toys, "broken", training=training, progress=stop)
    drawn.clear()
    run(toys, "broken", training=training, resume=True)
    assert drawn == every[len(every) // 2 :]


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over(toys: Path, whole: Trained) -> None:
    def stop(done: int, total: int | None) -> None:
        if done == 5:
            raise Stop

    with pytest.raises(Stop):
        run(toys, "broken", progress=stop)
    folder = toys / "adapters" / ".broken.run"
    newest = folder / "checkpoint-4"
    damaged = newest / "optimizer.pt"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    half = folder / "checkpoint-5"
    shutil.copytree(newest, half)
    (half / checkpoints.MARK).unlink()
    said: list[str] = []
    again = run(toys, "broken", resume=True, say=said.append)
    damaged_is = "checkpoint-4 is not used: optimizer.pt is not what was written"
    assert any(line.startswith(damaged_is) for line in said)
    assert "checkpoint-5 is not used: it was not written to its end" in said
    assert "resuming after step 2" in said
    assert apart(whole.path, again.path) <= 1e-5


@pytest.mark.long
def test_a_full_disk_is_one_message_and_leaves_no_adapter(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AdapterTrainer, "_save_optimizer_and_scheduler", full)
    short = Settings(steps=2, every=2, batch=2, valid=0)
    with pytest.raises(InputError, match=r"checkpoint-2 could not be written.*free some space"):
        run(toys, training=short)
    assert not (toys / "adapters" / "a").exists()
    assert not list((toys / "adapters").glob(".a.run/checkpoint-*"))
    monkeypatch.undo()
    assert run(toys, resume=True, training=short).path.is_dir()


@pytest.mark.long
def test_a_damaged_record_of_the_run_is_told(toys: Path) -> None:
    folder = toys / "adapters" / ".a.run"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"run\.json: is not JSON .*; start over with --overwrite"):
        run(toys, resume=True)


@pytest.mark.slow
def test_killed_at_any_moment(toys: Path) -> None:
    whole = run(toys, "whole", training=Settings(steps=30, every=2, valid=0, batch=2, seed=0))
    words = [sys.executable, "-m", "promptrank", "train", "toys/like", "--adapter", "broken"]
    words += ["--steps", "30", "--every", "2", "--valid", "0", "--batch", "2"]
    words += ["--project", str(toys)]
    for setting in TURNS:
        words += ["--set", setting]
    folder = toys / "adapters" / ".broken.run"
    kills = 0
    for wanted in (2, 12):
        more = ["--resume"] if kills else []
        child = subprocess.Popen([*words, *more], stderr=subprocess.DEVNULL)
        while child.poll() is None:
            if any(checkpoints.step_of(p) >= wanted for p in folder.glob("checkpoint-*")):
                child.send_signal(signal.SIGKILL)
                child.wait()
                kills += 1
                break
            time.sleep(0.01)
    assert kills == 2
    subprocess.run([*words, "--resume"], check=True, stderr=subprocess.DEVNULL)
    assert apart(whole.path, toys / "adapters" / "broken") <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("patience", [0, 1])
def test_killed_between_the_last_step_and_the_adapter(toys: Path, patience: int) -> None:
    """Whether all steps were done or validation ended it, also where the project was moved."""
    # A rate so low that nothing gains: early stopping ends it.
    training = replace(QUICK, patience=patience, lr=1e-12 if patience else 0.01, valid=4)
    whole = run(toys, "whole", training=training)
    assert (whole.steps < QUICK.steps) == bool(patience)  # type: ignore[operator]
    with killed_before_saving():
        run(toys, "cut", training=training)
    moved = toys.with_name("moved")
    toys.rename(moved)
    again = run(moved, "cut", training=training, resume=True)
    assert (again.steps, again.best) == (whole.steps, whole.best)
    assert apart(again.path, moved / "adapters" / "whole") == 0


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_told(toys: Path) -> None:
    with killed_before_saving():
        run(toys, training=replace(QUICK, lr=1e-12, valid=4))  # the first is the best
    best = toys / "adapters" / ".a.run" / "checkpoint-2"
    shutil.rmtree(best)
    with pytest.raises(InputError, match="checkpoint-2, the best so far, is missing or damaged"):
        run(toys, training=replace(QUICK, lr=1e-12, valid=4), resume=True)


@pytest.mark.slow
def test_a_wrong_start_does_not_cost_an_unfinished_run(toys: Path) -> None:
    with killed_before_saving():
        run(toys, training=replace(QUICK, valid=0))
    with pytest.raises(ModelError, match="no adapter nothing"):
        run(toys, training=replace(QUICK, valid=0), init="nothing", overwrite=True)
    assert (toys / "adapters" / ".a.run" / "checkpoint-6").is_dir()
