"""Objects of ``s3://`` and ``gs://``: looked for, fetched to a local file, put from one.

All of it goes through Arrow's file systems, which find keys where the stores' own tools do
(``AWS_ACCESS_KEY_ID``, a profile, the machine's role; ``GOOGLE_APPLICATION_CREDENTIALS``). Stores
elsewhere are named by ``AWS_ENDPOINT_URL`` or ``AWS_ENDPOINT_URL_S3``, and by
``STORAGE_EMULATOR_HOST``, as Google's own libraries have it; that one is asked without keys.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from promptrank.basics.addresses import address, secret_in
from promptrank.basics.files import beside
from promptrank.errors import DataError, InputError
from promptrank.places.store_keys import check_google_keys, refusal

_PIECE = 8 * 2**20  # bytes that are copied at a time
_ROOM = 0.8  # of the free disk, as for DuckDB's own files
GLOB = "*?["


def checked(name: str | Path) -> str:
    """The address of objects, once it is seen that it is one and holds no secret.

    Raises:
        InputError: it does, or names no bucket.
    """
    if wrong := secret_in(name):
        raise InputError(wrong)
    whole = address(name) or ""
    scheme, _, path = whole.partition("://")
    if not path.partition("/")[0]:
        raise InputError(f"{whole}: names no bucket; write {scheme or 's3'}://BUCKET/KEY")
    if "?" in path or "#" in path:
        raise InputError(f"{whole.partition('?')[0]}: an address of objects has no ? and no #")
    return whole.rstrip("/")


def is_there(name: str) -> bool:
    """Whether there is an object of exactly this name."""
    from pyarrow import fs

    with _told(name):
        store, key = _opened(name)
        return bool(store.get_file_info(key).type == fs.FileType.File)


def check_bucket(name: str) -> None:
    """Whether the bucket of an address is there, as far as the store lets us know.

    Raises:
        DataError: there is none.
    """
    from pyarrow import fs

    with _told(name):
        store, key = _opened(name)
        bucket = key.partition("/")[0]
        # Who may write objects need not be allowed to look at their bucket.
        with suppress(OSError, pa.ArrowException):
            if store.get_file_info(bucket).type == fs.FileType.NotFound:
                raise DataError(
                    f"{name}: there is no bucket {bucket}; make it, or correct the address"
                )


def names_below(name: str) -> list[str]:
    """Addresses of all objects below a name, sorted."""
    return [*sizes_below(name)]


def sizes_below(name: str) -> dict[str, int]:
    """Address -> bytes of all objects below a name, sorted."""
    from pyarrow import fs

    with _told(name):
        store, key = _opened(name)
        chosen = fs.FileSelector(key, recursive=True, allow_not_found=True)
        infos = store.get_file_info(chosen)
        scheme = name.partition("://")[0]
        files = (i for i in infos if i.type == fs.FileType.File)
        return dict(sorted((f"{scheme}://{i.path}", i.size) for i in files))


def matches(name: str) -> list[str]:
    """The address itself, or those of the objects that a glob stands for, sorted.

    Raises:
        DataError: there is none.
    """
    name = checked(name)
    if not any(sign in name for sign in GLOB):
        return [name]
    from fsspec.implementations.arrow import ArrowFSWrapper

    with _told(name):
        store, key = _opened(name)
        paths = ArrowFSWrapper(store).glob(key)
    scheme = name.partition("://")[0]
    objects = sorted(f"{scheme}://{path}" for path in paths if not path.endswith("/"))
    if not objects:
        raise DataError(f"{name}: no object is named so")
    return objects


def fetch(name: str, path: Path) -> None:
    """Copy an object to a local file, piece by piece.

    What is copied is one state of the object: its ETag is the same before and after.

    Raises:
        DataError: there is none, it cannot be read, it changed meanwhile, or the disk is too small.
    """
    with beside(path) as part, _told(name):
        store, key = _opened(name)
        with store.open_input_file(key) as source:
            size, tag = source.size(), _tag(source)
            free = int(shutil.disk_usage(path.parent).free * _ROOM)
            if size > free:
                raise DataError(
                    f"{name}: has {size / 1e9:,.1f} GB, more than four fifths of what is free on "
                    f"the disk of {path.parent}; set TMPDIR to a larger one"
                )
            with part.open("wb") as target:
                shutil.copyfileobj(source, target, _PIECE)
        with store.open_input_file(key) as now:
            if (now.size(), _tag(now)) != (part.stat().st_size, tag):
                raise DataError(f"{name}: changed while it was fetched; start again")


def object_digest(name: str) -> str:
    """SHA-256 of an object, in hex, read piece by piece.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    digest = hashlib.sha256()
    with _told(name):
        store, key = _opened(name)
        with store.open_input_stream(key) as source:
            while piece := source.read(_PIECE):
                digest.update(piece)
    return digest.hexdigest()


def put(path: Path, name: str) -> None:
    """Make a local file the content of an object: it is there whole, or as it was before."""
    with _told(name):
        store, key = _opened(name)
        # One write of all of it (mapped, not read): what is cut short is never closed as an object.
        with pa.memory_map(str(path)) as file:
            content = file.read_buffer() if file.size() else b""
            stream = store.open_output_stream(key)
            stream.write(content)
            stream.close()


def take_away(name: str) -> None:
    """Remove an object; there may be none of that name.

    On S3 without boto3 Arrow leaves an empty object in its place that stands for the folder.
    """
    if name.startswith("s3://") and (client := _client()) is not None:
        bucket, _, key = name.partition("://")[2].partition("/")
        with _told_by_boto(name, "removed"):
            client.delete_object(Bucket=bucket, Key=key)
        return
    with _told(name):
        store, path = _opened(name)
        if is_there(name):
            store.delete_file(path)


def put_new(path: Path, name: str) -> bool:
    """Make a local file the content of an object that is not there yet; False where it is.

    On S3 with boto3 (the extra ``s3``) the store itself decides (``If-None-Match: *``), so of two
    that do it at once one wins. Elsewhere it is looked for first: two within the same moment may
    both believe that they were first.
    """
    bucket, _, key = name.partition("://")[2].partition("/")
    if not name.startswith("s3://") or (client := _client()) is None:
        if is_there(name):
            return False
        put(path, name)
        return True
    with _told_by_boto(name, "written") as refused:
        client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), IfNoneMatch="*")
    return not refused


@contextmanager
def _told_by_boto(name: str, what: str) -> Iterator[list[str]]:
    """What boto3 raises, as one sentence; given is why the store refused since it has one."""
    from botocore.exceptions import BotoCoreError, ClientError

    refused: list[str] = []
    try:
        yield refused
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise DataError(refusal(name, code) or f"{name}: cannot be {what} ({code})") from None
        refused.append(code)
    except BotoCoreError as error:
        kind = type(error).__name__
        raise DataError(refusal(name, kind) or f"{name}: cannot be {what} ({kind})") from None


def _client() -> Any:
    try:
        import boto3
    except ImportError:
        return None
    return boto3.client("s3", endpoint_url=_endpoint())


def _tag(source: Any) -> Any:
    """What tells one state of an object from another: its ETag, or its generation."""
    facts = {str(k).lower(): v for k, v in (source.metadata() or {}).items()}
    return facts.get("etag") or facts.get("generation")


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def _opened(name: str) -> tuple[Any, str]:
    """The file system of an address, and its path there."""
    scheme, _, path = name.partition("://")
    endpoint = os.environ.get("STORAGE_EMULATOR_HOST") if scheme == "gs" else _endpoint()
    return _store(scheme, path.partition("/")[0], endpoint or None, os.getpid()), path


@lru_cache(maxsize=16)
def _store(scheme: str, bucket: str, endpoint: str | None, process: int) -> Any:
    from pyarrow import fs

    if scheme == "gs":
        patience = timedelta(seconds=60)
        if endpoint is None:
            check_google_keys(bucket)
            return fs.GcsFileSystem(retry_time_limit=patience)
        before, _, host = endpoint.rpartition("://")
        return fs.GcsFileSystem(
            anonymous=True,
            scheme=before or "http",
            endpoint_override=host.rstrip("/"),
            retry_time_limit=patience,
        )
    given: dict[str, Any] = {"connect_timeout": 10, "request_timeout": 60}
    if endpoint is not None:
        return fs.S3FileSystem(endpoint_override=endpoint, **given)
    if not any(os.environ.get(n) for n in ("AWS_REGION", "AWS_DEFAULT_REGION")):
        given["region"] = fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(**given)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What Arrow raises, as one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such object, or its bucket is another's") from None
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a local file
            raise
        lines = str(error).splitlines() or [type(error).__name__]
        if words := refusal(name, lines[0]):
            raise DataError(words) from None
        raise DataError(f"{name}: cannot be reached: {lines[0][:300]}") from None
