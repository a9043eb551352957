"""What the process that runs vLLM is told, and the environment it is started in."""

import os
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

FOLDER = "promptrank-vllm-"
"""How the name of the folder begins that the process writes to; it goes with the process."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How vLLM is opened; plain values, so that they can be sent as JSON.

    Attributes:
        model: the folder.
        dtype: of the weights; logits are fp32 whatever it is.
        max_tokens: longest path, the answer's last token included.
        threads: of the CPU.
        token_budget: new tokens in one step; vLLM's own choice if None.
        block_tokens: tokens in a block of the prefix cache, of which only whole ones are reused.
            None: 32 on a CPU, vLLM's own choice on a GPU.
        cache_bytes: for keys and values. None: 2 GiB on a CPU, vLLM's own share on a GPU.
        eager: do not compile. With adapters a CPU never compiles.
        lora_rank: largest rank of an adapter; 0 for no adapters.
        workers: let vLLM have worker processes of its own; in our process otherwise.
    """

    model: str
    dtype: str
    max_tokens: int
    threads: int
    token_budget: int | None = None
    block_tokens: int | None = None
    cache_bytes: int | None = None
    eager: bool = True
    lora_rank: int = 0
    workers: bool = False


def environment(settings: Launch) -> dict[str, str]:
    """The environment of the process; read by OpenMP, torch and vLLM when they are loaded."""
    variables = dict(os.environ)
    # vLLM falls back to one thread where nobody has said how many.
    variables["OMP_NUM_THREADS"] = str(settings.threads)
    variables["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1" if settings.workers else "0"
    variables.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    variables["VLLM_NO_USAGE_STATS"] = "1"
    variables["HF_HUB_OFFLINE"] = "1"
    variables["TOKENIZERS_PARALLELISM"] = "false"
    if settings.workers and hasattr(os, "sched_getaffinity"):
        # Left to itself vLLM keeps a core free for its own process.
        chosen = sorted(os.sched_getaffinity(0))[: settings.threads]
        variables["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, chosen))
    if settings.eager:
        # Else its sampler is compiled at the first step, which takes longer than most runs.
        variables["TORCHDYNAMO_DISABLE"] = "1"
    else:
        # Where torch has it by itself; the process has another folder for temporary files.
        cache = Path(tempfile.gettempdir()) / f"torchinductor_{os.getuid()}"
        variables.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    # Threads that wait by spinning take the cores from whoever shares them.
    variables.setdefault("KMP_BLOCKTIME", "1")
    if preload := _preload():
        variables["LD_PRELOAD"] = ":".join([*preload, *filter(None, [variables.get("LD_PRELOAD")])])
    return variables


def _preload() -> list[str]:
    """Libraries that vLLM on a CPU is faster with, where its packages brought them."""
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        return []
    package = Path(spec.submodule_search_locations[0])
    folders = {package / "libs": "libtcmalloc*.so*", Path(sys.prefix) / "lib": "libiomp5.so"}
    return [str(p) for f, pattern in folders.items() for p in sorted(f.glob(pattern))[:1]]
