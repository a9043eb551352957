"""LoRA adapters on one model: loaded when first used, switched without touching the weights."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel

from promptrank.engine.lean_lora import lean
from promptrank.engine.model_files import ADAPTER_WEIGHTS, check_adapter_folder, trained_on
from promptrank.errors import ModelError


class Adapters:
    """The model with any number of adapters, at most one on at a time.

    Attributes:
        base: the model itself; its layers are wrapped once an adapter is loaded.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self.base = base
        self._wrapped: PeftModel | None = None
        self._names: dict[str, str] = {}

    def load(self, folder: str) -> str:
        """The adapter's name in the model; loads it at the first call.

        Raises:
            ModelError: no LoRA folder, or one made for another model.
        """
        if folder in self._names:
            return self._names[folder]
        path = Path(folder)
        self.check(folder)
        name = f"adapter{len(self._names)}"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # every weight was matched above
                self._add(path, name)
        except (ValueError, RuntimeError, KeyError, OSError) as error:
            raise ModelError(f"{path}: cannot be loaded as an adapter ({error})") from error
        self._names[folder] = name
        return name

    def check(self, folder: str) -> None:
        """ModelError unless the folder holds a LoRA whose layers the model has."""
        path = Path(folder)
        check_adapter_folder(path)
        if misfits := _misfits(path / ADAPTER_WEIGHTS, self.base):
            raise ModelError(
                f"{path}: does not fit the model ({misfits[0]}; {len(misfits)} such); "
                f"it was trained on {trained_on(path)}"
            )

    @contextmanager
    def using(self, folder: str | None) -> Iterator[Any]:
        """The model to call, with this adapter on (None: with none)."""
        if folder is None:
            if self._wrapped is None:
                yield self.base
                return
            with self._wrapped.disable_adapter():
                yield self._wrapped
            return
        name = self.load(folder)
        assert self._wrapped is not None
        self._wrapped.set_adapter(name)
        self._wrapped.requires_grad_(False)
        yield self._wrapped

    def _add(self, path: Path, name: str) -> None:
        if self._wrapped is None:
            self._wrapped = PeftModel.from_pretrained(self.base, path, adapter_name=name)
        else:
            self._wrapped.load_adapter(str(path), adapter_name=name)
        lean(self._wrapped)
        self._wrapped.eval()


def _misfits(weights: Path, base: PreTrainedModel) -> list[str]:
    """LoRA weights whose layer is missing from the model or has another shape."""
    modules = dict(base.named_modules())
    misfits = []
    try:
        with safe_open(weights, "pt") as file:
            for key in sorted(file.keys()):
                name, _, kind = key.removeprefix("base_model.model.").partition(".lora_")
                if not kind.startswith(("A.", "B.")):
                    continue
                target = _unwrapped(modules, name)
                weight = getattr(target, "weight", None)
                side = 1 if kind.startswith("A.") else 0  # A is (rank, in), B is (out, rank)
                given = file.get_slice(key).get_shape()[side]
                if weight is None:
                    misfits.append(f"no layer {name}")
                elif weight.shape[side] != given:
                    misfits.append(f"{name} is {weight.shape[side]} wide, the adapter's {given}")
    except SafetensorError as error:
        raise ModelError(f"{weights}: not a safetensors file ({error})") from error
    return misfits


def _unwrapped(modules: dict[str, Any], name: str) -> Any:
    return modules.get(f"{name}.base_layer", modules.get(name))
