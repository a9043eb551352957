"""Layers with sliding windows, packed: who sees whom, the numbers, the gradients, the self-test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from promptrank.engine import attention, cutting, probe
from promptrank.engine.contract import Branch, EngineInfo, Failure, Slot, Tree
from promptrank.engine.cutting import ForwardBudget, KeptKeys, Part, cut, flatten, pack, tries
from promptrank.engine.forward import run
from promptrank.engine.layout import Band, lay_out
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.model import load_model, packed_window
from promptrank.engine.packed import PackedEngine, open_packed
from promptrank.engine.sliding import layer_windows
from promptrank.engine.tree_checks import Limits
from promptrank.errors import ModelError
from support.engines import SIZES, VOCAB, gemma3, llama, saved

SLOTS = (Slot((7,), ((5,), (6, 8), (6, 9, 3))), Slot((), ((1,), (2, 4))))
LIKE = torch.zeros(1)


def _drawn(kind: Any, config: Any) -> PreTrainedModel:
    torch.manual_seed(5)
    model: PreTrainedModel = kind(config).eval()
    return model


def mistral(window: int) -> PreTrainedModel:
    """All layers slide, and no attention module knows the window."""
    return _drawn(MistralForCausalLM, MistralConfig(**(SIZES | {"sliding_window": window})))


def qwen2(window: int) -> PreTrainedModel:
    """The first layer is full, the others slide."""
    more = {"sliding_window": window, "use_sliding_window": True, "max_window_layers": 1}
    return _drawn(Qwen2ForCausalLM, Qwen2Config(**(SIZES | more)))


KINDS: dict[str, Callable[[int], PreTrainedModel]] = {
    "mistral": mistral,
    "qwen2": qwen2,
    "gemma3": lambda window: gemma3(sliding_window=window),
}


# ---- who sees whom


def stem_and_branches(stem: int, *branches: int) -> Part:
    """A part whose slots have one answer of one token, so that blocks are their branch."""
    slot = Slot((), ((1,),))
    blocks = [
        flatten(n, tuple(range(length)), [(0, slot, tries(Branch((), (slot,)))[0])])
        for n, length in enumerate(branches)
    ]
    return Part(0, None, tuple(range(stem)), None, tuple(blocks))


def test_a_window_of_three_by_hand() -> None:
    (segment,) = lay_out([stem_and_branches(4, 3, 1)], LIKE, (None, 3)).segments
    assert segment.within(None) is segment.bands
    stem, side = segment.within(3)
    x = float("-inf")
    # The stem's four tokens: the last no longer sees the first.
    assert (stem.since, stem.seen, stem.edge) == (0, 0, None)
    assert stem.mask.tolist() == [[0, x, x, x], [0, 0, x, x], [0, 0, 0, x], [x, 0, 0, 0]]
    # A branch's tokens at positions 4, 5, 6 see the stem's from 2, from 3, and none; the other
    # branch's token, at 4, sees 2 and 3.
    assert (side.since, side.seen) == (2, 4)
    assert side.edge is not None
    assert side.edge.tolist() == [[0, 0], [x, 0], [x, x], [0, 0]]
    assert side.mask.tolist() == [[0, x, x, x], [0, 0, x, x], [0, 0, 0, x], [x, x, x, 0]]


def test_a_window_that_no_path_leaves_changes_no_band() -> None:
    # 4 + 3 tokens, and as many are seen.
    (segment,) = lay_out([stem_and_branches(4, 3, 1)], LIKE, (7, None)).segments
    assert segment.within(7) is segment.bands
    (segment,) = lay_out([stem_and_branches(4, 3, 1)], LIKE, (6, None)).segments
    stem, side = segment.within(6)
    assert stem is segment.bands[0]
    assert side is not segment.bands[1]


def test_keys_wholly_outside_are_left_out() -> None:
    (segment,) = lay_out([stem_and_branches(300, 5)], LIKE, (10,)).segments
    bands = segment.within(10)
    # Two of the stem, of 150 rows each, and the branch.
    seen = [(band.since, band.seen) for band in bands]
    assert seen == [(0, 0), (141, 150), (291, 300)]
    assert [band.edge.shape[1] for band in bands if band.edge is not None] == [9, 4]


def some_ids(most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.integers(0, most).flatmap(lambda n: st.just(tuple(range(n))))


BRANCHES = st.builds(
    lambda ids, first, slots: Branch((first, *ids), slots),
    some_ids(40),
    st.integers(0, 2),  # some branches begin alike
    st.sampled_from([SLOTS, SLOTS[:1], SLOTS[1:]]),
)
TREES = st.builds(
    lambda prefix, branches: Tree("t", prefix, tuple(branches)),
    some_ids(200),
    st.lists(BRANCHES, min_size=1, max_size=5),
)


def seen_by(band: Band, row: int, before: list[int], first: int) -> list[int]:
    """What a band's row sees: of the keys before, and of the rows of its forward."""
    keys = before[band.since : band.seen]
    edge = [] if band.edge is None else band.edge[row].tolist()
    hides = [*edge, *[0.0] * (len(keys) - len(edge)), *band.mask[row].tolist()]
    keys += range(first, first + band.rows)
    return [key for key, hidden in zip(keys, hides, strict=True) if not hidden]


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(
    tree=TREES,
    window=st.integers(1, 60),
    tokens=st.sampled_from([9, 40, 150, 2000]),
    kept=st.integers(0, 30),
    long=st.sampled_from([5, 256]),
)
def test_every_row_sees_the_end_of_its_own_path(
    tree: Tree, window: int, tokens: int, kept: int, long: int
) -> None:
    # All computed rows are numbered; a path is the numbers from the root to a row, by parents.
    paths: dict[int, list[int]] = {}  # by the keys that are kept
    budget = ForwardBudget(tokens, 50)
    count = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "_LONG_BRANCH", long)
        past = KeptKeys(kept) if 0 < kept < len(tree.prefix) else None
        parts = [Part(0, None, tree.prefix[:kept], past, ())] if past else []
        parts += cut(0, tree.prefix, enumerate(tree.branches), past, budget)
    for batch in pack(parts, budget):
        want: dict[int, list[int]] = {}
        for part in batch:
            path = list(paths[id(part.past)]) if part.past else []
            for _ in part.stem:
                path = [*path, count]
                want[count] = path
                count += 1
            if part.keep:
                paths[id(part.keep)] = path
            for block in part.blocks:
                base = count
                for parent in block.parents:
                    want[count] = [*(want[base + parent] if parent >= 0 else path), count]
                    count += 1
        forward = lay_out(batch, LIKE, (window, None))
        first = min(want, default=0)
        for part, segment in zip(batch, forward.segments, strict=True):
            before = list(paths[id(part.past)]) if part.past else []
            before += range(first + segment.start, first + segment.start + segment.stem)
            for limit in (window, None):
                for band in segment.within(limit):
                    for row in range(band.rows):
                        got = seen_by(band, row, before, first + band.start)
                        whole = want[first + band.start + row]
                        assert got == (whole[-limit:] if limit else whole)


# ---- the numbers


def trees(seed: int) -> list[Tree]:
    draw = torch.Generator().manual_seed(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(VOCAB, (count,), generator=draw).tolist())

    instruction = ids(40)
    made = []
    for number, lengths in enumerate([(30, 2, 0), (9, 60), (3,)]):
        branches = tuple(Branch(ids(n), SLOTS) for n in lengths)
        made.append(Tree(f"t{number}", instruction + ids(50 + 60 * number), branches, 40))
    return made


def numbers(engine: PackedEngine, asked: list[Tree]) -> list[float]:
    got: list[float] = []
    for score in engine.score(asked):
        assert not isinstance(score, Failure), score
        for branch in score:
            assert not isinstance(branch, Failure), branch
            got += [number for slot in branch for number in slot.logprobs]
    return got


def engine_over(model: PreTrainedModel, longest: int | None, budget: ForwardBudget) -> PackedEngine:
    info = EngineInfo("packed", "m", "0", "float32", 512)
    return PackedEngine(Adapters(model), info, Limits(512, VOCAB), budget, longest)


@pytest.mark.long
@pytest.mark.parametrize("window", [7, 16, 33])
@pytest.mark.parametrize("kind", KINDS)
def test_packed_scores_are_those_of_one_prompt_at_a_time(
    kind: str, window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In float64, where only a wrong mask is apart by more than the softmax in float32.
    model = load_model(saved(KINDS[kind](window), tmp_path), "float32").double()
    asked = trees(window)
    whole = ForwardBudget(4000, 1000)
    want = numbers(engine_over(model, 0, whole), asked)
    for budget, long in ((whole, 256), (ForwardBudget(32, 8), 256), (ForwardBudget(100, 30), 20)):
        monkeypatch.setattr(cutting, "_LONG_BRANCH", long)
        engine = engine_over(model, None, budget)
        assert numbers(engine, asked) == pytest.approx(want, abs=1e-5)
        # Once more, behind the instruction that was kept.
        assert numbers(engine, asked) == pytest.approx(want, abs=1e-5)
    engine.windows = ()
    apart = zip(numbers(engine, asked), want, strict=True)
    assert max(abs(a - b) for a, b in apart) > 1e-2


@pytest.mark.long
def test_branches_longer_than_a_block(tmp_path: Path) -> None:
    path = saved(KINDS["mistral"](33), tmp_path)
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(VOCAB, (700,), generator=draw).tolist()
    tree = Tree("t", tuple(ids[:100]), (Branch(tuple(ids[100:370]), SLOTS), Branch((4,), SLOTS)))
    engine, plain = open_packed(path), open_packed(path, plain=True)
    assert engine.info.notes == ()
    assert numbers(engine, [tree]) == pytest.approx(numbers(plain, [tree]), abs=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_one_prompt_at_a_time(kind: str) -> None:
    attention.register()
    model: Any = KINDS[kind](11).double()
    draw = torch.Generator().manual_seed(0)
    stem = tuple(torch.randint(VOCAB, (150,), generator=draw).tolist())
    branches = [Branch(stem[10:40], SLOTS), Branch(stem[80:83], SLOTS)]
    blocks = [
        flatten(n, branch.ids, list(zip(range(2), branch.slots, tries(branch), strict=True)))
        for n, branch in enumerate(branches)
    ]
    part = Part(0, None, stem, None, tuple(blocks))
    prompts = [
        (*stem, *branch.ids, *slot.ids, *node)
        for branch in branches
        for slot, trie in zip(branch.slots, tries(branch), strict=True)
        for node in trie.nodes
    ]
    above = torch.randn(len(prompts), VOCAB, dtype=torch.float64)

    def gradients(logits: torch.Tensor) -> list[torch.Tensor]:
        weights = [p for p in model.parameters() if p.requires_grad]
        return list(torch.autograd.grad((logits * above).sum(), weights))

    plain = [model(torch.tensor([prompt])).logits[0, -1] for prompt in prompts]
    want, want_gradients = torch.stack(plain), gradients(torch.stack(plain))
    model.set_attn_implementation(attention.NAME)
    model.reads_rows = False
    windows = layer_windows(model.config)
    assert windows
    forward = lay_out([part], torch.zeros(1).double(), windows)
    got = run(model, forward)[forward.reads[0]]
    # The softmax runs in float32.
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(gradients(got), want_gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


# ---- what the config says


def test_windows_by_layer() -> None:
    assert layer_windows(mistral(24).config) == (24, 24, 24)
    assert layer_windows(qwen2(9).config) == (None, 9, 9)
    assert layer_windows(gemma3(sliding_window=5).config) == (5, None, 5)
    assert layer_windows(llama().config) == (None, None, None)
    assert packed_window(mistral(24).config) == 24
    assert packed_window(llama().config) is None


def test_layers_that_share_keys_have_windows_too() -> None:
    config = gemma3(sliding_window=5).config
    config.num_kv_shared_layers = 2
    assert layer_windows(config) == (5, None, 5)


@pytest.mark.parametrize("kind", ["linear_attention", "chunked_attention"])
def test_layers_of_another_kind_are_never_packed(kind: str) -> None:
    config = gemma3().config
    config.layer_types = ["full_attention", kind, "full_attention"]
    config.attention_chunk_size = 8
    assert layer_windows(config) is None
    assert packed_window(config) == 0


@pytest.mark.parametrize("window", [0, -3])
@pytest.mark.parametrize("plain", [False, True])
def test_a_window_in_which_nothing_is_seen_is_refused(
    window: int, plain: bool, tmp_path: Path
) -> None:
    path = saved(mistral(window), tmp_path)
    with pytest.raises(ModelError, match=rf"config\.json: sliding_window: {window} in layer 0"):
        open_packed(path, plain=plain)


# ---- the self-test


def off_by(more: int) -> Callable[[Any], Any]:
    return lambda config: tuple(w and w + more for w in layer_windows(config) or ())


@pytest.mark.long
@pytest.mark.parametrize(("window", "more"), [(32, -1), (300, 1)])
def test_the_self_test_notices_a_window_off_by_one(
    window: int, more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(gemma3(sliding_window=window), tmp_path)
    branches = (Branch((3, 4), SLOTS), Branch((5,), SLOTS))
    tree = Tree("t", tuple(n % 90 for n in range(310)), branches)
    near = replace(tree, prefix=tree.prefix[:20])
    monkeypatch.setattr("promptrank.engine.packed_engine.layer_windows", off_by(more))
    engine = open_packed(path)
    (note,) = engine.info.notes
    assert note.startswith(f"paths beyond the sliding window of {window} tokens: one prompt at a")
    assert "packed scores differ from plain ones" in note
    plain = open_packed(path, plain=True)
    for one in (tree, near):
        assert numbers(engine, [one]) == pytest.approx(numbers(plain, [one]), abs=1e-4)


@pytest.mark.long
def test_the_self_test_leaves_the_windows_as_they_were(tmp_path: Path) -> None:
    engine = open_packed(saved(gemma3(sliding_window=300), tmp_path))
    assert engine.info.notes == ()
    assert engine.windows == (300, None, 300)
    assert layer_windows(engine._model().base.config) == (300, None, 300)


@pytest.mark.long
def test_a_window_that_changes_nothing_is_not_taken_for_tested(tmp_path: Path) -> None:
    model = mistral(300)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "o_proj" in name:
                weight.zero_()
    (note,) = open_packed(saved(model, tmp_path)).info.notes
    assert note.endswith("the self-test found that scores without windows are the same")


@pytest.mark.long
def test_a_window_of_another_layer_is_not_taken_for_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As where a config gives one layer a window of its own.
    monkeypatch.setattr(probe, "layer_windows", lambda config: (config.sliding_window, 200, 200))
    (note,) = open_packed(saved(mistral(300), tmp_path)).info.notes
    assert "its windows are not those that its config sets for all layers" in note


def test_a_window_no_shorter_than_any_path_costs_no_second_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("promptrank.engine.packed.misfit_beyond")
    path = saved(mistral(300), tmp_path)
    assert open_packed(path, max_tokens=300).info.notes == ()
