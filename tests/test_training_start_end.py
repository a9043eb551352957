"""What a training run starts from, and how it ends: flags that go together, kills at the end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from promptrank.adapters.merge import merge
from promptrank.adapters.store import find_adapter
from promptrank.api.prepare import shape_of
from promptrank.api.tasks import open_task
from promptrank.api.train import Trained, train
from promptrank.cli.main import app
from promptrank.cli.train import _values
from promptrank.errors import InputError, ModelError
from promptrank.training import lora
from promptrank.training.settings import Settings
from toy_project import make_project

WEIGHTS = "adapter_model.safetensors"
QUICK = Settings(steps=6, every=2, batch=4, micro=2, lr=0.01, metric="ndcg@10", patience=0)
TURNS = ["history.as=turns", "ratings.group.last=3"]


@pytest.fixture
def toys(tmp_path: Path, tiny_llama_path: Path) -> Path:
    return make_project(tmp_path / "toys", tiny_llama_path)


def run(root: Path, name: str = "a", **more: Any) -> Trained:
    given: dict[str, Any] = {"training": QUICK, "settings": TURNS, "project": root} | more
    return train(given.pop("tasks", ["toys/like"]), name, **given)


def apart(one: Path, other: Path) -> float:
    a, b = load_file(one / WEIGHTS), load_file(other / WEIGHTS)
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


@pytest.mark.slow
def test_all_is_all_of_the_project(toys: Path) -> None:
    done = run(toys, tasks=[], every_task=True, training=replace(QUICK, steps=1, valid=0))
    files = (toys / "tasks").rglob("*.yaml")
    assert set(done.labels) == {f"toys/{path.stem}" for path in files}
    with pytest.raises(InputError, match="holds no task"):
        empty = toys / "empty"
        empty.mkdir()
        run(empty, tasks=[], every_task=True)


def test_a_single_step_is_a_step(toys: Path) -> None:
    done = run(toys, training=replace(QUICK, steps=1, valid=0))
    found = load_file(done.path / WEIGHTS)
    assert any(float(w.abs().max()) > 0 for name, w in found.items() if "lora_B" in name)


@pytest.mark.slow
@pytest.mark.parametrize("patience", [0, 1])
def test_killed_between_the_last_step_and_the_adapter(
    toys: Path, patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether all steps were done or validation ended it, also where the project was moved."""
    # A rate so low that nothing gains: early stopping ends it.
    training = replace(QUICK, patience=patience, lr=1e-12 if patience else 0.01, valid=4)
    whole = run(toys, "whole", training=training)
    assert (whole.steps < QUICK.steps) == bool(patience)  # type: ignore[operator]
    with monkeypatch.context() as patch:
        patch.setattr(lora, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(toys, "cut", training=training)
    moved = toys.with_name("moved")
    toys.rename(moved)
    again = run(moved, "cut", training=training, resume=True)
    assert (again.steps, again.best) == (whole.steps, whole.best)
    assert apart(again.path, moved / "adapters" / "whole") == 0


@pytest.mark.slow
def test_a_best_checkpoint_that_is_gone_is_told(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lora, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(toys, training=replace(QUICK, lr=1e-12, valid=4))  # the first is the best
    best = toys / "adapters" / ".a.run" / "checkpoint-2"
    shutil.rmtree(best)
    with pytest.raises(InputError, match="checkpoint-2, the best so far, is missing or damaged"):
        run(toys, training=replace(QUICK, lr=1e-12, valid=4), resume=True)


@pytest.mark.slow
def test_an_adapter_to_start_from_brings_rank_and_scale(toys: Path) -> None:
    first = run(toys, "first", training=replace(QUICK, rank=4, alpha=20.0, steps=1, valid=0))
    config = json.loads((first.path / "adapter_config.json").read_text())
    config["alpha_pattern"] = {"q_proj": 2.0}
    (first.path / "adapter_config.json").write_text(json.dumps(config))
    frozen = replace(QUICK, steps=1, lr=1e-12, valid=0)
    second = run(toys, "second", init="first", training=frozen)
    kept = json.loads((second.path / "adapter_config.json").read_text())
    assert (kept["r"], kept["lora_alpha"], kept["alpha_pattern"]) == (4, 20.0, {"q_proj": 2.0})
    card = json.loads((second.path / "card.json").read_text())["training"]
    assert (card["rank"], card["alpha"]) == (4, 20.0)
    for other in ({"rank": 16}, {"alpha": 3.0}, {"lora": {"lora_dropout": 0.1}}):
        with pytest.raises(InputError, match="first has rank 4, alpha 20 and options of its own"):
            run(toys, "third", init="first", training=replace(frozen, **other))


@pytest.mark.slow
def test_a_wrong_start_does_not_cost_an_unfinished_run(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lora, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(toys, training=replace(QUICK, valid=0))
    with pytest.raises(ModelError, match="no adapter nothing"):
        run(toys, training=replace(QUICK, valid=0), init="nothing", overwrite=True)
    assert (toys / "adapters" / ".a.run" / "checkpoint-6").is_dir()


def test_lists_alone_train_candidates(toys: Path) -> None:
    opened = open_task("toys/like", project=toys, settings=TURNS)
    alone = Settings(losses={"listwise": 1.0})
    assert shape_of(opened, alone) == "packed"
    assert shape_of(opened, Settings(losses={"listwise": 1.0, "answers": 0.5})) == "turns"
    with pytest.raises(InputError, match="--shape turns needs the loss answers"):
        shape_of(opened, replace(alone, shape="turns"))


def test_weights_of_questions_that_nobody_asks(toys: Path) -> None:
    with pytest.raises(InputError, match="no 'nope' in these tasks; questions: like"):
        run(toys, training=replace(QUICK, questions={"nope": 2.0}))
    with pytest.raises(InputError, match="weights: at least 0"):
        Settings(questions={"like": -1.0})


@pytest.mark.slow
def test_events_that_do_not_fit_are_told(toys: Path) -> None:
    said: list[str] = []
    task = toys / "tasks/toys/like.yaml"
    given = yaml.safe_load(task.read_text())
    given["budget"] = {"tokens": 80, "candidate": 40}
    task.write_text(yaml.safe_dump(given, sort_keys=False))
    run(toys, training=replace(QUICK, steps=1, valid=0), say=said.append)
    assert [s for s in said if "did not fit into budget.tokens=80; their labels train nothing" in s]


def test_values_on_the_command_line(toys: Path) -> None:
    words = ["train", "toys/like", "--adapter", "x", "--project", str(toys), "--trainer"]
    done = CliRunner().invoke(app, [*words, "weight_decay=[1"])
    assert done.exit_code == 2
    assert "no YAML value" in " ".join(done.output.split())
    assert _values("--trainer", ["a=1e-2", "b=[1]", "c=x"]) == {"a": 0.01, "b": [1], "c": "x"}


@pytest.mark.slow
def test_merging_refuses_layers_that_the_base_lacks(
    toys: Path, tiny_llama_path: Path, tmp_path: Path
) -> None:
    done = run(toys, training=replace(QUICK, steps=1, valid=0))
    weights = load_file(done.path / WEIGHTS)
    name = next(n for n in weights if "layers.0." in n)
    more = {**weights, name.replace("layers.0.", "layers.99."): torch.clone(weights[name])}
    save_file(more, done.path / WEIGHTS)
    with pytest.raises(ModelError, match=r"has no layer for its .*layers\.99\."):
        merge(tiny_llama_path, done.path, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.slow
def test_a_linked_adapter_goes_by_its_link(toys: Path) -> None:
    done = run(toys, training=replace(QUICK, steps=1, valid=0))
    elsewhere = toys / "elsewhere"
    done.path.rename(elsewhere)
    (toys / "adapters" / "linked").symlink_to(elsewhere)
    assert find_adapter("linked", toys).name == "linked"
