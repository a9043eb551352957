"""Adapters that leave memory: weights and kept keys go, and no other score moves."""

from contextlib import closing
from pathlib import Path

import pytest

from promptrank.adapters.shelf import CONFIG
from promptrank.engine.contract import Branch, Slot, Tree
from promptrank.engine.packed import PackedEngine, open_packed
from promptrank.runtime.runtime import Runtime
from promptrank.workspace.rankers import open_ranker
from support.engines import adapter, llama, saved
from support.serving import rank_body
from support.toys import adapters_for


def asked(engine: PackedEngine, folder: str | None) -> list[tuple[float, ...]]:
    branch, prefix = Branch((9,), (Slot((8,), ((5,), (6,))),)), tuple(range(3, 40))
    trees = [Tree(name, prefix, (branch,), 20, folder) for name in ("r", "s")]
    return [score[0][0].logprobs for score in engine.score(trees)]  # type: ignore[index]


def weights(engine: PackedEngine) -> int:
    return sum("lora_" in name for name, _ in engine._model().base.named_parameters())


@pytest.mark.long
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


@pytest.mark.slow
def test_memory_stays_flat_over_many_switches(toys: Path, tiny_llama_path: Path) -> None:
    """An adapter stays as long as one ranker uses it, and another ranker's adapter with it."""
    names = adapters_for(toys, tiny_llama_path, 3)
    with Runtime() as runtime:
        given = {"project": toys, "runtime": runtime}
        ranker = open_ranker("toys/like", adapter=names[0], **given)  # type: ignore[arg-type]
        engine = ranker.opened.engine
        assert isinstance(engine, PackedEngine)
        each, first = weights(engine), ranker.rank(rank_body()["request"])
        for turn in range(1, 4):
            after = open_ranker("toys/like", adapter=names[turn % 3], **given)  # type: ignore[arg-type]
            assert after.opened is ranker.opened and runtime.unload_unused() == 0
            assert weights(engine) == 2 * each
            ranker = after
            assert runtime.unload_unused() == 1 and weights(engine) == each
        again = ranker.rank(rank_body()["request"])
        assert [s.score for s in again.scored] == [s.score for s in first.scored]
        # A folder that nobody uses may hold other weights afterwards.
        unused = toys / "adapters" / names[1] / CONFIG
        unused.write_text(unused.read_text().replace('"lora_alpha": 8', '"lora_alpha": 16'))
        other = open_ranker("toys/like", adapter=names[1], **given)  # type: ignore[arg-type]
        assert other.rank(rank_body()["request"]).scored[0].score != first.scored[0].score
