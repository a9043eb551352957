"""Engines by name."""

from pathlib import Path

from promptrank.api.tasks import Say
from promptrank.engine.contract import Engine

ENGINES = ("packed", "vllm", "plain", "fake")


def open_engine(
    engine: str,
    folder: Path,
    name: str,
    adapter: str | None,
    threads: int | None,
    longest: int | None,
    say: Say,
) -> Engine:
    """The engine by name, over the model in ``folder``.

    Args:
        name: of the model, as users give it.
        adapter: folder of an adapter to load.
        longest: tokens of the longest prompt that the task allows, if it says.
    """
    from promptrank.engine.limits import model_limits

    limits = model_limits(folder)
    if engine == "fake":
        from promptrank.engine.fake import FakeEngine

        return FakeEngine(vocab=limits.vocab, max_tokens=limits.max_tokens)
    say(f"loading {name}")
    adapters = [adapter] if adapter is not None else []
    found: Engine
    if engine == "vllm":
        from promptrank.engine.vllm_engine.open import open_vllm

        # It sets memory aside for the longest prompt there may be.
        most = min(limits.max_tokens, longest or limits.max_tokens)
        found = open_vllm(folder, name=name, adapters=adapters, max_tokens=most, threads=threads)
    else:
        from promptrank.engine.packed import open_packed

        found = open_packed(
            folder,
            name=name,
            adapters=adapters,
            max_tokens=limits.max_tokens,
            threads=threads,
            plain=engine == "plain",
        )
    for note in found.info.notes:
        say(note)
    return found
