"""Training runs of the toys on a tiny model."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from promptrank.api.train import Trained, train
from promptrank.training import adapter_model as lora
from promptrank.training.settings import Settings

WEIGHTS = "adapter_model.safetensors"
QUICK = Settings(steps=6, every=2, batch=4, micro=2, lr=0.01, metric="ndcg@10", patience=0)
TURNS = ["history.as=turns", "ratings.group.last=3"]


def placed(made: Trained, root: Path, name: str) -> Path:
    """The adapter in another project."""
    return Path(shutil.copytree(made.path, root / "adapters" / name))


def run(root: Path, name: str = "a", **more: Any) -> Trained:
    given: dict[str, Any] = {"training": QUICK, "settings": TURNS, "project": root} | more
    return train(given.pop("tasks", ["toys/like"]), name, **given)


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


def apart(first: Path, second: Path) -> float:
    a, b = weights_of(first), weights_of(second)
    assert a.keys() == b.keys()
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


@contextmanager
def killed_before_saving() -> Iterator[None]:
    """Ends a run where a kill would that comes after the last checkpoint."""

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(lora, "save", kill)
        yield
