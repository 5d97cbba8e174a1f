"""Object stores for tests: real servers, once for each test file, and Airflow connections that lead to them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from upath import UPath

from sandbox import seaweedfs


@pytest.fixture(scope="module")
def seaweedfs_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweedfs.SeaweedFS]:
    with seaweedfs.start(tmp_path_factory.mktemp("seaweedfs")) as server:
        yield server


def s3_connection(
    monkeypatch: pytest.MonkeyPatch, url: str, secret: str = seaweedfs.SECRET, token: str = "", name: str = ""
) -> str:
    """Set an Airflow connection that leads to the S3 server at *url*, and return its id."""
    name = name or f"s3_{uuid.uuid4().hex[:8]}"  # clients are kept by the id
    extra: dict[str, Any] = {"endpoint_url": url, "region_name": seaweedfs.REGION}
    extra |= {"aws_session_token": token} if token else {}
    said = {"conn_type": "aws", "login": seaweedfs.KEY, "password": secret, "extra": extra}
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(said))
    return name


def s3_bucket(server: seaweedfs.SeaweedFS, name: str = "", *, lock: bool = False) -> str:
    """Return the name of a bucket that all tests of a file share, for the server has room for few; make it if need be.
    """
    name = name or ("locked" if lock else "plain")
    client = server.client()
    if name not in {one["Name"] for one in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock)
    return name


def s3_place(
    monkeypatch: pytest.MonkeyPatch, server: seaweedfs.SeaweedFS, url: str = "", *, lock: bool = False
) -> UPath:
    """Return a folder that is not there yet, reached at *url*, else at the server itself."""
    connection = s3_connection(monkeypatch, url or server.url)
    return UPath(f"s3://{s3_bucket(server, lock=lock)}/{uuid.uuid4().hex}/a place", connection=connection)


def folder_place(tmp_path: Path) -> UPath:
    """Return a local folder that is not there yet."""
    return UPath(tmp_path / "a folder" / "place")
