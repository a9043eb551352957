"""Engines by name."""

import os
from collections.abc import Callable
from pathlib import Path

from promptrank.engine.contract import Engine

ENGINES = ("packed", "vllm", "plain", "fake")


def open_engine(
    engine: str,
    folder: Path,
    name: str,
    adapter: str | None,
    threads: int | None,
    longest: int | None,
    say: Callable[[str], None],
) -> Engine:
    """The engine by name, over the model in ``folder``.

    Args:
        name: of the model, as users give it.
        adapter: folder of an adapter to load.
        longest: tokens of the longest prompt that the task allows, if it says.

    Raises:
        ModelError: the folder or the adapter cannot be used, or the engine is not installed.
    """
    from promptrank.engine.limits import model_limits

    limits = model_limits(folder)
    if engine == "fake":
        from promptrank.engine.fake import FakeEngine

        return FakeEngine(vocab=limits.vocab, max_tokens=limits.max_tokens)
    say(f"loading {name}")
    adapters = [adapter] if adapter is not None else []
    opened: Engine
    if engine == "vllm":
        from promptrank.engine.vllm_engine.open import open_vllm

        # It sets memory aside for the longest prompt there may be.
        most = min(limits.max_tokens, longest or limits.max_tokens)
        opened = open_vllm(folder, name=name, adapters=adapters, max_tokens=most, threads=threads)
    else:
        from promptrank.engine.packed import open_packed
        from promptrank.engine.torch_threads import set_threads
        from promptrank.runtime.kept_ways import PACK_WEIGHTS, keep_ways, kept_ways

        set_threads(threads)  # what is kept holds for so many
        opened = packed = open_packed(
            folder,
            name=name,
            adapters=adapters,
            max_tokens=limits.max_tokens,
            threads=threads,
            plain=engine == "plain",
            pack_weights=os.environ.get(PACK_WEIGHTS, "1") != "0",
            ways=kept_ways("float32"),
        )
        keep_ways("float32", packed.ways)
    for note in opened.info.notes:
        say(note)
    return opened


def make_room(engine: Engine, folder: Path, longest: int | None) -> None:
    """Have an engine of `open_engine` take a task's longest prompts, if it does not yet.

    Only vLLM sets memory aside for the longest path; its process is then started anew.

    Raises:
        ModelError: it cannot be opened for so many tokens.
    """
    from promptrank.engine.limits import model_limits
    from promptrank.engine.vllm_engine.vllm import VllmEngine

    if not isinstance(engine, VllmEngine):
        return
    own = model_limits(folder).max_tokens
    most = min(own, longest or own)
    if most > engine.info.max_tokens:
        engine.lengthen(most)
