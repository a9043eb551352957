"""Adapter folders as vLLM takes them: what it would silently leave out or misread is refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from promptrank.engine.model_files import (
    ADAPTER_WEIGHTS,
    adapter_digest,
    check_adapter_folder,
    trained_on,
)
from promptrank.engine.plain_json import read_json
from promptrank.errors import ModelError

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be opened for; an adapter of a smaller rank fits too."""

# Keys of adapter_config.json that do not change what the saved weights mean, or that vLLM follows.
_KNOWN = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
}
_NEUTRAL: tuple[Any, ...] = (None, False, "none", [], {})
_HEADS = ("lm_head", "embed_tokens")
_INITIAL = (True, False, None, "gaussian", "orthogonal", "eva")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that vLLM can be given.

    Attributes:
        name: by the digest of its files: equal names mean equal weights, which the prefix cache
            relies on.
        rank: the largest of its layers.
    """

    name: str
    folder: str
    rank: int


def read_adapter(folder: str, shapes: dict[str, tuple[int, ...]]) -> Adapter:
    """The adapter in a folder, checked against the model's weights.

    Args:
        shapes: the model's, from `weight_shapes`.

    Raises:
        ModelError: no LoRA folder, one made for another model, or one that vLLM cannot serve.
    """
    path = Path(folder)
    check_adapter_folder(path)
    config = read_json(path / "adapter_config.json")
    if odd := unserved(config):
        raise ModelError(
            f"{path}: vLLM cannot serve {', '.join(odd)}; use the engine packed, or merge the "
            "adapter into the model"
        )
    ranks, misfits = _compare(path / ADAPTER_WEIGHTS, shapes)
    if misfits:
        raise ModelError(
            f"{path}: does not fit the model ({misfits[0]}; {len(misfits)} such); "
            f"it was trained on {trained_on(path)}"
        )
    if not ranks or max(ranks) > RANKS[-1]:
        raise ModelError(f"{path}: rank {max(ranks, default=0)}; vLLM takes 1 to {RANKS[-1]}")
    return Adapter(adapter_digest(path), str(path.resolve()), max(ranks))


def unserved(config: dict[str, Any]) -> list[str]:
    """Options of an ``adapter_config.json`` that would be left out or misread.

    The engine stands by itself, so it has a list of its own; a test holds it together with
    ``promptrank.adapters.lora_options``, which refuses before an adapter is trained.
    """
    odd = [
        f"{key}={value!r}"
        for key, value in sorted(config.items())
        if key not in _KNOWN | {"init_lora_weights"} and value not in _NEUTRAL
    ]
    if (started := config.get("init_lora_weights")) not in _INITIAL:
        odd.append(f"init_lora_weights={started!r}")
    return odd


def weight_shapes(model: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of a model folder, by name.

    Raises:
        ModelError: a file that is no safetensors file.
    """
    by_name: dict[str, tuple[int, ...]] = {}
    for file in sorted(model.glob("*.safetensors")):
        by_name |= _shapes(file)
    return by_name


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, "np") as weights:
            return {key: tuple(weights.get_slice(key).get_shape()) for key in weights.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelError(f"{file}: not a safetensors file ({error})") from error


def _compare(file: Path, shapes: dict[str, tuple[int, ...]]) -> tuple[list[int], list[str]]:
    """Ranks of an adapter's layers, and what does not fit the model."""
    ranks, misfits = [], []
    for key, shape in sorted(_shapes(file).items()):
        name, _, kind = key.removeprefix("base_model.model.").partition(".lora_")
        if kind not in ("A.weight", "B.weight"):
            misfits.append(f"{key} is not a layer's LoRA weight")
            continue
        side, rank = (1, 0) if kind == "A.weight" else (0, 1)  # A is (rank, in), B is (out, rank)
        ranks.append(shape[rank])
        if name.rpartition(".")[2] in _HEADS:
            misfits.append(f"vLLM leaves out the adapter's {name}")
        layer = shapes.get(f"{name}.weight")
        if layer is None:
            misfits.append(f"no layer {name}")
        elif layer[side] != shape[side]:
            misfits.append(f"{name} is {layer[side]} wide, the adapter's {shape[side]}")
    return ranks, misfits
