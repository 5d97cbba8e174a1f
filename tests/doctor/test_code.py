"""Which code a process has: the digest of the files, and whether they are younger than the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

INCLUDE = Path(__file__).resolve().parents[2] / "include"
SAY = "from airlock.doctor import code; print(code.digest())"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(INCLUDE / "airlock", tmp_path / "airlock", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def said(folder: Path, program: str = SAY) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120,
                          check=True).stdout.strip()  # fmt: skip


def test_the_same_files_elsewhere_have_the_same_digest_and_one_byte_another(copy: Path) -> None:
    first = said(copy)
    assert first == said(INCLUDE)
    assert len(first) == 64
    with (copy / "airlock/errors.py").open("a") as stream:
        stream.write("\n")
    assert said(copy) != first


def test_a_file_that_comes_or_is_renamed_changes_the_digest(copy: Path) -> None:
    first = said(copy)
    (copy / "airlock/one.py").write_text("")
    assert (second := said(copy)) != first
    (copy / "airlock/one.py").rename(copy / "airlock/two.py")
    assert said(copy) not in (first, second)


def test_what_is_compiled_or_of_editors_does_not_count(copy: Path) -> None:
    first = said(copy)
    (copy / "airlock/.errors.py.swp").write_text("x")
    (copy / "airlock/__pycache__").mkdir(exist_ok=True)
    (copy / "airlock/__pycache__/errors.pyc").write_bytes(b"x")
    assert said(copy) == first


def test_files_that_changed_after_the_process_began_are_noticed(copy: Path) -> None:
    assert said(copy, "from airlock.doctor import code; print(code.changed_since_begin())") == "False"
    path, later = copy / "airlock/errors.py", time.time() + 3600
    os.utime(path, (later, later))
    assert said(copy, "from airlock.doctor import code; print(code.changed_since_begin())") == "True"


def test_files_that_were_copied_with_their_old_times_are_noticed(copy: Path) -> None:
    waits = "import sys; from airlock.doctor import code; sys.stdin.read(); print(code.changed_since_begin())"
    with subprocess.Popen([sys.executable, "-c", waits], env={**os.environ, "PYTHONPATH": str(copy)}, text=True,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:  # fmt: skip
        time.sleep(3)
        path = copy / "airlock/errors.py"
        path.write_text(path.read_text() + "\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert running.communicate("", timeout=60)[0].strip() == "True"
