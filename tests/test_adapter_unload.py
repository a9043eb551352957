"""Adapters that leave memory: weights and kept keys go, and no other score moves."""

from contextlib import closing
from pathlib import Path

from promptrank.engine.contract import Branch, Slot, Tree
from promptrank.engine.packed import PackedEngine, open_packed
from support.engines import adapter, llama, saved


def asked(engine: PackedEngine, folder: str | None) -> list[tuple[float, ...]]:
    branch, prefix = Branch((9,), (Slot((8,), ((5,), (6,))),)), tuple(range(3, 40))
    trees = [Tree(name, prefix, (branch,), 20, folder) for name in ("r", "s")]
    return [score[0][0].logprobs for score in engine.score(trees)]  # type: ignore[index]


def weights(engine: PackedEngine) -> int:
    return sum("lora_" in name for name, _ in engine._model().base.named_parameters())


def test_an_adapter_that_is_unloaded_gives_its_weights_back(tmp_path: Path) -> None:
    """One of several, the last one, and both again; other scores stay what they are."""
    model = saved(llama(), tmp_path / "model")
    tuned, other = (str(adapter(llama(), tmp_path / name, n)) for n, name in enumerate("ab"))
    with closing(open_packed(model)) as engine:
        engine.unload(tuned)  # which is not loaded
        first = {folder: asked(engine, folder) for folder in (None, tuned, other)}
        assert len({tuple(scores) for scores in first.values()}) == 3
        both = weights(engine)
        engine.unload(tuned)
        assert weights(engine) == both // 2 and not any(key[0] == tuned for key in engine._kept)
        assert asked(engine, other) == first[other] and asked(engine, None) == first[None]
        engine.unload(other)
        assert weights(engine) == 0 and asked(engine, None) == first[None]
        for folder in (other, tuned):
            assert asked(engine, folder) == first[folder]
        assert weights(engine) == both
