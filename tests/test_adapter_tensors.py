"""Every tensor of an adapter is accounted for, and the base model is the same after any of them."""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from promptrank.engine.adapter_tensors import read_adapter_tensors
from promptrank.engine.contract import Branch, Failure, Slot, Tree
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.packed import open_packed
from promptrank.engine.packed_engine import PackedEngine
from promptrank.engine.vllm_engine.adapter_files import read_adapter
from promptrank.engine.vllm_engine.open import open_vllm
from promptrank.errors import ModelError
from promptrank.training import adapter_model
from promptrank.training.settings import Settings
from promptrank.workspace.merging import merge_adapter
from support.engines import adapter, llama, saved
from support.vllm import skip_without_vllm


def decoder() -> PreTrainedModel:
    """Tiny, with heads as narrow as vLLM takes them on a CPU."""
    return llama(head_dim=32)


Tensors = dict[str, torch.Tensor]
P = "base_model.model."
WEIGHTS = "adapter_model.safetensors"
TREE = Tree("r", (3, 4, 5, 6), tuple(Branch((k, 8), (Slot((9,), ((1,), (2,))),)) for k in (10, 11)))
FIRST = f"{P}model.layers.0.mlp.down_proj.lora_A.weight"


def with_layer(weights: Tensors, **change: torch.Tensor) -> Tensors:
    return weights | {f"{P}{name.replace('__', '.')}": value for name, value in change.items()}


# What is done to the 42 tensors (3 layers of 7 modules, A and B) of a good file, and what is said.
HARMS: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "no prefix": (
        lambda w: {k.removeprefix(P): v for k, v in w.items()},
        "42 of its 42 tensors do not reach the model: the first is named "
        r"model\.layers\.0\.\S+, where peft puts base_model\.model\. before",
    ),
    "only the model's prefix": (
        lambda w: {k.replace(P, "model.", 1): v for k, v in w.items()},
        r"named model\.model\.layers\.0\..*where peft puts base_model\.model\. before",
    ),
    "of DistributedDataParallel": (
        lambda w: {f"module.{k}": v for k, v in w.items()},
        r"named module\.base_model\.",
    ),
    "live names": (
        lambda w: {k.replace(".weight", ".default.weight"): v for k, v in w.items()},
        r"lora_A\.default\.weight, which is the name in a live peft model; save it with",
    ),
    "live names in one layer": (
        lambda w: {
            k.replace(".weight", ".mine.weight") if "layers.1." in k else k: v for k, v in w.items()
        },
        r"14 of its 42 tensors do not reach .*lora_A\.mine\.weight",
    ),
    "no LoRA tensor": (
        lambda w: {"note": torch.zeros(1)},
        r"holds no LoRA tensor \(note\), where its config asks for 42",
    ),
    "empty": (lambda w: {}, r"holds no LoRA tensor \(no tensor at all\)"),
    "no lora_B": (
        lambda w: {k: v for k, v in w.items() if "lora_A" in k},
        "21 of 42 tensors are missing.*lora_A without its lora_B changes nothing",
    ),
    "half of the layers": (
        lambda w: {k: v for k, v in w.items() if "layers.0." in k},
        r"28 of 42 tensors are missing, the first is .*layers\.1\..*it was trained on tiny",
    ),
    "one tensor less": (
        lambda w: {k: v for k, v in w.items() if k != FIRST},
        f"1 of 42 tensors are missing, the first is {re.escape(FIRST)}",
    ),
    "another rank": (
        lambda w: {k: v[:2] if "lora_A" in k else v[:, :2] for k, v in w.items()},
        r"has rank 2, and adapter_config\.json says 4 \(42 of 42 tensors differ\)",
    ),
    "another width": (
        lambda w: w | {FIRST: torch.ones(4, 47)},
        r"does not fit the model \(model\.layers\.0\.mlp\.down_proj is 48 wide, the adapter's 47;",
    ),
    "one dimension": (
        lambda w: w | {FIRST: torch.ones(4)},
        r"down_proj\.lora_A\.weight is \[4\], and \[4, 48\] is asked for",
    ),
    "a layer that is not there": (
        lambda w: with_layer(w, model__layers__9__mlp__up_proj__lora_A__weight=torch.ones(4, 32)),
        r"does not fit the model \(no layer model\.layers\.9\.mlp\.up_proj; 1 such tensors\)",
    ),
    "a head": (
        lambda w: with_layer(w, lm_head__weight=torch.zeros(97, 32)),
        r"more than its config asks for: base_model\.model\.lm_head\.weight; that would change the",
    ),
    "a base weight": (
        lambda w: with_layer(
            w, model__layers__0__mlp__up_proj__base_layer__weight=torch.zeros(48, 32)
        ),
        r"more than its config asks for: \S*base_layer\.weight;",
    ),
    "an embedding and a norm": (
        lambda w: with_layer(
            w, model__embed_tokens__weight=torch.zeros(97, 32), model__norm__weight=torch.zeros(32)
        ),
        r"more than its config asks for: \S*embed_tokens\.weight and 1 more;",
    ),
    "not a number": (
        lambda w: w | {FIRST: torch.full((4, 48), float("nan"))},
        f"{re.escape(FIRST)} holds values that are not numbers .*1 of 42",
    ),
    "infinite": (lambda w: {k: v / 0 for k, v in w.items()}, "42 of 42 tensors do"),
    "whole numbers": (
        lambda w: w | {FIRST: torch.ones(4, 48, dtype=torch.int32)},
        r"is of type int32 \(1 such\)",
    ),
}
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "pissa": ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
    "biases": ({"bias": "lora_only"}, "bias='lora_only'"),
    "whole layers": ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
    "replicated": ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
    "token embeddings": ({"trainable_token_indices": [1]}, "trainable_token_indices"),
    "of tomorrow": ({"a_field_of_tomorrow": 3}, "a_field_of_tomorrow=3"),
    "no such layers": ({"target_modules": ["c_attn"]}, "does not fit the model .*c_attn"),
    "fewer layers": ({"layers_to_transform": [0]}, "28 more|27 more"),
    "a rank of text": ({"r": "four"}, "r must be a whole number"),
    "a rank beyond all": ({"r": 10**9}, r"has rank 4, and adapter_config\.json says 1000000000"),
    "a rank of one layer": (
        {"rank_pattern": {"layers.1.mlp.up_proj": 2}},
        r"layers\.1\.mlp\.up_proj\.lora_A\.weight has rank 4, and adapter_config\.json says 2",
    ),
    "no alpha": ({"lora_alpha": float("nan")}, "lora_alpha must be a number"),
    "a bad pattern": ({"target_modules": "(("}, "does not fit the model|peft does not take it"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(decoder(), tmp_path_factory.mktemp("tensors") / "model")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = adapter(decoder(), tmp_path_factory.mktemp("tensors") / "good", 1)
    config = json.loads((folder / "adapter_config.json").read_text())
    changed = config | {"base_model_name_or_path": "tiny"}
    (folder / "adapter_config.json").write_text(json.dumps(changed))
    assert len(load_file(folder / WEIGHTS)) == 42
    return folder


@pytest.fixture(scope="module")
def bad(good: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Folders with what must be said of them."""
    root = tmp_path_factory.mktemp("bad")
    whole = load_file(good / WEIGHTS)
    config = json.loads((good / "adapter_config.json").read_text())
    found = {}
    for name, (harm, said) in HARMS.items():
        folder = Path(shutil.copytree(good, root / name.replace(" ", "_")))
        save_file({k: v.clone() for k, v in harm(dict(whole)).items()}, folder / WEIGHTS)
        found[name] = folder, said
    for name, (options, said) in OPTIONS.items():
        folder = Path(shutil.copytree(good, root / name.replace(" ", "_")))
        (folder / "adapter_config.json").write_text(json.dumps(config | options))
        found[name] = folder, said
    return found


def scores(engine: Any, folder: Path | str | None = None) -> list[float] | str:
    """Log-probs of the tree; what is said where it fails."""
    (score,) = engine.score([Tree(TREE.tree_id, TREE.prefix, TREE.branches, 0, _text(folder))])
    if isinstance(score, Failure):
        assert score.reason == "bad_adapter"
        return score.message
    return [number for branch in score for slot in branch for number in slot.logprobs]


def _text(folder: Path | str | None) -> str | None:
    return None if folder is None else str(folder)


def digest(engine: PackedEngine) -> str:
    """Over the base's tensors, by the names that they have without adapters."""
    held = engine._model().base.state_dict(keep_vars=True)
    found = hashlib.sha256()
    own = {k.replace(".base_layer", ""): v for k, v in held.items() if ".lora_" not in k}
    for name in sorted(own):
        found.update(name.encode() + own[name].detach().numpy().tobytes())
    return found.hexdigest()


@pytest.mark.long
@pytest.mark.parametrize("harm", [*HARMS, *OPTIONS])
def test_what_is_not_what_its_config_asks_for_is_refused(
    harm: str, bad: dict[str, tuple[Path, str]], model: Path
) -> None:
    folder, said = bad[harm]
    with pytest.raises(ModelError) as error:
        read_adapter_tensors(folder, model)
    message = str(error.value)
    assert re.search(said, message), message
    assert message.startswith(str(folder)) and "\n" not in message
    with pytest.raises(ModelError):  # vLLM says its own where an option is one of its own
        read_adapter(str(folder), model)


@pytest.mark.slow
@pytest.mark.parametrize("plain", [False, True])
def test_the_base_is_the_same_after_any_adapter(
    plain: bool, good: Path, bad: dict[str, tuple[Path, str]], model: Path
) -> None:
    engine = open_packed(model, plain=plain, token_budget=64)
    kept, base = digest(engine), scores(engine)
    tuned = None
    for name, folder in [(n, f) for n, (f, _) in bad.items()] + [("good", good)]:
        answer = scores(engine, folder)
        if name == "good":
            tuned = answer
            assert isinstance(tuned, list) and tuned != base
        else:
            assert isinstance(answer, str), name
        assert (digest(engine), scores(engine)) == (kept, base), name
    # Once an adapter is on the model, peft takes another way.
    for name, (folder, _) in bad.items():
        assert isinstance(scores(engine, folder), str), name
        assert (digest(engine), scores(engine)) == (kept, base), name
    assert scores(engine, good) == tuned


@pytest.mark.long
def test_what_breaks_off_while_it_is_put_on_leaves_no_trace(
    good: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_packed(model)
    kept, base = digest(engine), scores(engine)
    names = [name for name, _ in engine._model().base.named_modules()]

    def fail(*_: Any) -> None:
        raise RuntimeError("no memory")

    for second in (False, True):
        folder = good
        if second:
            engine.load(str(good))
            names = [name for name, _ in engine._model().base.named_modules()]
            folder = good.parent / "copy"
            shutil.copytree(good, folder)
        with monkeypatch.context() as patch:
            patch.setattr("promptrank.engine.loaded_adapters.set_peft_model_state_dict", fail)
            assert "no memory" in str(scores(engine, folder))
        assert [name for name, _ in engine._model().base.named_modules()] == names
        assert (digest(engine), scores(engine)) == (kept, base)


@pytest.mark.long
def test_a_tensor_that_peft_does_not_place_is_noticed(
    good: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "promptrank.engine.loaded_adapters.set_peft_model_state_dict", lambda *_: None
    )
    assert "did not reach the model" in str(scores(open_packed(model), good))


FITTING: dict[str, dict[str, Any]] = {
    "a list": {"target_modules": ["q_proj", "v_proj"]},
    "a pattern": {"target_modules": r".*\.layers\.[02]\.mlp\.(up|down)_proj"},
    "all linear": {"target_modules": "all-linear"},
    "some layers": {"target_modules": ["q_proj"], "layers_to_transform": [0, 2]},
    "left out": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": r".*layers\.1\..*"},
    "ranks of its own": {
        "target_modules": ["q_proj", "up_proj"],
        "rank_pattern": {"up_proj": 2, r"layers.0.self_attn.q_proj": 3},
        "alpha_pattern": {"up_proj": 9},
    },
    "rslora": {"target_modules": ["k_proj"], "use_rslora": True},
    "dora": {"target_modules": ["q_proj", "up_proj"], "use_dora": True},
    "biases": {"target_modules": ["q_proj"], "lora_bias": True},
    "the head": {"target_modules": ["q_proj", "lm_head"]},
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # peft's, of biases: they cannot be merged
@pytest.mark.parametrize("kind", FITTING)
def test_what_peft_saves_is_taken_and_scores_as_in_peft(
    kind: str, model: Path, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    options: dict[str, Any] = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
    wrapped = get_peft_model(decoder(), LoraConfig(**options | FITTING[kind]))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2 + ("magnitude" in name))
    wrapped.save_pretrained(str(tmp_path), save_embedding_layers=False)
    engine = open_packed(model)
    kept, base = digest(engine), scores(engine)
    found = scores(engine, tmp_path)
    assert isinstance(found, list), found
    theirs = PeftModel.from_pretrained(decoder(), tmp_path).eval()
    want = []
    for branch in TREE.branches:
        ids = torch.tensor([[*TREE.prefix, *branch.ids, *branch.slots[0].ids]])
        with torch.no_grad():
            logits = theirs(input_ids=ids).logits[0, -1].log_softmax(-1)
        want += [float(logits[1]), float(logits[2])]
    assert found == pytest.approx(want, abs=1e-4)
    assert (
        isinstance(base, list) and max(abs(a - b) for a, b in zip(found, base, strict=True)) > 0.01
    )
    assert (digest(engine), scores(engine)) == (kept, base)


@pytest.mark.long
@pytest.mark.parametrize("how", ["lora_B", "lora_alpha"])
def test_an_adapter_that_adds_nothing_is_the_base_and_that_is_told(
    how: str, good: Path, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "fresh"))
    if how == "lora_B":
        weights = load_file(folder / WEIGHTS)
        zeros = {k: v * 0 if "lora_B" in k else v for k, v in weights.items()}
        save_file(zeros, folder / WEIGHTS)
    else:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 0}))
    engine = open_packed(model)
    with caplog.at_level(logging.WARNING, "promptrank"):
        assert scores(engine, folder) == pytest.approx(scores(engine), abs=1e-6)
        assert scores(engine, folder) == scores(engine, folder)
    assert caplog.text.count("its updates are all zero") == 1
    with caplog.at_level(logging.WARNING, "promptrank"):
        scores(engine, good)
    assert caplog.text.count("its updates are all zero") == 1


@pytest.mark.long
def test_a_refused_folder_is_read_again_once_it_is_mended(
    good: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(good, tmp_path / "mended"))
    save_file({"note": torch.zeros(1)}, folder / WEIGHTS)
    reads: list[str] = []

    def read(path: str, base: Any) -> Any:
        reads.append(path)
        return read_adapter_tensors(path, base)

    monkeypatch.setattr("promptrank.engine.loaded_adapters.read_adapter_tensors", read)
    engine = open_packed(model)
    assert {str(scores(engine, folder)) for _ in range(3)} != {""}
    assert len(reads) == 1
    shutil.copy(good / WEIGHTS, folder / WEIGHTS)
    assert isinstance(scores(engine, folder), list)


@pytest.mark.parametrize("harm", ["no lora_B", "half of the layers", "a head", "live names"])
def test_merging_and_training_take_no_other(
    harm: str,
    bad: dict[str, tuple[Path, str]],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, said = bad[harm]
    monkeypatch.setattr("promptrank.assets.resolve_model", lambda name, say: Path(name))
    with pytest.raises(ModelError, match=said):
        adapter_model.with_adapter(decoder(), "tiny", Settings(), folder)
    with pytest.raises(ModelError, match=said):
        merge_adapter(
            str(folder), tmp_path / "out", model=str(model), project=tmp_path, say=lambda _: None
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_the_model_may_be_given_in_memory_or_as_a_folder(good: Path, model: Path) -> None:
    base = decoder()
    one = read_adapter_tensors(good, model)
    two = read_adapter_tensors(good, base.config)
    assert one.tensors.keys() == two.tensors.keys() and not one.adds_nothing
    # A model whose layers are wrapped already is asked by its config, so it makes no difference.
    held = Adapters(base)
    held.load(str(good))
    assert read_adapter_tensors(good, held.base.config).tensors.keys() == one.tensors.keys()


@pytest.fixture(scope="module")
def served(model: Path) -> Iterator[Any]:
    skip_without_vllm()
    engine = open_vllm(model, max_tokens=64, token_budget=512, cache_bytes=64 << 20, threads=1)
    yield engine
    engine.close()


@pytest.mark.slow
@pytest.mark.xdist_group("vllm")
def test_the_base_is_the_same_in_vllm(
    served: Any, good: Path, bad: dict[str, tuple[Path, str]]
) -> None:
    base = scores(served)
    tuned = scores(served, good)
    assert isinstance(base, list) and isinstance(tuned, list)
    assert tuned != pytest.approx(base, abs=1e-2)
    for name, (folder, _) in bad.items():
        assert isinstance(scores(served, folder), str), name
        assert scores(served) == pytest.approx(base, abs=1e-5), name
    assert scores(served, good) == pytest.approx(tuned, abs=1e-5)
