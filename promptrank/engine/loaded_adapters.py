"""LoRA adapters on one model: loaded when first used, switched without touching the weights."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from peft import PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from promptrank.engine.adapter_tensors import AdapterTensors, read_adapter_tensors
from promptrank.engine.lean_lora import lean
from promptrank.engine.model_files import adapter_stamp
from promptrank.errors import ModelError

log = logging.getLogger(__name__)


class Adapters:
    """The model with any number of adapters, at most one on at a time.

    The weights of the model itself never change, whatever is loaded or refused.

    Attributes:
        base: the model itself; its layers are wrapped once an adapter is loaded.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self.base = base
        self._wrapped: PeftModel | None = None
        self._names: dict[str, str] = {}
        self._numbers = count()
        self._refused: dict[tuple[object, ...], str] = {}  # by files as they were: why

    def load(self, folder: str) -> str:
        """The adapter's name in the model; loads it at the first call.

        Raises:
            ModelError: no LoRA folder, one made for another model, or one whose tensors are not
                what its config asks for.
        """
        if folder in self._names:
            return self._names[folder]
        name = f"adapter{next(self._numbers)}"
        self._put_on(folder, self._read(folder), name)
        self._names[folder] = name
        return name

    def unload(self, folder: str) -> None:
        """Give an adapter's weights back; does nothing where it is not loaded."""
        name = self._names.pop(folder, None)
        if name is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # which of the others peft turns on: see `using`
                self._take_off(name)

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

    def _read(self, folder: str) -> AdapterTensors:
        """The adapter in a folder; what was refused once is not read again, unless it changes."""
        stamp = adapter_stamp(Path(folder))
        if why := self._refused.get(stamp):  # a run may name it in every request
            raise ModelError(why)
        try:
            return read_adapter_tensors(folder, self.base.config)
        except ModelError as error:
            self._refused[stamp] = str(error)
            raise

    def _put_on(self, folder: str, adapter: AdapterTensors, name: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # every tensor was matched above
                self._add(adapter, name)
        except (ValueError, RuntimeError, KeyError, AttributeError, MemoryError) as error:
            self._take_off(name)
            raise ModelError(f"{folder}: cannot be loaded as an adapter ({error})") from error
        if adapter.adds_nothing:
            log.warning("%s: its updates are all zero: it scores as the base model does", folder)

    def _add(self, adapter: AdapterTensors, name: str) -> None:
        if self._wrapped is None:
            self._wrapped = get_peft_model(
                self.base, adapter.config, adapter_name=name, autocast_adapter_dtype=False
            )
        else:
            self._wrapped.add_adapter(name, adapter.config, autocast_adapter_dtype=False)
        wrapped = self._wrapped
        assert isinstance(wrapped, PeftModel)
        set_peft_model_state_dict(wrapped, adapter.tensors, name)
        # "auto" would ask the hub whether the base's vocabulary has grown.
        placed = get_peft_model_state_dict(wrapped, adapter_name=name, save_embedding_layers=False)
        for key, tensor in adapter.tensors.items():
            if not placed[key].equal(tensor.to(placed[key])):
                raise ValueError(f"{key} did not reach the model")
        lean(wrapped)
        wrapped.eval()
        wrapped.requires_grad_(False)

    def _take_off(self, name: str) -> None:
        """Take one adapter out of the model, or what a failed `_add` has begun of it.

        With the last one the layers' wrapping goes, too.
        """
        if self._wrapped is not None and self._names:
            if name in self._wrapped.peft_config:
                self._wrapped.delete_adapter(name)
            return
        self._wrapped = None
        modules = dict(self.base.named_modules())
        for place, layer in modules.items():
            if isinstance(layer, BaseTunerLayer):
                parent, _, own = place.rpartition(".")
                setattr(modules[parent], own, layer.get_base_layer())
