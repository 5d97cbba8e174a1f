"""A real ``restic`` with a real repository of a test's own, and what somebody who holds its keys writes into it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from tests.real_servers import program_of_debian, set_connection

PASSWORD = "correct horse battery"


class Repository:
    """A repository in a local folder, and what restic says of it when it is asked from outside."""

    def __init__(self, folder: Path, password: str = PASSWORD) -> None:
        self.folder, self.password = folder, password

    def restic(self, *arguments: str, folder: Path | None = None, check: bool = True) -> str:
        environment = {
            "PATH": os.environ["PATH"], "RESTIC_REPOSITORY": str(self.folder), "RESTIC_PASSWORD": self.password,
            "RESTIC_CACHE_DIR": f"{self.folder}-cache",
        }  # fmt: skip
        done = subprocess.run(["restic", *arguments], env=environment, cwd=folder, capture_output=True, text=True,
                              check=False, timeout=120)  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout

    def snapshots(self) -> list[dict[str, Any]]:
        return json.loads(self.restic("snapshots", "--json", "--no-lock") or "[]") or []

    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


    def sealed(self, plain: bytes) -> bytes:
        """Return *plain* as the repository keeps its small files."""
        master = json.loads(self.restic("cat", "--no-lock", "masterkey"))
        encrypt, k, r = (base64.b64decode(one) for one in (master["encrypt"], master["mac"]["k"], master["mac"]["r"]))
        return _sealed(plain, encrypt, k, r)

    def open_faster(self) -> None:
        """Guard the password as little as can be: to open the repository takes a good part of a second else."""
        master = json.loads(self.restic("cat", "--no-lock", "masterkey"))
        (key,) = (self.folder / "keys").iterdir()
        salt = os.urandom(64)
        derived = hashlib.scrypt(self.password.encode(), salt=salt, n=2, r=8, p=1, dklen=64)
        data = _sealed(json.dumps(master).encode(), derived[:32], derived[32:48], derived[48:])
        easy = {"kdf": "scrypt", "N": 2, "r": 8, "p": 1, "salt": base64.b64encode(salt).decode(),
                "data": base64.b64encode(data).decode(), "created": "2026-01-01T00:00:00Z"}  # fmt: skip
        content = json.dumps(easy).encode()
        (key.parent / hashlib.sha256(content).hexdigest()).write_bytes(content)
        key.unlink()


def _sealed(plain: bytes, encrypt: bytes, k: bytes, r: bytes) -> bytes:
    nonce = os.urandom(16)
    text = Cipher(algorithms.AES(encrypt), modes.CTR(nonce)).encryptor().update(plain)
    once = Cipher(algorithms.AES(k), modes.ECB()).encryptor().update(nonce)
    return nonce + text + Poly1305.generate_tag(r + once, text)


def connect(patch: pytest.MonkeyPatch, name: str, held: Repository, **extra: Any) -> str:
    """Make the Airflow connection *name*, which leads to the repository *held*."""
    environment = {"RESTIC_CACHE_DIR": f"{held.folder}-cache", **extra.pop("environment", {})}
    where = {"repository": str(held.folder), "environment": environment, **extra}
    set_connection(patch, name, conn_type="generic", password=held.password, extra=where)
    return name


@pytest.fixture(scope="session")
def empty_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A repository to copy."""
    program_of_debian("restic")
    found = Repository(tmp_path_factory.mktemp("restic") / "repository")
    found.restic("init")
    found.open_faster()
    return found


@pytest.fixture
def repository(empty_repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    """An empty repository, which the connection ``restic`` leads to."""
    subprocess.run(["cp", "-a", str(empty_repository.folder), str(tmp_path / "repository")], check=True)
    found = Repository(tmp_path / "repository")
    connect(monkeypatch, "restic", found)
    yield found
