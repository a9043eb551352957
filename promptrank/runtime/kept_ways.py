"""Which way products go on this machine, kept in the user's cache.

So that a processor is measured once, and two runs there give the same scores to the last bit.
"""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from promptrank.assets.wheels import cache_root
from promptrank.basics.files import write_json
from promptrank.basics.json_files import read_json
from promptrank.errors import InputError

Ways = Mapping[tuple[int, ...], str]
PACK_WEIGHTS = "PROMPTRANK_PACK_WEIGHTS"
"""Environment variable: 0 where memory for a second copy of the weights is not to be had."""

_FILE = "products.json"
_SECONDS = 10.0  # for which another process is waited for


def kept_ways(dtype: str) -> dict[tuple[int, ...], str]:
    """The shape of a layer's products -> the way, as chosen here before; empty for none."""
    ways = _read().get(_machine(dtype), {})
    kept: dict[tuple[int, ...], str] = {}
    for shape, way in ways.items() if isinstance(ways, dict) else ():
        sides = str(shape).split("x")
        if all(side.isdecimal() for side in sides) and isinstance(way, str):
            kept[tuple(int(side) for side in sides)] = way
    return kept


def keep_ways(dtype: str, ways: Ways) -> None:
    """Keep what was chosen; a cache that cannot be written keeps nothing."""
    known = kept_ways(dtype)
    if all(known.get(shape) == way for shape, way in ways.items()):
        return
    path = cache_root() / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes that end at once would each write without what the other has measured.
        with FileLock(path.with_suffix(".lock"), timeout=_SECONDS):
            known = {**kept_ways(dtype), **ways}
            named = {"x".join(map(str, shape)): way for shape, way in known.items()}
            write_json(path, {**_read(), _machine(dtype): named})
    except (OSError, Timeout):
        return


def _read() -> dict[str, Any]:
    path = cache_root() / _FILE
    try:
        return read_json(path) if path.is_file() else {}
    except InputError:
        return {}  # it is measured again


def _machine(dtype: str) -> str:
    """Processor, torch, threads and type: what a choice holds for."""
    import torch

    return f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, {dtype}"


def processor() -> str:
    """The processor's name and its instructions, as torch uses them."""
    import torch

    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
