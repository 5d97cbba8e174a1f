from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from sandbox import shop
from sandbox.launch import settings


def test_artifacts_have_the_same_digest_however_often_and_wherever_they_are_built(tmp_path: Path) -> None:
    first, second = shop.build(tmp_path / "one"), shop.build(tmp_path / "two")
    assert first == second == shop.build(tmp_path / "one")
    assert len(set(first.values())) == len(shop.TRAITS)
    for version, digest in first.items():
        content = (tmp_path / "two" / f"shop-{version}.pyz").read_bytes()
        assert "sha256:" + hashlib.sha256(content).hexdigest() == digest


def test_an_altered_artifact_is_built_again(tmp_path: Path) -> None:
    digests = shop.build(tmp_path)
    path = tmp_path / "shop-1.1.pyz"
    path.write_bytes(b"altered")
    assert shop.build(tmp_path) == digests
    assert zipfile.is_zipfile(path)


def test_an_empty_slot_starts_nothing_and_ends_in_order(tmp_path: Path) -> None:
    include = Path(shop.__file__).parents[2]
    (tmp_path / "slots" / "a").mkdir(parents=True)
    command = [sys.executable, "-m", "sandbox.launch", str(tmp_path), "a", "1"]
    ended = subprocess.run(command, cwd=include, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0
    assert "nothing to start" in ended.stdout
    shutil.rmtree(tmp_path)


def test_settings_of_a_host(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert settings(path) == {}
    path.write_text('# a comment\nDATABASE_URL="postgresql://x/y?a=b"\nEMPTY=\nnonsense\n')
    assert settings(path) == {"DATABASE_URL": "postgresql://x/y?a=b", "EMPTY": ""}
