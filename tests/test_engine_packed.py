"""What is the packed engine's own: fall-backs, guards, folders, and the layers it makes leaner."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from promptrank.engine import attention, forward, probe, weighing
from promptrank.engine.contract import Branch, EngineInfo, Failure, Slot, Tree
from promptrank.engine.layout import Forward
from promptrank.engine.lean_layers import fuse
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.model import load_model
from promptrank.engine.packed import PackedEngine, open_packed
from promptrank.engine.tree_checks import Limits
from promptrank.errors import ModelError
from support.engines import MODELS, SIZES, adapter, gemma3, llama, saved

SLOTS = (Slot((7,), ((5,), (6, 8), (6, 9))),)


def tree(prefix: int, *branches: int) -> Tree:
    made = tuple(Branch(tuple(range(10, 10 + n)), SLOTS) for n in branches)
    return Tree("t", tuple(n % 90 for n in range(3, 3 + prefix)), made)


def numbers(engine: PackedEngine, one: Tree) -> list[float]:
    (score,) = engine.score([one])
    assert not isinstance(score, Failure)
    found: list[float] = []
    for branch in score:
        assert not isinstance(branch, Failure), branch
        found += branch[0].logprobs
    return found


@pytest.fixture(scope="module")
def llama_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(llama(), tmp_path_factory.mktemp("llama"))


# ---- sliding windows


@pytest.mark.long
def test_a_path_as_long_as_the_window_is_still_full_attention(tmp_path: Path) -> None:
    full = ["full_attention"] * 3
    narrow = saved(gemma3(sliding_window=32, rope_parameters=ROPE), tmp_path / "narrow")
    wide = saved(gemma3(sliding_window=300, rope_parameters=ROPE), tmp_path / "wide")
    assert len(full) == SIZES["num_hidden_layers"]
    one, more = tree(22, 7), tree(40, 7)
    assert numbers(open_packed(narrow), one) == pytest.approx(
        numbers(open_packed(wide), one), abs=1e-4
    )
    apart = zip(numbers(open_packed(narrow), more), numbers(open_packed(wide), more), strict=True)
    assert max(abs(a - b) for a, b in apart) > 1e-3


ROPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}


@pytest.mark.long
def test_the_self_test_notices_a_window_nobody_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.packed.packed_window", lambda config: None)
    monkeypatch.setattr("promptrank.engine.packed_engine.layer_windows", lambda config: None)
    engine = open_packed(saved(gemma3(sliding_window=32), tmp_path))
    (note,) = engine.info.notes
    assert note.startswith("one prompt at a time: the self-test found that packed scores differ")
    plain = open_packed(tmp_path, plain=True)
    one = tree(50, 7, 3)
    assert numbers(engine, one) == pytest.approx(numbers(plain, one), abs=1e-6)


def test_the_self_test_notices_wrong_attention(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = weighing.side_by_side

    def off_by_one(array: Any, seen: slice, *rest: Any) -> Any:
        return real(array, slice(seen.start, max(seen.start, seen.stop - 1)), *rest)

    info = EngineInfo("packed", "m", "0", "float32", 512)
    model = Adapters(load_model(llama_path, "float32"))
    assert probe.misfit(model, info, Limits(512, 97), None) is None
    monkeypatch.setattr(attention, "side_by_side", off_by_one)
    reason = probe.misfit(model, info, Limits(512, 97), None)
    assert reason is not None
    assert reason.startswith("packed scores differ")


def test_differences_count_in_proportion_to_very_unlikely_tokens() -> None:
    assert probe._distance([-8.0002, -1.0], [-8.0, -1.0001]) == pytest.approx(2e-4, rel=1e-6)
    assert probe._distance([-64.0004, -1.0], [-64.0, -1.0]) == pytest.approx(5e-5, rel=1e-6)


def test_capped_scores_are_not_dropped(tmp_path: Path) -> None:
    shape = {"attn_logit_softcapping": 1.0, "query_pre_attn_scalar": 8, "sliding_window": 64}
    torch.manual_seed(0)
    model = Gemma2ForCausalLM(Gemma2Config(**(SIZES | shape))).eval()
    engine = open_packed(saved(model, tmp_path))
    assert "caps its attention scores" in engine.info.notes[0]
    one = tree(20, 5)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        ids = [*one.prefix, *one.branches[0].ids, 7]
        want = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1], -1)[5]
    assert numbers(engine, one)[0] == pytest.approx(float(want), abs=1e-4)


# ---- what cannot be scored


def test_not_a_number_fails_the_tree_and_the_run_goes_on(tmp_path: Path) -> None:
    model = llama()
    with torch.no_grad():
        dict(model.named_parameters())["model.embed_tokens.weight"][50] = float("nan")
    engine = open_packed(saved(model, tmp_path), token_budget=64)
    bad = Tree("bad", (1, 2, 3), (Branch((4,), SLOTS), Branch((50,), SLOTS)))
    good = tree(10, 4)
    first, second, third = engine.score([good, bad, good])
    assert first == third
    assert not isinstance(first, Failure)
    assert isinstance(second, tuple)
    assert not isinstance(second[0], Failure)
    assert isinstance(second[1], Failure)
    assert second[1].reason == "not_a_number"


@pytest.mark.long
def test_a_wrong_adapter_fails_its_trees_only(llama_path: Path, tmp_path: Path) -> None:
    wide = adapter(llama(hidden_size=64), tmp_path / "wide", 0)
    engine = open_packed(llama_path)
    one = tree(10, 4)
    good, bad, gone, again = engine.score(
        [one, replace(one, adapter=str(wide)), replace(one, adapter=str(tmp_path / "no")), one]
    )
    assert good == again
    assert isinstance(bad, Failure)
    assert isinstance(gone, Failure)
    assert bad.reason == gone.reason == "bad_adapter"
    assert "does not fit the model" in bad.message
    assert "no such adapter folder" in gone.message
    with pytest.raises(ModelError, match="does not fit the model"):
        open_packed(llama_path, adapters=[wide])


@pytest.mark.long
def test_only_lora_in_safetensors(llama_path: Path, tmp_path: Path) -> None:
    folder = adapter(llama(), tmp_path, 0)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(ModelError, match="only LORA"):
        open_packed(llama_path, adapters=[folder])
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        open_packed(llama_path, adapters=[folder])


def _no_config(path: Path) -> None:
    (path / "config.json").unlink()


def _pickled(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def _cut_short(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])


def _other_shape(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))


def _unknown_kind(path: Path) -> None:
    (path / "config.json").write_text('{"model_type": "no_such_model"}')


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_config, "no config.json"),
        (_pickled, "no safetensors"),
        (_cut_short, "cannot be loaded"),
        (_other_shape, "weights are missing"),
        (_unknown_kind, "cannot be loaded"),
    ],
)
def test_folders_that_are_no_model(
    tmp_path: Path, harm: Callable[[Path], None], message: str
) -> None:
    path = saved(llama(), tmp_path)
    harm(path)
    with pytest.raises(ModelError, match=message):
        open_packed(path)


def test_one_prompt_at_a_time_is_an_engine_of_its_own(llama_path: Path) -> None:
    assert open_packed(llama_path).info.name == "packed"
    info = open_packed(llama_path, plain=True).info
    assert (info.name, info.notes) == ("plain", ())


def test_no_folder_and_a_closed_engine(llama_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        open_packed(tmp_path / "nothing")
    with pytest.raises(ModelError, match="dtype 'int3'"):
        open_packed(llama_path, dtype="int3")
    engine = open_packed(llama_path)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        list(engine.score([tree(5, 2)]))


@pytest.mark.long
def test_the_digest_is_of_the_weights(tmp_path: Path) -> None:
    one = open_packed(saved(llama(), tmp_path / "one")).info.digest
    same = open_packed(saved(llama(), tmp_path / "same")).info.digest
    other = llama()
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1
    assert one == same
    assert one != open_packed(saved(other, tmp_path / "other")).info.digest


def test_notes_are_logged(
    llama_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.packed.misfit", lambda *test: "it is Monday")
    with caplog.at_level(logging.WARNING, "promptrank"):
        open_packed(llama_path, name="small")
    assert "small: one prompt at a time: the self-test found that it is Monday" in caplog.text


# ---- cost


def test_shared_tokens_are_computed_once(llama_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    real = forward.run

    def counted(model: Any, rows: Forward) -> torch.Tensor:
        counts.append(rows.ids.shape[1])
        return real(model, rows)

    engine = open_packed(llama_path, token_budget=100)
    monkeypatch.setattr("promptrank.engine.packed_engine.run", counted)
    trees = [replace(tree(40, 5, 5), shared=30) for _ in range(6)]
    assert len(list(engine.score(trees))) == 6
    # 30 shared, then 10 of the prefix, 5 that both branches begin with, and for each of the two
    # its slot's token and an answer's first.
    assert sum(counts) == 30 + 6 * (10 + 5 + 2 * 2)
    assert max(counts) <= 100


@pytest.mark.long
def test_an_instruction_is_kept_for_trees_that_come_one_by_one(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    real = forward.run

    def counted(model: Any, rows: Forward) -> torch.Tensor:
        counts.append(rows.ids.shape[1])
        return real(model, rows)

    engine, plain = open_packed(llama_path), open_packed(llama_path, plain=True)
    wanted = numbers(plain, tree(40, 5, 5))
    monkeypatch.setattr("promptrank.engine.packed_engine.run", counted)
    shared = replace(tree(40, 5, 5), shared=30)
    own = 10 + 5 + 2 * 2
    # The second one tells that there are more, and pays for keeping it; two forwards, so.
    for tokens in (30 + own, 30 + own, own, own):
        counts.clear()
        assert numbers(engine, shared) == pytest.approx(wanted, abs=1e-4)
        assert sum(counts) == tokens
    engine.forget()
    counts.clear()
    assert numbers(engine, shared) == pytest.approx(wanted, abs=1e-4)
    assert counts == [30 + own], "nothing is known of it any more"


@pytest.mark.long
@pytest.mark.parametrize("budget", [30, 1000])
def test_a_common_beginning_of_branches_changes_no_score(llama_path: Path, budget: int) -> None:
    head = (7, 8, 9)
    tails = [(), (11,), (11, 12, 13), tuple(range(20, 50)) * 10]
    slots = (Slot((), SLOTS[0].paths), *SLOTS)
    branches = tuple(Branch(head + tail, slots) for tail in tails)
    trees = [Tree("with", tuple(range(40)), branches), Tree("without", (), branches)]
    engine, plain = (
        open_packed(llama_path, token_budget=budget),
        open_packed(llama_path, plain=True),
    )
    for one in trees:
        assert numbers(engine, one) == pytest.approx(numbers(plain, one), abs=1e-4)


@pytest.mark.long
def test_a_forward_never_exceeds_the_budget(
    llama_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    real = forward.run

    def counted(model: Any, rows: Forward) -> torch.Tensor:
        counts.append(rows.ids.shape[1])
        return real(model, rows)

    engine, plain = open_packed(llama_path, token_budget=64), open_packed(llama_path, plain=True)
    long = Tree("t", tuple(range(3, 90)) * 2, (Branch(tuple(range(90)) * 3, SLOTS * 2),))
    one = tree(150, *[20] * 12)
    want = [numbers(plain, one), numbers(plain, long)]
    monkeypatch.setattr("promptrank.engine.packed_engine.run", counted)
    assert numbers(engine, one) == pytest.approx(want[0], abs=1e-4)
    assert numbers(engine, long) == pytest.approx(want[1], abs=1e-4)
    assert max(counts) <= 64


# ---- leaner layers


@pytest.mark.parametrize("name", MODELS)
def test_leaner_layers_give_the_same_logits(name: str) -> None:
    model = MODELS[name]()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        want = model(ids).logits
        replaced = fuse(model)
        got = model(ids).logits
    # Per layer: itself (not gemma's), attention, mlp, norms (of heads too); one norm at the end.
    assert replaced == {"llama": 3 * 5 + 1, "qwen3": 3 * 7 + 1, "gemma3": 3 * 8 + 1}[name]
    assert torch.allclose(got, want, atol=2e-4)


def test_layers_that_only_look_alike_are_left_alone() -> None:
    model = llama()
    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = lambda x: x * 2
    assert fuse(model) == 3 * 3
