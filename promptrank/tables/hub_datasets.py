"""Data sets of the Hugging Face hub as files that DuckDB reads: ``hf://datasets/OWNER/NAME``.

A whole data set comes through `datasets`, which knows its configurations and splits. One that says
its types (parquet, Arrow) becomes a parquet file in the cache; the files of one that does not (CSV,
JSON) are read like all others, by our own policy of types. Single files of a data set are fetched
only where DuckDB cannot read ``hf://`` itself.

No code of a data set is ever run: `datasets` runs none, and kinds of data sets that are read by
unpickling, or by anything but a reader of tables, are refused.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

from promptrank.assets.wheels import cache_root
from promptrank.basics.files import beside
from promptrank.basics.hints import near
from promptrank.basics.owner import owned
from promptrank.errors import DataError

_WHOLE = re.compile(
    r"hf://datasets/(?P<name>[^/@?]+(/[^/@?]+)?)(@(?P<revision>[^/?]+))?/?(\?(?P<more>.*))?"
)
_FILE = re.compile(r"hf://datasets/(?P<name>[^/@?]+/[^/@?]+)(@(?P<revision>[^/]+))?/(?P<file>.+)")
_TYPED, _TEXT = ("parquet", "arrow", "cache"), ("csv", "json")  # kinds of `datasets`' builders
_ROWS = 10_000  # of a row group
_LONG = 86_400.0  # seconds that another process may take to fetch the same


@dataclass(frozen=True, slots=True)
class HubDataset:
    """What an address names.

    Attributes:
        path: as the task file has it.
        revision: a branch, tag or commit.
    """

    path: str
    name: str
    revision: str | None = None
    config: str | None = None
    split: str | None = None


def hub_dataset(where: str, path: str) -> HubDataset | None:
    """The data set that a path names as a whole; None for any other path.

    Raises:
        DataError: options that a data set does not have.
    """
    parts = _WHOLE.fullmatch(path)
    if parts is None:
        return None
    options = dict(parse_qsl(parts["more"] or "", keep_blank_values=True))
    for name in options:
        if name not in ("config", "split"):
            raise DataError(
                f"{where}.path: {path}: no option {name!r}; {near(name, ('config', 'split'))}"
            )
    revision = unquote(parts["revision"]) if parts["revision"] else None
    return HubDataset(path, parts["name"], revision, options.get("config"), options.get("split"))


def hub_rows(where: str, named: HubDataset) -> list[str]:
    """Local files that hold the rows of a data set.

    Raises:
        DataError: no such data set, configuration or split; several splits and none named; a kind
            that is not read here; or it cannot be fetched.
    """
    place = f"{where}.path: {named.path}"
    with _told(place), _no_bars():
        builder = _builder(named)
        kind = type(builder).__module__.split(".")[-2]
        if kind not in (*_TYPED, *_TEXT):
            raise DataError(
                f"{place}: is a data set of the kind {kind}; tables come from parquet, Arrow, CSV "
                "or JSON files. Convert it, and name the files"
            )
        split = _split(place, named, builder)
        if kind in _TEXT:
            addresses = map(str, builder.config.data_files[split])
            return [f for each in addresses for f in _fetched(where, each)]
        builder.download_and_prepare()
        rows = builder.as_dataset(split=split)
        readable = re.sub(r"[^\w.-]", "--", named.name)
        file = cache_root() / "hub" / f"{readable}-{rows._fingerprint}.parquet"
        with owned(file, "build", wait=_LONG):
            if not file.is_file():
                _write(rows, file)
    return [str(file)]


def hub_files(where: str, path: str) -> list[str]:
    """Files of a data set, fetched into the hub's cache: one, or those that a glob names.

    Raises:
        DataError: there are none, or they cannot be fetched.
    """
    from huggingface_hub import HfApi, hf_hub_download

    parts = _FILE.fullmatch(path)
    if parts is None:
        raise DataError(
            f"{where}.path: {path}: expected hf://datasets/OWNER/NAME, or a file in it such as "
            "hf://datasets/OWNER/NAME/data/rows.parquet"
        )
    name, file = parts["name"], parts["file"]
    kind: dict[str, Any] = {"repo_type": "dataset", "revision": None}
    if parts["revision"]:
        kind["revision"] = unquote(parts["revision"])
    with _told(f"{where}.path: {path}"), _no_bars():
        names = [file]
        if any(sign in file for sign in "*?["):
            known = HfApi().list_repo_files(name, **kind)
            names = sorted(each for each in known if fnmatchcase(each, file))
            if not names:
                raise DataError(f"{where}.path: {path}: no file of the data set is named so")
        return [str(hf_hub_download(name, each, **kind)) for each in names]


def _fetched(where: str, address: str) -> list[str]:
    return hub_files(where, address) if address.startswith("hf://") else [address]


def _address(name: str) -> str:
    """What `datasets` looks for at the hub alone, never in a folder that is called so."""
    return f"hf://datasets/{name}"


def _builder(named: HubDataset) -> Any:
    from datasets import load_dataset_builder

    return load_dataset_builder(_address(named.name), named.config, revision=named.revision)


def _split(place: str, named: HubDataset, builder: Any) -> str:
    """The split that is named, or the only one."""
    known = list(builder.info.splits or getattr(builder.config, "data_files", None) or ())
    if named.split is not None and named.split not in known:
        raise DataError(f"{place}: no split {named.split!r}; {near(named.split, known)}")
    if named.split is None and len(known) != 1:
        sign = "&" if named.config else "?"
        raise DataError(
            f"{place}: has the splits {', '.join(known)}; name one, such as "
            f"{named.path}{sign}split={known[0] if known else 'train'}"
        )
    return named.split or known[0]


def _write(rows: Any, file: Path) -> None:
    import pyarrow.parquet as pq

    schema = rows.features.arrow_schema
    with beside(file) as part, pq.ParquetWriter(part, schema, compression="zstd") as writer:
        for table in rows.with_format("arrow").iter(_ROWS):
            writer.write_table(table.cast(schema))


@contextmanager
def _told(place: str) -> Iterator[None]:
    """What `datasets` and the hub raise, as one sentence."""
    from datasets.exceptions import DatasetNotFoundError, DatasetsError
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # HTTPError of whichever library this hub speaks with, and OSError.
    of_network = HfHubHTTPError.__bases__
    local = "download its files and give their local paths"
    try:
        yield
    except DatasetNotFoundError as error:
        raise DataError(
            f"{place}: the hub has no such data set, or it is private (`hf auth login`): "
            f"{_line(error)}"
        ) from error
    except (ValueError, HFValidationError) as error:
        raise DataError(
            f"{place}: {_line(error)}; a configuration is named by ?config=NAME"
        ) from error
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise DataError(f"{place}: is made by a script, and none is run; {local}") from error
    except (DatasetsError, HfHubHTTPError, *of_network, OSError) as error:
        raise DataError(f"{place}: cannot be fetched ({_line(error)}); {local}") from error


def _line(error: BaseException) -> str:
    """The first line of a message, of bounded length."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]


@contextmanager
def _no_bars() -> Iterator[None]:
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not off:
            enable_progress_bars()
