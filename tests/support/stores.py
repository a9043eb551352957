"""Servers of object stores on loopback, and one bucket of each, seen by its own protocol."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest

BUCKET = "bucket"
SECRET = "geheim-7261"
SCHEMES = ("s3", "gs")


class Bucket(Protocol):
    """What tests do to objects without the code that they test."""

    @property
    def root(self) -> str:
        """Its address, as ``s3://bucket``."""

    def put(self, key: str, body: bytes) -> None: ...

    def delete(self, key: str) -> None: ...

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """What is in it, by key."""


@dataclass(frozen=True)
class S3Bucket:
    """By boto3."""

    client: Any
    root: str = f"s3://{BUCKET}"

    def put(self, key: str, body: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=key)

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        keys = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        bodies = {o["Key"]: self.client.get_object(Bucket=BUCKET, Key=o["Key"]) for o in keys}
        return {key: given["Body"].read() for key, given in bodies.items()}


@dataclass(frozen=True)
class GoogleBucket:
    """By the JSON API of Google Cloud Storage."""

    server: str
    root: str = f"gs://{BUCKET}"

    def put(self, key: str, body: bytes) -> None:
        # In two steps: the server has no other way to take an empty object.
        path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=resumable&name={quote(key, safe='')}"
        with urlopen(Request(self.server + path, method="POST"), timeout=60) as begun:
            session = begun.headers["Location"]
        urlopen(Request(session, method="PUT", data=body), timeout=60).close()

    def delete(self, key: str) -> None:
        self._asked(f"/storage/v1/b/{BUCKET}/o/{quote(key, safe='')}", method="DELETE")

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        folder = f"/storage/v1/b/{BUCKET}/o"
        listed = json.loads(self._asked(f"{folder}?prefix={quote(prefix, safe='')}"))
        keys = sorted(each["name"] for each in listed.get("items", []))
        return {key: self._asked(f"{folder}/{quote(key, safe='')}?alt=media") for key in keys}

    def _asked(self, path: str, **more: Any) -> bytes:
        with urlopen(Request(self.server + path, **more), timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def bucket_of(scheme: str) -> Iterator[Any]:
    """A server with one empty bucket, which the usual variables name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PROMPTRANK_OFFLINE", raising=False)
        with (_s3 if scheme == "s3" else _google)(patch) as bucket:
            yield bucket


@contextmanager
def _s3(patch: pytest.MonkeyPatch) -> Iterator[S3Bucket]:
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key-of-the-test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield S3Bucket(client)
    finally:
        server.stop()


@contextmanager
def _google(patch: pytest.MonkeyPatch) -> Iterator[GoogleBucket]:
    program = str(Path(__file__).with_name("google_store.py"))
    server = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        address = f"http://127.0.0.1:{int(server.stdout.readline())}"
        patch.setenv("STORAGE_EMULATOR_HOST", address)
        yield GoogleBucket(address)
    finally:
        server.kill()
        server.communicate()
