"""Open the embedded engine: transformers and peft, packed where the model allows it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from transformers import PreTrainedModel

from promptrank.engine.compute import Compute
from promptrank.engine.contract import EngineInfo
from promptrank.engine.cutting import ForwardBudget
from promptrank.engine.devices import settled, slow_bfloat16
from promptrank.engine.loaded_adapters import Adapters
from promptrank.engine.model import (
    load_model,
    longest_path,
    needs_eager,
    packed_window,
    vocab_size,
)
from promptrank.engine.model_files import model_digest
from promptrank.engine.packed_engine import PackedEngine
from promptrank.engine.probe import misfit, misfit_beyond
from promptrank.engine.products import Shape, free_memory, open_head, pack, weight_bytes
from promptrank.engine.torch_threads import set_threads
from promptrank.engine.tree_checks import Limits
from promptrank.engine.weighing import settle
from promptrank.errors import ModelError

__all__ = ["PackedEngine", "open_packed"]

log = logging.getLogger(__name__)

_LOGITS = 1 << 24  # numbers in one forward's logits


def open_packed(
    model_path: str | Path,
    *,
    name: str | None = None,
    dtype: str | None = None,
    device: str = "auto",
    adapters: Iterable[str | Path] = (),
    max_tokens: int | None = None,
    token_budget: int = 1152,
    threads: int | None = None,
    plain: bool = False,
    pack_weights: bool = True,
    ways: Mapping[Shape, str] | None = None,
) -> PackedEngine:
    """A decoder from a folder, ready to score.

    Args:
        model_path: a folder with config.json and safetensors.
        name: what `EngineInfo.model` says; the path if None.
        dtype: of the weights: float32, bfloat16, float16, or int8 (CPU only); bfloat16 on cuda and
            float32 elsewhere if None. Scores agree to 1e-4 in float32 only.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto``: cuda if there, else mps, else
            cpu.
        adapters: peft folders to load now, so that a wrong one is an error here; others are loaded
            when a tree names them, and a wrong one then fails its trees.
        max_tokens: longest path; the model's own limit if None, and never more than that.
        token_budget: new tokens in one forward pass: memory against speed.
        threads: of torch, for the whole process; its own choice, within a container's limit, if
            None.
        plain: score one prompt at a time: the engine ``plain``, the reference.
        pack_weights: keep a second copy of weights where that makes products faster on this
            processor; left out where it would not fit into memory well.
        ways: what was chosen for which shape of products before (`PackedEngine.ways`).

    Raises:
        ModelError: the folder or an adapter cannot be used, there is no such device, it does not
            take this dtype, or it is too small.
    """
    path = Path(model_path)
    place, dtype = settled(Compute(threads, device, dtype))
    set_threads(threads)
    model = load_model(path, dtype, device=place)
    own = longest_path(model.config)
    longest = min(n for n in (max_tokens, own, 1 << 20) if n is not None)
    if longest < 1 or token_budget < 1:
        raise ModelError(f"{path}: max_tokens and token_budget must be positive")
    limits = Limits(longest, vocab_size(model))
    budget = ForwardBudget(token_budget, max(1, _LOGITS // limits.vocab))
    chosen, notes = dict[Shape, str](), tuple[str, ...]()
    if pack_weights and not plain and place.type == "cpu" and dtype != "int8":
        chosen, notes = _packed(model, ways)
    if note := slow_bfloat16(place, dtype):
        notes = (*notes, note)
    base = Adapters(model)
    info = EngineInfo(
        "plain" if plain else "packed",
        name or str(model_path),
        model_digest(path),
        dtype,
        limits.max_tokens,
        device=place.type,
    )
    way = _Way(0) if plain else _way(base, info, limits, place.type == "cuda")
    notes = (*notes, *way.notes)
    for note in notes:
        log.warning("%s: %s", info.model, note)
    for adapter in adapters:
        base.load(str(adapter))
    engine = PackedEngine(base, replace(info, notes=notes), limits, budget, way.longest, way.flex)
    engine.ways, engine.shrinks = chosen, True
    return engine


def _packed(
    model: PreTrainedModel, ways: Mapping[Shape, str] | None
) -> tuple[dict[Shape, str], tuple[str, ...]]:
    """Put the fastest products under a model, packed where there is room: ways, what to tell."""
    needed, free = weight_bytes(model), free_memory()
    as_they_lie = settle(model, ways) | open_head(model, ways)
    if free is not None and needed > free / 2:
        return as_they_lie, (
            f"weights are not packed, which may be faster: a second copy takes {needed / 1e9:.1f} "
            f"GB, and {free / 1e9:.1f} GB are free",
        )
    return pack(model, ways) | as_they_lie, ()


@dataclass(frozen=True, slots=True)
class _Way:
    """How a model is scored.

    Attributes:
        longest: the longest path that may run packed; None for all, 0 for none.
        flex: by FlexAttention.
        notes: what a reader must know of it.
    """

    longest: int | None
    flex: bool = False
    notes: tuple[str, ...] = ()


def _way(model: Adapters, info: EngineInfo, limits: Limits, flex: bool) -> _Way:
    """The way that the model allows; ``flex`` says whether FlexAttention is to be tried first."""
    window = packed_window(model.base.config)
    if needs_eager(model.base):
        note = "one prompt at a time: the model caps its attention scores, or has sinks"
        return _Way(0, notes=(note,))
    if window == 0:
        note = "one prompt at a time: the model has layers that are not attention over all tokens"
        return _Way(0, notes=(note,))
    slides = window is not None and window < limits.max_tokens
    notes: tuple[str, ...] = ()
    if flex and slides:
        flex, notes = False, ("attention in bands, which is slower on a GPU: sliding windows",)
    if flex and (reason := misfit(model, info, limits, window, flex=True)):
        flex, notes = False, (f"attention in bands, which is slower on a GPU: {reason}",)
    if flex:
        return _Way(None, flex)
    beyond = misfit_beyond(model, info, limits) if slides else None
    if slides and not beyond:
        return _Way(None, notes=notes)
    if reason := misfit(model, info, limits, window):
        return _Way(0, notes=(f"one prompt at a time: the self-test found that {reason}",))
    if beyond:
        note = (
            f"paths beyond the sliding window of {window} tokens: one prompt at a time, since the "
            f"self-test found that {beyond}"
        )
        return _Way(window, notes=(*notes, note))
    return _Way(None, notes=notes)
