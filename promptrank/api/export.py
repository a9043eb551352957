"""``export``: labelled examples for other trainers (TRL, Axolotl, ms-swift)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from promptrank.basics.files import put_folder, write_text
from promptrank.basics.leftovers import part_of, remove
from promptrank.basics.owner import owned
from promptrank.basics.paths import expanded, naming
from promptrank.basics.seals import file_digests, write_sealed
from promptrank.basics.telling import Progress, Say, no_progress, silent
from promptrank.errors import InputError
from promptrank.requests.source import RequestFile
from promptrank.runs.manifest import manifest
from promptrank.workspace.encoders import open_encoder
from promptrank.workspace.request_files import request_file
from promptrank.workspace.tasks import OpenTask, check_splits, open_task

if TYPE_CHECKING:
    from promptrank.prompt.encode import Encoder

ABOUT, CARD = "export.json", "README.md"
_CARD = """\
---
configs:
- config_name: default
  data_files:
{files}---

Labelled examples of the task `{task}` as {model} reads them, written by `promptrank export`.

One row a label. `prompt` and `completion` are texts; `messages` is the same as a conversation.
`prompt_ids` and `completion_ids` are the token ids that promptrank ranks and trains on.
"""


@dataclass(frozen=True, slots=True)
class Exported:
    """What `export` wrote.

    Attributes:
        path: the folder.
        labels: part -> rows.
        errors: reason -> rows that could not be used.
    """

    path: Path
    labels: dict[str, int]
    errors: dict[str, int]


def export(
    task: str | OpenTask,
    to: str | Path,
    *,
    splits: set[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    requests: str | Path | None = None,
    model: str | None = None,
    project: str | Path | None = None,
    settings: list[str] | None = None,
    overwrite: bool = False,
    say: Say = silent,
    progress: Progress = no_progress,
) -> Exported:
    """Write labelled examples to a folder that ``datasets.load_dataset`` reads.

    They are what ``train --shape packed`` trains on, one row a candidate and question, in the order
    of the request file. Only the model's tokenizer is read.

    Args:
        to: the folder; it is there as a whole or not at all.
        splits: parts; ``train`` where left out, and of a task without a split.
        limit: about this many labels of each part, of whole requests, those that `train` takes.
        seed: of the sample, as in `train`.
        requests: a request file in place of the task's tables.
        overwrite: replace a folder that `export` wrote before.

    Raises:
        InputError: a folder with other files in it.
        DataError: no labels in a part.
    """
    from promptrank.assets import resolve_model
    from promptrank.engine.limits import model_limits

    opened = open_task(task, project=project, settings=settings)
    check_splits(opened.task, splits)
    place = expanded(to).resolve()
    with owned(place, "export"), naming(place):
        _check_place(place, overwrite)
        name = model or opened.task.model
        folder = resolve_model(name, say=say)
        encoder = open_encoder(opened, folder, model_limits(folder).max_tokens)
        part = part_of(place)
        remove(part)
        try:
            part.mkdir(parents=True)
            with request_file(opened, requests, splits=None, say=say) as file:
                done = _write(opened, encoder, file, part, splits, limit, seed, progress)
            exported = Exported(place, *done)
            write_text(part / CARD, _card(opened.name, name, exported.labels))
            files = file_digests(part, [CARD, *(f"{split}.parquet" for split in exported.labels)])
            facts = {"prompt": encoder.fingerprint, "model": name, "data": asdict(exported)}
            about = manifest("export", opened.task, opened.name, **facts)
            write_sealed(part / ABOUT, {**about, "files": files})
            put_folder(part, place)
        finally:
            remove(part)
    return exported


def _check_place(place: Path, overwrite: bool) -> None:
    if place.exists() and not place.is_dir():
        raise InputError(f"{place}: is a file; name a folder, which is made")
    if not place.is_dir() or not any(place.iterdir()):
        return
    if not (place / ABOUT).is_file():
        raise InputError(f"{place}: holds files that export did not write; name another folder")
    if not overwrite:
        raise InputError(
            f"{place}: there are exported examples; name another folder, or say --overwrite"
        )


def _write(
    opened: OpenTask,
    encoder: "Encoder",
    file: RequestFile,
    folder: Path,
    splits: set[str] | None,
    limit: int | None,
    seed: int,
    progress: Progress,
) -> tuple[dict[str, int], dict[str, int]]:
    """A parquet file for each part; part -> rows, and reason -> rows that could not be used."""
    from promptrank.training.choosing import choose
    from promptrank.training.export_rows import write_rows

    labels: dict[str, int] = {}
    lost: dict[str, int] = {}

    def lose(reason: str) -> None:
        lost[reason] = lost.get(reason, 0) + 1

    for part in sorted(splits or {"train"}):
        choice = choose(opened.task, file, turns=False, limit=limit, seed=seed, part=part)
        for row in choice.unread:
            lose(row.reason)
        labels[part] = write_rows(
            folder / f"{part}.parquet", opened.name, encoder, choice, file, lose, progress
        )
    return labels, lost


def _card(task: str, model: str, labels: dict[str, int]) -> str:
    """A card by which `datasets` finds the file of each part."""
    files = "".join(f"  - split: {part}\n    path: {part}.parquet\n" for part in labels)
    return _CARD.format(files=files, task=task, model=model)
