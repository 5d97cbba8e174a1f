"""What the shop's hosts hold on disk: complete, with the right modes, and unchanged by a second start."""

from __future__ import annotations

import hashlib
import json
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sandbox import credentials, environment, seed
from sandbox.layout import Layout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    made = Layout.from_environment({"AIRLOCK_HOME": str(tmp_path_factory.mktemp("home"))})
    seed.files(made, credentials.load(made.sandbox))
    return made


def contents(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(folder)): (path.lstat().st_mode, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_start_changes_nothing(layout: Layout) -> None:
    before = contents(layout.sandbox)
    seed.files(layout, credentials.load(layout.sandbox))
    assert contents(layout.sandbox) == before
    assert len(before) > 100


def test_secrets_are_readable_by_their_owner_only(layout: Layout) -> None:
    host = layout.host("prod")
    for path in (
        host / ".env",
        host / "tls" / "server.key",
        layout.terraform_state,
        layout.sandbox / "private" / "credentials.json",
    ):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_certificate_and_key_belong_together(layout: Layout) -> None:
    folder = layout.host("staging") / "tls"
    chain = x509.load_pem_x509_certificate((folder / "server.crt").read_bytes())
    key = load_pem_private_key((folder / "server.key").read_bytes(), None)
    assert chain.public_key() == key.public_key()


def test_uploads_have_many_modes_and_sizes(layout: Layout) -> None:
    files = [path for path in (layout.host("prod") / "uploads").rglob("*") if path.is_file() and not path.is_symlink()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} >= {0o644, 0o640, 0o600, 0o755, 0o444}
    sizes = [path.stat().st_size for path in files]
    assert min(sizes) == 0
    assert max(sizes) > 2**20


def test_terraform_state_is_version_4(layout: Layout) -> None:
    state = json.loads(layout.terraform_state.read_text())
    assert state["version"] == 4
    assert state["lineage"]
    assert len(state["resources"]) >= 4


def test_repository_has_its_workflow_and_tags(layout: Layout) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(layout.git_repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "make test" in git("show", "main:.github/workflows/ci.yaml")
    assert set(git("tag").split()) == {"v1.0", "v1.1-rc1"}
    assert git("fsck", "--strict") == ""


def test_version_1_0_is_in_slot_a(layout: Layout) -> None:
    for name in ("prod", "staging"):
        slots = layout.host(name) / "slots"
        assert (slots / "stable").readlink() == Path("a")
        assert (slots / "a" / "current").read_bytes() == (layout.artifacts / "shop-1.0.pyz").read_bytes()


def test_airflow_listens_on_loopback_and_takes_nothing_from_its_caller(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "SomethingElse")
    monkeypatch.setenv("AIRLOCK_OLD", "value")
    seeded = environment.Seeded("token", "ZONE", {"prod": "arn"})
    given = environment.whole(layout, credentials.load(layout.sandbox), seeded)
    assert given["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert given["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert "AIRLOCK_OLD" not in given
    assert given["AIRLOCK_LOAD_BALANCER_PROD"] == "arn"
    assert {json.loads(value)["conn_type"] for key, value in given.items() if key.startswith("AIRFLOW_CONN_")} == {
        "postgres",
        "vault",
        "aws",
        "kubernetes",
        "http",
        "generic",
    }
