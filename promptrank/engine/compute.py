"""What computes, and in which numbers, by the names that users give; known without torch."""

import re
from dataclasses import dataclass

from promptrank.errors import ModelError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "bfloat16", "float16", "int8")
_DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?|mps")


@dataclass(frozen=True, slots=True)
class Compute:
    """Where and how an engine computes.

    Attributes:
        threads: of the CPU; the library's own choice if None.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``: cuda if there, else mps, else
            cpu.
        dtype: of the weights; None for bfloat16 on cuda and float32 elsewhere.

    Raises:
        ModelError: a device or a dtype that nobody knows.
    """

    threads: int | None = None
    device: str = "auto"
    dtype: str | None = None

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise ModelError(
                f"device {self.device!r}: not known; choose one of {', '.join(DEVICES)}, or a "
                "certain GPU, such as cuda:1"
            )
        if self.dtype is not None and self.dtype not in DTYPES:
            raise ModelError(f"dtype {self.dtype!r}: not known; choose one of {', '.join(DTYPES)}")

    @property
    def special(self) -> str | None:
        """What was asked for beyond a CPU and the usual dtype, as one says it; None for nothing."""
        words = [f"--device {self.device}"] if self.device not in ("auto", "cpu") else []
        words += [f"--dtype {self.dtype}"] if self.dtype is not None else []
        return " and ".join(words) or None
