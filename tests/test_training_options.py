"""What a training run starts from, and options that go together."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from promptrank.adapters.merge import merge
from promptrank.adapters.shelf import find_adapter
from promptrank.cli.main import app
from promptrank.cli.train import _values
from promptrank.errors import InputError, ModelError
from promptrank.training.prepared import shape_of
from promptrank.training.settings import Settings
from promptrank.workspace.tasks import open_task
from support.runs import QUICK, TURNS, WEIGHTS, run


@pytest.mark.slow
def test_all_is_all_of_the_project(toys: Path) -> None:
    done = run(toys, tasks=[], every_task=True, training=replace(QUICK, steps=1, valid=0))
    files = (toys / "tasks").rglob("*.yaml")
    assert set(done.labels) == {f"toys/{path.stem}" for path in files}
    with pytest.raises(InputError, match="holds no task"):
        empty = toys / "empty"
        empty.mkdir()
        run(empty, tasks=[], every_task=True)


@pytest.mark.long
def test_a_single_step_is_a_step(toys: Path) -> None:
    done = run(toys, training=replace(QUICK, steps=1, valid=0))
    weights = load_file(done.path / WEIGHTS)
    assert any(float(w.abs().max()) > 0 for name, w in weights.items() if "lora_B" in name)


@pytest.mark.slow
def test_an_adapter_to_start_from_brings_rank_and_scale(toys: Path) -> None:
    first = run(toys, "first", training=replace(QUICK, rank=4, alpha=20.0, steps=1, valid=0))
    config = json.loads((first.path / "adapter_config.json").read_text())
    config["alpha_pattern"] = {"q_proj": 2.0}
    (first.path / "adapter_config.json").write_text(json.dumps(config))
    card_path = first.path / "card.json"
    written = json.loads(card_path.read_text())
    # Without the seal and the digests that the change would break, as older cards are.
    kept_keys = written.keys() - {"files", "sha256"}
    card_path.write_text(json.dumps({key: written[key] for key in kept_keys}))
    frozen = replace(QUICK, steps=1, lr=1e-12, valid=0)
    second = run(toys, "second", init="first", training=frozen)
    kept = json.loads((second.path / "adapter_config.json").read_text())
    assert (kept["r"], kept["lora_alpha"], kept["alpha_pattern"]) == (4, 20.0, {"q_proj": 2.0})
    card = json.loads((second.path / "card.json").read_text())["training"]
    assert (card["rank"], card["alpha"]) == (4, 20.0)
    for other in ({"rank": 16}, {"alpha": 3.0}, {"lora": {"lora_dropout": 0.1}}):
        with pytest.raises(InputError, match="first has rank 4, alpha 20 and options of its own"):
            run(toys, "third", init="first", training=replace(frozen, **other))


def test_what_is_no_lora_is_no_start(toys: Path) -> None:
    folder = toys / "adapters" / "other"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"peft_type": "IA3"}')
    save_file({"x": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(ModelError, match="no LoRA adapter, its config lacks r or lora_alpha"):
        run(toys, init="other")


def test_lists_alone_train_candidates(toys: Path) -> None:
    opened = open_task("toys/like", project=toys, settings=TURNS)
    alone = Settings(losses={"listwise": 1.0})
    name, task = opened.name, opened.task
    assert shape_of(name, task, alone) == "packed"
    assert shape_of(name, task, Settings(losses={"listwise": 1.0, "answers": 0.5})) == "turns"
    with pytest.raises(InputError, match="--shape turns needs the loss answers"):
        shape_of(name, task, replace(alone, shape="turns"))


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


def test_a_metric_is_named_without_the_sampling_of_the_task() -> None:
    with pytest.raises(InputError, match=r"metric: write ndcg@10; the task says how"):
        replace(QUICK, metric="ndcg@10~u99")
    with pytest.raises(InputError, match="did you mean 'brier'"):
        replace(QUICK, metric="brior")
