"""Several processes, lower precision and trackers: what accelerate and the Trainer bring along."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from promptrank.adapters.card import read_card
from promptrank.api.train import train
from promptrank.engine import attention
from promptrank.engine.contract import Branch, Slot
from promptrank.errors import InputError
from promptrank.training import checkpoints, objective, processes
from promptrank.training.collate import Collator
from promptrank.training.examples import Example, PathTarget, blank_of
from promptrank.training.run_folder import command
from promptrank.training.sampler import Draws
from promptrank.training.settings import Settings
from support.engines import llama
from support.processes import kill
from support.toys import make_project

TURNS = ("history.as=turns", "ratings.group.last=3")
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def toys(tmp_path: Path, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path / "toys", tiny_llama_path)


def test_who_is_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert processes.count() == 1 and processes.is_first()
    monkeypatch.setenv("RANK", "1")  # a left-over: there is one process
    assert processes.is_first()
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert processes.count() == 2 and not processes.is_first()
    monkeypatch.setenv("RANK", "0")
    assert processes.is_first()
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "3")
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "2")
    assert processes.count() == 3 and not processes.is_first()


@pytest.mark.parametrize(
    ("batch", "micro", "count", "expected"),
    [(8, 2, 1, (2, 4)), (8, 2, 2, (2, 2)), (8, 2, 4, (2, 1)), (8, 2, 8, (1, 1)), (9, 2, 3, (1, 3))],
)
def test_a_step_is_shared(batch: int, micro: int, count: int, expected: tuple[int, int]) -> None:
    assert Settings(batch=batch, micro=micro).passes(count) == expected


def test_a_step_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match=r"8 requests .* shared by 3 processes; take --batch 9"):
        Settings(batch=8).passes(3)


def test_an_epoch_is_filled_up_with_blanks() -> None:
    alone, shared = Draws([5, 2], 1.0, 3), Draws([5, 2], 1.0, 3, multiple=4)
    assert (len(alone), len(shared)) == (7, 8)
    assert list(shared) == [*alone, 7]  # the index behind the seven examples
    assert list(Draws([8], 1.0, 3, multiple=4)) == list(Draws([8], 1.0, 3))


def test_a_blank_example_adds_nothing() -> None:
    attention.register()
    model: Any = llama()
    model.set_attn_implementation(attention.NAME)
    target = PathTarget(((0,), (1,)), (1.0, 0.0), (True, False), 1.0, 1.0)
    slot = Slot((7,), ((5,), (6,)))
    branches = tuple((Branch((10 + n, 20), (slot,)), (replace(target, value=n),)) for n in (0, 1))
    example = Example("r", 0, (3, 4, 7, 5, 8), branches)
    weights = {"answers": 1.0, "listwise": 1.0, "ranknet": 1.0}

    def losses(batch: Any, counts: objective.LossCounts) -> tuple[float, float]:
        with objective.prompt_loss(model, batch, counts, wanted=True) as prompts:
            logprobs = objective.answer_logprobs(model, batch)
        total = objective.answers_total(logprobs, batch, weights, counts)
        return total.item(), prompts[0].item()

    collator = Collator()
    bare, filled = collator.batch([example]), collator.batch([example, blank_of(example)])
    blank = collator.batch([blank_of(example)])
    counts = objective.counts_of(bare)
    assert objective.counts_of(filled) == counts
    assert objective.counts_of(blank) == objective.LossCounts(0, 0, 0, 0)
    assert losses(filled, counts) == pytest.approx(losses(bare, counts), abs=1e-5)
    assert losses(blank, counts) == (0, 0)
    assert (filled.labels, blank.labels) == (2, 0)


@pytest.mark.slow
def test_bfloat16_learns(toys: Path) -> None:
    quick = Settings(steps=6, every=6, batch=4, lr=0.01, metric="ndcg@10", trainer={"bf16": True})
    done = train(["toys/like"], "a", project=toys, settings=TURNS, training=quick)
    before, after = done.before["toys/like"], done.after["toys/like"]
    assert after["loss"] < 0.8 * before["loss"]
    kinds = {weight.dtype for weight in load_file(done.path / WEIGHTS).values()}
    assert kinds == {torch.float32}


@pytest.mark.long
def test_tensorboard_files_outlive_the_run(toys: Path) -> None:
    pytest.importorskip("tensorboard")
    quick = Settings(steps=2, every=1, batch=2, valid=0, trainer={"report_to": "tensorboard"})
    train(["toys/like"], "a", project=toys, settings=TURNS, training=quick)
    (events,) = toys.glob("runs/a/*/events.out.tfevents.*")
    assert b"train/loss" in events.read_bytes()


@pytest.mark.parametrize(
    ("tracker", "message"),
    [
        ("wandb", "report_to: wandb is not installed; `pip install wandb`"),
        (["tensorbord"], "report_to: tensorbord is not supported, only .*tensorboard"),
        (None, "trainer: no 'bf17'; did you mean bf16"),
    ],
)
def test_a_tracker_or_field_that_is_not_there_is_refused_at_once(
    toys: Path, monkeypatch: pytest.MonkeyPatch, tracker: Any, message: str
) -> None:
    from transformers.integrations import integration_utils

    monkeypatch.setattr(integration_utils, "is_wandb_available", lambda: False)
    said: list[str] = []
    with pytest.raises(InputError, match=message):
        train(
            ["toys/like"],
            "a",
            project=toys,
            training=Settings(trainer={"report_to": tracker} if tracker else {"bf17": True}),
            say=said.append,
        )
    assert not said and not (toys / "adapters").exists()


def test_the_command_on_a_card_makes_the_adapter_again() -> None:
    words = ["train", "t", "--adapter", "a"]
    ours = ("promptrank", *words)
    assert command(["/usr/bin/promptrank", *words, "--resume"]) == ours
    assert command(["/x/promptrank/__main__.py", "train", "--resume", *words[1:]]) == ours
    assert command(["make_adapters.py", "--fast"]) == ("python", "make_adapters.py", "--fast")


# -- two processes ---------------------------------------------------------------------------------

LAUNCH = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def launch(toys: Path, *words: str, settings: tuple[str, ...] = TURNS) -> subprocess.Popen[str]:
    """Two processes on the CPU."""
    more = [word for setting in settings for word in ("--set", setting)]
    line = [*LAUNCH, "-m", "promptrank", "train", "toys/like", "--project", str(toys)]
    alone = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(
        [*line, *more, *words],
        env={**os.environ, **alone},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_killed_and_resumed_end_where_one_does(toys: Path) -> None:
    # 22 examples: the last step of an epoch has two, and one process gets blanks.
    shared: dict[str, Any] = {"batch": 4, "micro": 2, "epochs": 2, "every": 2, "valid": 4}
    alone = Settings(**shared, lr=0.01, limit=98, metric="log_loss")
    whole = train(["toys/like"], "whole", project=toys, settings=TURNS, training=alone)
    words = "--adapter two --batch 4 --micro 2 --epochs 2 --every 2 --valid 4 --lr 0.01 --limit 98"
    words += " --metric log_loss"
    child = launch(toys, *words.split())
    folder = toys / "adapters" / ".two.run"
    while child.poll() is None:
        if (folder / "checkpoint-4" / checkpoints.MARK).is_file():
            for worker in psutil.Process(child.pid).children():
                kill(worker)
            break
        time.sleep(0.01)
    child.communicate()
    assert child.returncode != 0 and not (toys / "adapters" / "two").exists()
    again = launch(toys, *words.split(), "--resume")
    said = again.communicate()[1]
    assert again.returncode == 0, said
    assert [said.count(text) for text in ("examples: reused", "-> /", "resuming after")] == [1] * 3
    made = toys / "adapters" / "two"
    assert sorted(p.name for p in (toys / "adapters").iterdir()) == ["two", "whole"]
    expected, resumed = load_file(whole.path / WEIGHTS), load_file(made / WEIGHTS)
    assert expected.keys() == resumed.keys()
    assert max(float((expected[n] - resumed[n]).abs().max()) for n in expected) <= 1e-5
    card = read_card(made)
    assert card is not None and "--resume" not in card.command
    assert card.tasks["toys/like"].after == pytest.approx(whole.after["toys/like"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ("", ("ratings.label=\"'like'\"",), "every label of question like is 'like'"),
        ("--steps 3 --valid 0 --lr 1e30 --prompt-weight 0", TURNS, "the loss is nan"),
    ],
)
def test_an_error_of_two_processes_is_one_message(
    toys: Path, words: str, settings: tuple[str, ...], message: str
) -> None:
    child = launch(toys, "--adapter", "a", *words.split(), settings=settings)
    said = child.communicate(timeout=600)[1]
    assert child.returncode != 0
    assert said.count("error: ") == 1 and message in said, said
    assert "Traceback" not in said.partition("error: ")[0]
    assert not (toys / "adapters" / "a").exists()
