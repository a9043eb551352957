"""Who asks a store without keys is told where they are looked for, and soon."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest

from promptrank.errors import DataError
from promptrank.places import object_store
from promptrank.places.object_store import fetch, is_there
from promptrank.places.store_keys import refusal
from support.stores import bucket_of

NO_TOKEN = (
    "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of Could not "
    "create a OAuth2 access token to authenticate the request. Learn more about it. The underlying "
    "error message was: PerformWork() - CURL error [6]=Could not resolve hostname error_info={"
)


class _Google:
    """A file system of somebody without keys, which would ask for as long as it is let."""

    patience: list[timedelta]

    def __init__(self, *, retry_time_limit: timedelta) -> None:
        self.limit = retry_time_limit

    def get_file_info(self, name: str) -> Any:
        self.patience.append(self.limit)
        raise OSError(NO_TOKEN)


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[_Google]:
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    _Google.patience = []
    monkeypatch.setattr(pyarrow.fs, "GcsFileSystem", _Google)
    object_store._store.cache_clear()
    return _Google


def test_google_is_asked_for_seconds_where_no_keys_lie(google: type[_Google]) -> None:
    with pytest.raises(DataError) as error:
        is_there("gs://somebody/q.parquet")
    told = str(error.value)
    assert told.startswith("gs://somebody/q.parquet: no keys are found for it (PerformWork() - ")
    assert "hostname); keys are looked for in the file that GOOGLE_APPLICATION_CREDENTIALS" in told
    assert "`gcloud auth application-default login`" in told
    assert google.patience == [timedelta(seconds=5)]


def test_google_is_asked_with_patience_where_keys_lie(
    google: type[_Google], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = tmp_path / ".config/gcloud/application_default_credentials.json"
    login.parent.mkdir(parents=True)
    login.write_text("{}")
    with pytest.raises(DataError):
        is_there("gs://somebody/q.parquet")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(login))
    login.unlink()
    with pytest.raises(DataError):
        is_there("gs://another/q.parquet")
    assert google.patience == [timedelta(seconds=60)] * 2
    object_store._store.cache_clear()


@pytest.mark.parametrize(
    "text",
    [
        "AWS Error ACCESS_DENIED during HeadObject operation: No response body.",
        "AWS Error SIGNATURE_DOES_NOT_MATCH during ListObjectsV2",
        "InvalidAccessKeyId",
        "NoCredentialsError",
    ],
)
def test_what_s3_says_of_keys(text: str) -> None:
    told = refusal("s3://b/k", text)
    assert told is not None and "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in told
    assert refusal("s3://b/k", "AWS Error NETWORK_CONNECTION during HeadObject") is None
    assert refusal("gs://b/k", "NOT_FOUND: Permanent error") is None
    assert refusal("s3://b/access_denied", "key 'access_denied': AWS Error SLOW_DOWN") is None


@pytest.mark.slow
def test_s3_without_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with bucket_of("s3") as bucket:
        bucket.put("q.parquet", b"PAR1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        object_store._store.cache_clear()
        with pytest.raises(
            DataError, match=r"refuses it \(ACCESS_DENIED\).* AWS_ACCESS_KEY_ID and"
        ):
            fetch(f"{bucket.root}/q.parquet", tmp_path / "q.parquet")
        object_store._store.cache_clear()
