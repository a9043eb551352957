"""Cards, the difference between then and now, and the digest of a base."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import LoraConfig
from safetensors.numpy import save_file

from promptrank.adapters.card import Base, prompting, read_card, write_card
from promptrank.adapters.changes import changes
from promptrank.adapters.lora_options import TARGETS, check_options
from promptrank.adapters.weights import weights_digest
from promptrank.engine.adapter_options import unserved
from promptrank.errors import ModelError
from promptrank.workspace.adapters import unseen_task
from support.adapters import SOURCES, TASK, a_card, a_task, a_task_card

QUESTIONS: Any = TASK["questions"]


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    card = replace(a_card(), init=Base("shared", "c" * 64))
    assert write_card(tmp_path, card) == tmp_path / "card.json"
    assert read_card(tmp_path) == card
    assert [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_a_metric_that_is_not_a_number_is_null(tmp_path: Path) -> None:
    task = replace(a_task_card(), after={"auc": math.nan})
    write_card(tmp_path, a_card(t=task))
    assert json.loads((tmp_path / "card.json").read_text())["tasks"]["t"]["after"] == {"auc": None}
    read = read_card(tmp_path)
    assert read is not None
    assert read.tasks["t"].after == {"auc": None}


def test_split_and_fingerprints_are_recorded() -> None:
    card = a_task_card(a_task(split={"by": "subject", "test": 0.2, "valid": 0.1}))
    assert card.split["by"] == "subject"
    assert card.split["requests"] == {"train": 100, "valid": 10}
    assert set(card.fingerprints) == {"template", "answers", "data"}
    assert card.fingerprints["data"] == "d" * 64


def test_a_task_that_an_adapter_never_trained_on_is_unseen(tmp_path: Path) -> None:
    write_card(tmp_path, a_card())
    note = unseen_task("toys/want", str(tmp_path))
    assert note is not None
    assert "never trained on toys/want (T2, an unseen task), but on toys/like" in note
    assert unseen_task("toys/like", str(tmp_path)) is None
    assert unseen_task("toys/want", str(tmp_path / "gone")) is None
    assert unseen_task("toys/want", None) is None


def test_no_card_is_none(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": "tiny"}, "base: "),
        ({"basis": 1}, "basis: "),
        ({"created": None}, "created: "),
        ({"format": 2}, "format: "),
        ({"versions": {"python": 3}}, "versions.python: "),
    ],
)
def test_a_card_is_read_strictly(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_card(tmp_path, a_card())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=message) as raised:
        read_card(tmp_path)
    assert str(path) in str(raised.value)


def test_every_problem_of_a_card_is_named(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(ModelError, match=r"base: .*tasks: .*versions: .*command: .*created: "):
        read_card(tmp_path)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        read_card(tmp_path)


def test_nothing_changed() -> None:
    assert changes(prompting(a_task(), SOURCES), prompting(a_task(), SOURCES)) == ()


def test_what_no_model_reads_is_no_change() -> None:
    """Split, metrics, labels, kind of score and budget word no prompt."""
    answers = {**QUESTIONS["like"]["answers"]}
    answers["like"] = {**answers["like"], "labels": ["like", "love"]}
    other = a_task(
        split=None,
        metrics=["auc"],
        budget={"tokens": 100},
        questions={"like": {**QUESTIONS["like"], "answers": answers, "score": "log_odds"}},
    )
    assert changes(prompting(a_task(), SOURCES), prompting(other, SOURCES)) == ()


def test_a_changed_template_is_shown_line_by_line() -> None:
    now = {**SOURCES, "_base.j2": "one\n2\n"}
    (change,) = changes(prompting(a_task(), SOURCES), prompting(a_task(), now))
    assert change.part == "template"
    assert change.difference == (
        "--- _base.j2 (trained on)",
        "+++ _base.j2 (now)",
        "@@ -1,2 +1,2 @@",
        " one",
        "-two",
        "+2",
    )


def test_a_file_that_came_or_went_is_a_change() -> None:
    now = {"toys/like.j2": SOURCES["toys/like.j2"], "new.j2": "x"}
    (change,) = changes(prompting(a_task(), SOURCES), prompting(a_task(), now))
    assert {"-one", "-two", "+x"} <= set(change.difference)


def test_constants_and_chat_belong_to_the_template() -> None:
    now = a_task(vars={"tone": "kind"}, chat=True)
    (change,) = changes(prompting(a_task(), SOURCES), prompting(now, SOURCES))
    assert change.part == "template"
    assert {"+chat: true", '+vars.tone: "kind"'} <= set(change.difference)


def test_changed_answers_are_shown_by_name() -> None:
    answers = {"like": {"say": ["Yes", "yes"], "value": 1}, "not": {"say": ["No"], "value": 0}}
    now = a_task(questions={"like": {"ask": "Liked?", "answers": answers}})
    (change,) = changes(prompting(a_task(), SOURCES), prompting(now, SOURCES))
    assert change.part == "answers"
    assert '-like.answers.like.say: ["Yes"]' in change.difference
    assert '+like.answers.like.say: ["Yes", "yes"]' in change.difference


def weights(folder: Path, *files: dict[str, Any], **metadata: str) -> Path:
    folder.mkdir()
    for number, tensors in enumerate(files):
        save_file(tensors, folder / f"model-{number}.safetensors", metadata or None)
    return folder


ONE, TWO = np.arange(4, dtype=np.float32), np.ones((2, 2), np.float16)


def test_a_base_is_its_weights_and_not_its_files(tmp_path: Path) -> None:
    whole = weights_digest(weights(tmp_path / "a", {"one": ONE, "two": TWO}))
    shards = weights(tmp_path / "b", {"two": TWO}, {"one": ONE}, format="pt")
    assert weights_digest(shards) == whole


@pytest.mark.parametrize(
    "other",
    [
        {"one": ONE + 1, "two": TWO},
        {"one": ONE, "three": TWO},
        {"one": ONE.reshape(2, 2), "two": TWO},
        {"one": ONE},
        {"one": ONE.view(np.int32), "two": TWO},
    ],
)
def test_other_weights_are_another_base(tmp_path: Path, other: dict[str, Any]) -> None:
    whole = weights_digest(weights(tmp_path / "a", {"one": ONE, "two": TWO}))
    assert weights_digest(weights(tmp_path / "b", other)) != whole


def test_a_broken_base_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no safetensors file"):
        weights_digest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match="not a safetensors file"):
        weights_digest(tmp_path)


def lora(**options: Any) -> dict[str, Any]:
    config: dict[str, Any] = LoraConfig(
        **{"target_modules": list(TARGETS), "r": 8, **options}
    ).to_dict()
    return config


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True, "lora_dropout": 0.1, "task_type": "CAUSAL_LM"},
        {"init_lora_weights": "gaussian", "target_modules": ["q_proj", "v_proj"]},
        {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 8}},
        {"layers_to_transform": [0, 1]},
    ],
)
def test_options_that_every_engine_serves(options: dict[str, Any]) -> None:
    assert check_options(lora(**options)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"use_dora": True}, "use_dora=True cannot be served by vLLM: it knows no DoRA"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "LoRA biases"),
        ({"modules_to_save": ["lm_head"]}, "no whole layers"),
        ({"init_lora_weights": "pissa"}, "base model's own weights"),
        ({"target_modules": ["q_proj", "lm_head"]}, "not lm_head"),
        ({"target_modules": "all-linear"}, "list the layers"),
        ({"r": 1024}, "ranks are 1 to 512"),
        ({"rank_pattern": {"q_proj": 1024}}, "ranks are 1 to 512"),
        ({"trainable_token_indices": [1]}, "embeddings"),
        ({"layer_replication": [(0, 1)]}, "replicate"),
    ],
)
def test_options_that_vllm_cannot_serve(options: dict[str, Any], message: str) -> None:
    (problem,) = check_options(lora(**options))
    assert message in problem


def test_an_option_of_a_later_peft_is_refused_only_when_it_is_on() -> None:
    assert check_options({**lora(), "use_novelty": False}) == []
    (problem,) = check_options({**lora(), "use_novelty": {"a": 1}})
    assert "silently ignore" in problem


_ON: dict[str, Any] = {
    "alora_invocation_tokens": [1],
    "alpha_pattern": {"q_proj": 8},
    "bias": "all",
    "fan_in_fan_out": True,
    "init_lora_weights": "pissa",
    "layer_replication": [[0, 1]],
    "layers_pattern": "layers",
    "layers_to_transform": [0],
    "lora_bias": True,
    "lora_dropout": 0.1,
    "modules_to_save": ["lm_head"],
    "rank_pattern": {"q_proj": 4},
    "target_parameters": ["a.weight"],
    "trainable_token_indices": [1],
    "use_bdlora": {"a": 1},
    "use_dora": True,
    "use_novelty": True,
    "use_qalora": True,
    "use_rslora": True,
}


@pytest.mark.parametrize("option", sorted({*lora(), *_ON} - {"target_modules", "r"}))
def test_what_may_be_trained_is_what_the_engine_takes(option: str) -> None:
    base = lora()
    assert check_options(base) == unserved(base) == []
    changed = {**base, option: _ON.get(option, "on")}
    assert bool(check_options(changed)) == bool(unserved(changed))
