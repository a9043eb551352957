"""Open vLLM as an engine."""

from collections.abc import Iterable
from pathlib import Path

from promptrank.engine.contract import EngineInfo
from promptrank.engine.cores import cores
from promptrank.engine.limits import model_limits
from promptrank.engine.model_files import check_model_folder, model_digest
from promptrank.engine.tree_checks import Limits
from promptrank.engine.vllm_engine.adapter_files import RANKS, read_adapter
from promptrank.engine.vllm_engine.launch import Launch
from promptrank.engine.vllm_engine.process import check_installed
from promptrank.engine.vllm_engine.restarts import Restarts
from promptrank.engine.vllm_engine.vllm import VllmEngine
from promptrank.errors import ModelError

__all__ = ["VllmEngine", "open_vllm"]

SECONDS = 600.0
"""That the process may take for one message, such as the scores of one step."""
_DTYPES = ("float32", "bfloat16", "float16")


def open_vllm(
    model_path: str | Path,
    *,
    name: str | None = None,
    dtype: str = "float32",
    adapters: Iterable[str | Path] = (),
    max_tokens: int | None = None,
    token_budget: int | None = None,
    threads: int | None = None,
    block_tokens: int | None = None,
    cache_bytes: int | None = None,
    eager: bool = True,
    restarts: Restarts | None = None,
    seconds: float = SECONDS,
) -> VllmEngine:
    """A decoder from a folder, served by vLLM in a process of its own.

    Args:
        model_path: a folder with config.json and safetensors.
        name: what `EngineInfo.model` says; the path if None.
        dtype: of the weights; the head's logits are fp32 in any case.
        adapters: peft folders to load now, so that a wrong one is an error here. An adapter that a
            tree names later is loaded then; if there is no room for its rank, vLLM starts again.
        max_tokens: longest path; the model's own limit if None, and never more than that.
        token_budget: new tokens in one step; vLLM's own choice if None.
        threads: CPU threads of the process; every core if None.
        block_tokens: of the prefix cache; 32 on a CPU and vLLM's own choice on a GPU if None.
        cache_bytes: for keys and values; 2 GiB on a CPU and vLLM's own share on a GPU if None.
        eager: do not compile; opens faster, scores slower.
        restarts: start a process that dies anew, and count it there; its death is an error if None.
        seconds: after which a process that has prompts and sends nothing is taken to hang, and is
            ended: then it has died.

    Raises:
        ModelError: vLLM is not installed, or it cannot serve the folder or an adapter as asked.
    """
    check_installed()
    path = Path(model_path)
    if dtype not in _DTYPES:
        raise ModelError(f"dtype {dtype!r}: not known; choose one of {', '.join(_DTYPES)}")
    check_model_folder(path)
    own = model_limits(path)
    longest = min(own.max_tokens, max_tokens or own.max_tokens)
    asked = (longest, token_budget, threads, block_tokens, cache_bytes)
    if any(number is not None and number < 1 for number in asked):
        raise ModelError(f"{path}: max_tokens, token_budget, threads and the like must be positive")
    folders = [str(adapter) for adapter in adapters]
    rank = max((read_adapter(folder, path).rank for folder in folders), default=0)
    settings = Launch(
        str(path.resolve()),
        dtype,
        longest,
        threads or cores(),
        token_budget,
        block_tokens,
        cache_bytes,
        eager,
        next((room for room in RANKS if room >= rank), 0) if rank else 0,
    )
    info = EngineInfo("vllm", name or str(model_path), model_digest(path), dtype, longest)
    engine = VllmEngine(settings, info, Limits(longest, own.vocab), restarts, seconds)
    try:
        for folder in folders:
            engine.load(folder)
    except BaseException:
        engine.close()
        raise
    return engine
