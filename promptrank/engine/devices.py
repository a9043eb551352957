"""The device that a model runs on: found, checked, and its memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from promptrank.engine.compute import Compute
from promptrank.errors import ModelError

TORCH_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,  # of all that is no product of a layer
}
_HEADS = ("lm_head.weight", "embed_tokens.weight")
_FULL = (
    "DefaultCPUAllocator",  # of a CPU: "can't allocate memory", "not enough memory"
    "can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "MPS backend out of memory",
)


class OutOfMemory(ModelError):
    """The memory of a device is full."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is full, of whatever device."""
    if isinstance(error, MemoryError | OutOfMemory | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _FULL)


def find_device(name: str) -> torch.device:
    """The device of a name in `Compute`; ``auto`` is cuda if there, else mps, else cpu.

    Raises:
        ModelError: this torch or this machine has no such device.
    """
    Compute(device=name)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if cuda else "mps" if mps else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not cuda:
        if torch.version.cuda is None and torch.version.hip is None:
            why = (
                f"the torch that is installed ({torch.__version__}) is built for CPUs; install its "
                "CUDA build"
            )
        else:
            why = "torch sees no GPU; see what nvidia-smi lists and CUDA_VISIBLE_DEVICES says"
        raise ModelError(f"device {name}: {why}, or say --device cpu")
    if device.type == "mps" and not mps:
        raise ModelError("device mps: torch has none here; say --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ModelError(f"device {name}: there are {count} here, from cuda:0 on; name one of them")
    return device


def settled(compute: Compute) -> tuple[torch.device, str]:
    """The device and the dtype that a choice comes to on this machine.

    Raises:
        ModelError: no such device, or a dtype that it does not take.
    """
    device = find_device(compute.device)
    dtype = compute.dtype or default_dtype(device)
    if dtype == "int8" and device.type != "cpu":
        raise ModelError(
            f"dtype int8: runs on a CPU only, not on {device}; take bfloat16 there, or say "
            "--device cpu"
        )
    return device, dtype


def default_dtype(device: torch.device) -> str:
    """bfloat16 on a GPU that has it, float32 elsewhere."""
    half = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if half else "float32"


def slow_bfloat16(device: torch.device, dtype: str) -> str | None:
    """A note where a CPU has no instructions for bfloat16 and only makes as if."""
    if device.type != "cpu" or dtype != "bfloat16":
        return None
    if torch._C._has_mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return "this processor has no instructions for bfloat16, so float32 is faster"


def check_room(path: Path, device: torch.device, dtype: str) -> None:
    """Refuse a model whose weights alone are more than a GPU has free.

    Raises:
        ModelError: how many GB it needs, and how many are free.
    """
    if (free := free_bytes(device)) is None:
        return
    needed = weights_need(path, dtype)
    if needed > free:
        raise ModelError(
            f"{path}: its weights need {needed / 1e9:.2f} GB in {dtype}, and {device} has "
            f"{free / 1e9:.2f} GB free; {_instead(device, dtype)}"
        )


def free_bytes(device: torch.device) -> int | None:
    """Bytes that a GPU has free; None for other devices, which share the machine's memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def weights_need(path: Path, dtype: str) -> int:
    """Bytes of a folder's weights in a dtype, a head in float32 included; by the files' headers."""
    total, head = 0, 0
    size = TORCH_DTYPES[dtype].itemsize
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (it is no dict)
                    count = prod(weights.get_slice(name).get_shape())
                    total += count * size
                    if name.endswith(_HEADS):
                        head = max(head, count)
        except (SafetensorError, OSError):
            continue  # it is refused, with a reason, when it is loaded
    return total + (4 * head if size < 4 else 0)


@contextmanager
def within_memory(device: torch.device, name: str, dtype: str | None = None) -> Iterator[None]:
    """Running out of a device's memory becomes one sentence.

    Args:
        name: of what runs out.
        dtype: of the weights, where the user may choose another.

    Raises:
        OutOfMemory: the memory of the device is full.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        free = free_bytes(device)
        left = f" ({free / 1e9:.2f} GB are free)" if free is not None else ""
        raise OutOfMemory(
            f"{name}: {device} has run out of memory{left}: {_first(error)}; "
            f"{_instead(device, dtype)}"
        ) from error


def _instead(device: torch.device, dtype: str | None) -> str:
    smaller = "take --dtype bfloat16, " if dtype == "float32" else ""
    return f"end what else uses {device}, {smaller}take a smaller model, or say --device cpu"


def _first(error: BaseException) -> str:
    """Of CUDA's message: how much was wanted, without its advice on allocators."""
    return str(error).partition(". ")[0].strip()[:200] or "no more to be had"
