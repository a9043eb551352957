"""Engines by name."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptrank.engine.compute import Compute
from promptrank.engine.contract import Answers, Engine
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.errors import ModelError

ENGINES = ("packed", "vllm", "plain", "fake")
HTTP = ("http://", "https://")
"""How the address of a server begins that is named in an engine's place."""


def is_engine(engine: str) -> bool:
    """Whether a decoder can be opened by this name."""
    return engine in ENGINES or engine.startswith(HTTP)


def open_engine(
    engine: str,
    folder: Path,
    name: str,
    adapter: str | None,
    compute: Compute,
    longest: int | None,
    say: Callable[[str], None],
    restarts: Restarts | None = None,
    timeout: float | None = None,
) -> Engine:
    """The engine by name, over the model in ``folder``.

    Args:
        name: of the model, as users give it.
        adapter: folder of an adapter to load.
        compute: as `settle` gave it.
        longest: tokens of the longest prompt that the task allows, if it says.
        restarts: an engine whose process dies starts another, and counts it there.
        timeout: seconds for one message of an engine's process, or one answer of a server; what
            is generous for the engine where left out.

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
    if engine.startswith(HTTP):
        from promptrank.engine.http_engine.http import SECONDS as FOR_AN_ANSWER
        from promptrank.engine.http_engine.http import open_http

        seconds = FOR_AN_ANSWER if timeout is None else timeout
        opened = open_http(engine, folder, name=name, adapters=adapters, seconds=seconds)
    elif engine == "vllm":
        from promptrank.engine.vllm_engine.open import SECONDS as FOR_A_MESSAGE
        from promptrank.engine.vllm_engine.open import open_vllm

        # It sets memory aside for the longest prompt there may be.
        most = min(limits.max_tokens, longest or limits.max_tokens)
        opened = open_vllm(
            folder,
            name=name,
            dtype=compute.dtype or "float32",
            adapters=adapters,
            max_tokens=most,
            threads=compute.threads,
            restarts=restarts,
            seconds=FOR_A_MESSAGE if timeout is None else timeout,
        )
    else:
        from promptrank.engine.packed import open_packed
        from promptrank.engine.torch_threads import set_threads
        from promptrank.runtime.kept_ways import PACK_WEIGHTS, keep_ways, kept_ways

        set_threads(compute.threads)  # what is kept holds for so many
        assert compute.dtype is not None
        opened = packed = open_packed(
            folder,
            name=name,
            adapters=adapters,
            max_tokens=limits.max_tokens,
            threads=compute.threads,
            device=compute.device,
            dtype=compute.dtype,
            plain=engine == "plain",
            pack_weights=os.environ.get(PACK_WEIGHTS, "1") != "0",
            ways=kept_ways(compute.dtype),
        )
        keep_ways(compute.dtype, packed.ways)
    for note in opened.info.notes:
        say(note)
    return opened


def settle(engine: str, compute: Compute) -> Compute:
    """What a choice comes to for an engine on this machine: equal ones share what is opened.

    Raises:
        ModelError: a device or dtype that the machine or the engine does not have.
    """
    if engine in ("packed", "plain"):
        from promptrank.engine.devices import settled

        device, dtype = settled(compute)
        return replace(compute, device=str(device), dtype=dtype)
    if engine == "fake" and compute.special:
        raise ModelError(f"engine fake has no weights to put anywhere; leave {compute.special} out")
    if engine.startswith(HTTP) and compute.special:
        raise ModelError(f"{engine} computes as it was started; leave {compute.special} out")
    if engine == "vllm" and compute.device != "auto":
        raise ModelError(
            f"engine vllm takes the device that it was built for; leave --device {compute.device} "
            "out, or take --engine packed"
        )
    if engine == "vllm" and compute.dtype == "int8":
        raise ModelError("engine vllm: no --dtype int8 here; take bfloat16, or --engine packed")
    return compute


def apart(engine: Answers[Any]) -> bool:
    """Whether an engine computes in another process: what kills that does not kill this one."""
    from promptrank.engine.http_engine.http import HttpEngine
    from promptrank.engine.vllm_engine.vllm import VllmEngine

    return isinstance(engine, VllmEngine | HttpEngine)


def ailing(engine: Answers[Any]) -> bool:
    """Whether the process of an engine of `open_engine` is gone and may be started anew now."""
    from promptrank.engine.vllm_engine.vllm import VllmEngine

    return isinstance(engine, VllmEngine) and engine.ailing


def mend(engine: Answers[Any]) -> None:
    """Start the process of an engine anew, if it is `ailing`.

    Raises:
        ModelError: it cannot be started.
    """
    from promptrank.engine.vllm_engine.vllm import VllmEngine

    assert isinstance(engine, VllmEngine)
    engine.mend()


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
