"""``promptrank cache``: what the score cache holds, and making it smaller."""

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptrank.basics.plurals import counted
from promptrank.cli import options
from promptrank.cli.terminal import columns, print_table, say
from promptrank.errors import InputError

if TYPE_CHECKING:
    from promptrank.caching.upkeep import CacheInfo

app = typer.Typer(
    name="cache",
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The score cache: what it holds, and making it smaller.",
)

Folder = Annotated[
    Path | None, typer.Option("--cache", help="Its folder. Default: cache/ of the project.")
]
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_BYTES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


@app.command()
def info(
    project: options.ProjectFolder = None,
    cache: Folder = None,
    json_: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show how much it holds, by model and adapter."""
    from promptrank.api.caches import cache_info

    told = cache_info(True if cache is None else cache, project=project)
    if json_:
        sys.stdout.write(json.dumps(told.as_dict(), indent=1, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(f"{_size(told)}\n")
    rows = [
        (
            who.model,
            who.adapter or "-",
            " ".join(filter(None, (who.dtype, who.device))),
            f"{who.entries:,}",
            size_text(who.bytes),
            f"{who.hits:,}",
            _day(shown["oldest"]),
            _day(shown["last_used"]),
        )
        for who, shown in zip(told.answerers, told.as_dict()["answerers"], strict=True)
    ]
    head = ("model", "adapter", "computes in", "entries", "size", "hits", "oldest", "last used")
    if rows:
        table = columns(head, rows)
        table.show_header = True
        print_table(table)


@app.command()
def prune(
    project: options.ProjectFolder = None,
    cache: Folder = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="Remove what was not used for so long: 12h, 30d, 8w."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", help="Remove what was not used for longest, down to this size: 2GB."
        ),
    ] = None,
) -> None:
    """Remove entries that were not used lately, and give their room back."""
    from promptrank.api.caches import prune_cache

    if older_than is None and max_size is None:
        raise InputError("say what goes: --older-than 30d, --max-size 2GB, or both")
    gone, left = prune_cache(
        True if cache is None else cache,
        project=project,
        older_than=seconds_of(older_than) if older_than is not None else None,
        max_bytes=bytes_of(max_size) if max_size is not None else None,
    )
    say(f"{counted(gone, 'entry', 'entries')} removed")
    say(_size(left))


def seconds_of(text: str) -> float:
    """``12h``, ``30d``, ``8w`` as seconds.

    Raises:
        InputError: something else.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,6})?)([hdw])", text.strip().lower())
    if match is None:
        raise InputError(f"--older-than {text[:40]}: write a number and h, d or w, such as 30d")
    return float(match[1]) * _SECONDS[match[2]]


def bytes_of(text: str) -> int:
    """``500MB``, ``2GB``, ``1000`` as bytes.

    Raises:
        InputError: something else.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise InputError(f"--max-size {text[:40]}: write a number and kB, MB, GB or TB: 2GB")
    return int(float(match[1]) * _BYTES[match[2]])


def size_text(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _size(told: "CacheInfo") -> str:
    if not told.path.is_file():
        return f"{told.path}: no score cache there yet; `promptrank rank --cache` makes one"
    return f"{told.path}: {counted(told.entries, 'entry', 'entries')}, {size_text(told.bytes)}"


def _day(moment: str | None) -> str:
    return moment.partition("T")[0] if moment is not None else "-"
