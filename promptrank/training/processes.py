"""Several processes that train one adapter (``accelerate launch``, ``torchrun``).

The first alone speaks and writes. An error of one is an error of all: what only one raised would
leave the others waiting for it.
"""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from promptrank.errors import InputError, ModelError

if TYPE_CHECKING:
    import torch

Found = TypeVar("Found")
# As accelerate reads them: torchrun's own, and those of three kinds of MPI.
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


def count() -> int:
    """How many there are, by what their launcher told them."""
    return max(_number(name, 1) for name in _COUNTS)


def is_first() -> bool:
    """Whether this one speaks and writes; a single process does."""
    return count() == 1 or max(_number(name, 0) for name in _RANKS) == 0


def join(timeout: float | None = None, device: str = "auto") -> None:
    """Wait until all processes are here; a single process goes on at once.

    Args:
        device: as users name it.
        timeout: seconds that one waits for another; a day where left out, since the first builds
            requests and fetches models while the others wait.
    """
    if count() == 1:
        return
    import torch
    from accelerate import PartialState

    new = not torch.distributed.is_initialized()
    # Told to use a CPU only, accelerate makes a group of processes; else it looks for GPUs, and
    # without any each process would train an adapter of its own.
    PartialState(
        cpu=on_cpu(device), timeout=timedelta(seconds=timeout if timeout is not None else 86_400)
    )
    assert torch.distributed.is_initialized()
    if new:
        # Gloo's threads, left to the end of the process, can abort it when all is done.
        atexit.register(_part)


def _part() -> None:
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_cpu(device: str = "auto") -> bool:
    """Whether the machine has no accelerator, or was told to leave it alone.

    Args:
        device: as users name it.
    """
    if device == "cpu":
        return True
    import torch
    from accelerate.utils import parse_flag_from_env

    return parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.accelerator.is_available()


def training_device(name: str) -> "torch.device":
    """The device to train on; several processes have a GPU each, which accelerate gives them.

    Args:
        name: as users give it.

    Raises:
        ModelError: there is no such device here, or it is a certain GPU, which the Trainer would
            not take.
    """
    from promptrank.engine.devices import find_device

    device = find_device("cpu" if name == "auto" and on_cpu() else name)
    if device.index:
        raise ModelError(
            f"device {name}: training takes the first GPU that it sees; say --device cuda with "
            f"CUDA_VISIBLE_DEVICES={device.index}"
        )
    return device


@contextmanager
def together() -> Iterator[None]:
    """What one process raises inside, all raise; all leave the block at one time.

    Raises:
        InputError: what this process raised, or else the message of the first that did.
    """
    if count() == 1:
        yield
        return
    own: InputError | None = None
    try:
        yield
    except InputError as error:
        own = error
    problems = _everyones(str(own) if own is not None else None)
    if own is not None:
        raise own
    if problem := next((p for p in problems if p is not None), None):
        raise InputError(problem)


@contextmanager
def in_turn() -> Iterator[None]:
    """The first process goes first; the others follow together, and find what it wrote.

    Raises:
        InputError: see `together`; the others do not begin where the first one failed.
    """
    if not is_first():
        with together():
            pass
    with together():
        yield
    if is_first():
        with together():
            pass


def from_first(value: Found) -> Found:
    """The first process's value, in all of them."""
    return value if count() == 1 else _everyones(value)[0]


def _everyones(value: Any) -> list[Any]:
    """The values of all processes, in their order."""
    import torch

    values: list[Any] = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def _number(name: str, absent: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else absent
