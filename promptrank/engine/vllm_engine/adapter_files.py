"""Adapter folders as vLLM takes them: what it would silently leave out or misread is refused."""

from dataclasses import dataclass
from pathlib import Path

from promptrank.engine.model_files import adapter_digest, adapter_stamp, check_adapter_folder
from promptrank.engine.plain_json import read_json
from promptrank.errors import ModelError

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Largest ranks that vLLM can be opened for; an adapter of a smaller rank fits too."""

_HEADS = ("lm_head", "embed_tokens")


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


def read_adapter(folder: str, model: Path) -> Adapter:
    """The adapter in a folder, every tensor of it held against the model.

    Args:
        model: the model's folder.

    Raises:
        ModelError: no LoRA folder, one made for another model, one whose tensors are not what its
            config asks for, or one that vLLM cannot serve.
    """
    # Imports torch, which a run without adapters spares the user's process.
    from promptrank.engine.adapter_options import unserved
    from promptrank.engine.adapter_tensors import read_adapter_tensors

    path = Path(folder)
    check_adapter_folder(path)
    if odd := unserved(read_json(path / "adapter_config.json")):
        raise ModelError(
            f"{path}: vLLM cannot serve {', '.join(odd)}; use the engine packed, or merge the "
            "adapter into the model"
        )
    tensors = read_adapter_tensors(path, model).tensors
    for name in sorted(tensors):
        layer = name.removeprefix("base_model.model.").partition(".lora_")[0]
        if layer.rpartition(".")[2] in _HEADS:
            raise ModelError(
                f"{path}: vLLM leaves out the adapter's {layer}; use the engine packed, or merge "
                "the adapter into the model"
            )
    rank = max(tensor.shape[0] for name, tensor in tensors.items() if ".lora_A" in name)
    if rank > RANKS[-1]:
        raise ModelError(f"{path}: rank {rank}; vLLM takes 1 to {RANKS[-1]}")
    return Adapter(adapter_digest(path), str(path.resolve()), rank)


class ReadAdapters:
    """The adapters of one model, each folder read once."""

    def __init__(self, model: Path) -> None:
        self._model = model
        self._adapters: dict[str, Adapter] = {}
        self._refused: dict[tuple[object, ...], str] = {}  # by files as they were: why

    def of(self, folder: str) -> Adapter:
        """The adapter in a folder.

        Raises:
            ModelError: as of `read_adapter`.
        """
        if folder not in self._adapters:
            stamp = adapter_stamp(Path(folder))
            if why := self._refused.get(stamp):
                raise ModelError(why)
            try:
                self._adapters[folder] = read_adapter(folder, self._model)
            except ModelError as error:
                self._refused[stamp] = str(error)
                raise
        return self._adapters[folder]

    def forget(self, folder: str) -> Adapter | None:
        """The adapter of a folder that is used no more; None where another folder has the same."""
        gone = self._adapters.pop(folder, None)
        if gone is None or any(other.name == gone.name for other in self._adapters.values()):
            return None
        return gone
