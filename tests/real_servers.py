"""Fixtures that start the real servers that driver tests need, once for each test file, on free ports."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest
from upath import UPath

from airlock.backup.store import BackupStore
from sandbox import kubernetes_api, moto, openbao, postgres, reach

PACKAGES = dict(line.split() for line in (Path(__file__).parents[1] / ".ci" / "servers").read_text().splitlines()
                if line and not line.startswith("#"))
"""The programs of Debian that tests ask for, and the package of each."""


def program_of_debian(name: str) -> str:
    """Return the path of the program *name*, which ``.ci/servers`` lists. Where it is missing, the test is skipped, or,
    with the option ``--servers-required``, fails."""
    package = PACKAGES[name]
    found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")
    if found is not None:
        return found
    said = f"the program {name} is missing; on Debian: apt-get install {package}"
    if os.environ.get("SERVERS_REQUIRED"):
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


@pytest.fixture(scope="module")
def postgres_server(open_folder: Path) -> Iterator[postgres.Postgres]:
    with postgres.start(open_folder / "server", reach.free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def openbao_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openbao.OpenBao]:
    with openbao.start(tmp_path_factory.mktemp("openbao"), reach.free_port()) as server:
        yield server


@pytest.fixture(scope="module")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[moto.Moto]:
    with moto.start(tmp_path_factory.mktemp("moto"), reach.free_port()) as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> BackupStore:
    identity = pyrage.x25519.Identity.generate()
    return BackupStore(UPath(tmp_path / "backups"), (str(identity.to_public()),), (str(identity),))


def set_connection(monkeypatch: pytest.MonkeyPatch, name: str, **fields: object) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(fields))


def aws_connection(monkeypatch: pytest.MonkeyPatch, url: str, name: str = "test_aws") -> str:
    set_connection(
        monkeypatch,
        name,
        conn_type="aws",
        login="testing",
        password="testing",
        extra={"endpoint_url": url, "region_name": "us-east-1"},
    )
    return name


@pytest.fixture(scope="module")
def kubernetes_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kubernetes_api.Kubernetes]:
    """The emulator, or a real API server: ``kubectl proxy`` on the port AIRLOCK_TEST_KUBERNETES_PORT."""
    if port := int(os.environ.get("AIRLOCK_TEST_KUBERNETES_PORT", "0")):
        yield kubernetes_api.elsewhere(
            tmp_path_factory.mktemp("kubernetes"), port, os.environ.get("AIRLOCK_TEST_KUBERNETES_TOKEN", "any")
        )
        return
    with kubernetes_api.start(tmp_path_factory.mktemp("kubernetes"), reach.free_port()) as server:
        yield server
