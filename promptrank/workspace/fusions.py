"""Fusion files: where they lie, and whether one fits task, model and adapter."""

from dataclasses import dataclass, replace
from pathlib import Path

from promptrank.adapters.card import prompting
from promptrank.adapters.shelf import adapter_digest
from promptrank.adapters.weights import weights_digest
from promptrank.basics.digests import file_digest
from promptrank.basics.paths import expanded
from promptrank.basics.telling import Say, silent
from promptrank.errors import DataError, InputError, ModelError
from promptrank.fusion.fusion_files import read_fusion
from promptrank.fusion.layers import FittedFusion
from promptrank.project import builtin_root
from promptrank.scores.scores import Scores
from promptrank.workspace.tasks import OpenTask

FUSED = "fused"
WITHOUT = "fused, no decoder"
"""Names in reports of a fused decoder, and of the same fusion without the decoder."""


@dataclass(frozen=True, slots=True)
class OpenFusion:
    """A fusion file in use.

    Attributes:
        digest: SHA-256 of the file.
    """

    path: Path
    digest: str
    fusion: FittedFusion


def fusion_places(opened: OpenTask, adapter: str | Path | None) -> list[Path]:
    """Where a task's fusion file may lie, the first one first.

    In the project's ``fusions/``, under the adapter's name (``base`` without one); or in the
    adapter's own folder, which is how an adapter is handed on together with it.
    """
    name = Path(adapter).name if adapter is not None else "base"
    places = [opened.project / "fusions" / name / f"{opened.name}.json"]
    if adapter is not None:
        places.append(Path(adapter) / "fusion" / f"{opened.name}.json")
    return places


def new_place(opened: OpenTask, adapter: str | Path | None) -> Path:
    """Where `fuse` writes: into the adapter's folder, if that is the user's own."""
    project, *own = fusion_places(opened, adapter)
    if not own or Path(own[0]).is_relative_to(builtin_root().resolve()):
        return project
    return own[0]


def open_fusion(
    opened: OpenTask,
    engine: str,
    model_folder: Path,
    adapter: str | None,
    *,
    allow_changed: bool = False,
    say: Say = silent,
) -> OpenFusion:
    """The fusion of a task that says ``score: fused``, checked against model, adapter and words.

    Raises:
        ModelError: none was fitted, or it was fitted with something else.
    """
    task = opened.task
    assert task.fusion is not None, "checked when the task was read"
    places = fusion_places(opened, adapter)
    if task.fusion.file is not None:
        places = [opened.project / expanded(task.fusion.file)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        searched = ", ".join(map(str, places))
        again = f" --adapter {Path(adapter).name}" if adapter is not None else ""
        raise ModelError(
            f"{opened.name}: score: fused, and no fusion file (searched {searched}); "
            f"fit one: promptrank fuse {opened.name}{again}"
        )
    fusion = read_fusion(path)
    _check(path, fusion, opened, model_digest(engine, model_folder), adapter)
    now = fingerprints(opened)
    if other := [part for part, value in now.items() if fusion.fingerprints.get(part) != value]:
        text = f"{path}: fitted with other {' and '.join(other)} of {opened.name}"
        if not allow_changed:
            raise InputError(f"{text}; fit it again, or go on with --allow-changed")
        say(f"warning: {text}")
    return OpenFusion(path, file_digest(path), fusion)


def _check(
    path: Path, fusion: FittedFusion, opened: OpenTask, model: str, adapter: str | None
) -> None:
    declared = opened.task.fusion.fields if opened.task.fusion is not None else []
    asked = {f"decoder.{name}" for name in opened.task.questions}
    pairs = {
        "task": (fusion.task, opened.name),
        "fields": (sorted(fusion.fields), sorted(declared)),
        "form (by)": (fusion.by, opened.task.fusion.by if opened.task.fusion is not None else None),
        "model": (fusion.model, model),
        "adapter": (fusion.adapter, adapter_digest(adapter)),
        "questions": (
            {w.name for w in fusion.fused.weights} - set(fusion.fields),
            asked,
        ),
    }
    wrong = [name for name, (then, now) in pairs.items() if then != now]
    if wrong:
        raise ModelError(
            f"{path}: fitted with another {' and another '.join(wrong)}; fit it again with "
            f"`promptrank fuse {opened.name}` and the same --set, --engine and --adapter"
        )


def model_digest(engine: str, folder: Path) -> str:
    """What stands for the decoder: its weights, or that there are none."""
    return "fake" if engine == "fake" else weights_digest(folder)


def fingerprints(opened: OpenTask) -> dict[str, str]:
    """Of the task's template and answers, as they are now."""
    from promptrank.prompt.template import load_template

    template = load_template(opened.task.template, opened.place.template_folders, opened.drafts)
    return prompting(opened.task, template.sources).fingerprints


def unfused(opened: OpenTask) -> OpenTask:
    """The task with the decoder's own score."""
    return replace(opened, task=opened.task.unfused)


def fusion_of(scores: Scores) -> OpenFusion:
    """The fusion that made scores.

    Raises:
        DataError: none did, or its file is gone or changed since.
    """
    origin = scores.origin
    if origin.fusion is None:
        raise DataError(
            f"scores of {origin.ranker}: the task says score: fused, and no fusion made them; "
            "rank again, or evaluate without --scores"
        )
    path = Path(origin.fusion)
    if not path.is_file() or file_digest(path) != origin.fusion_digest:
        raise DataError(f"these scores were made with {path}, which has changed since; rank again")
    return OpenFusion(path, file_digest(path), read_fusion(path))
