"""A test whose server is missing says so and is skipped; where servers must be there, it fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.oci_registry import PROGRAM
from tests.real_servers import PACKAGES, program_of_debian

ROOT = Path(__file__).resolve().parents[1]
ZIP_TEST = "test_a_zip_of_another_form_is_refused_although_its_records_are_untouched[packed by zip]"
SAID = r"the program zip is missing; on Debian: apt-get install zip"


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    monkeypatch.delenv("SERVERS_REQUIRED", raising=False)


def test_without_the_program_a_test_says_what_is_missing_and_is_skipped(nothing_installed: None) -> None:
    with pytest.raises(pytest.skip.Exception, match=SAID):
        program_of_debian("zip")


def test_where_servers_are_required_it_fails(nothing_installed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVERS_REQUIRED", "yes")
    with pytest.raises(pytest.fail.Exception, match=SAID):
        program_of_debian("zip")


def test_a_program_beside_the_path_of_users_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "zip"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program_of_debian("zip") == str(program)


@pytest.mark.campaign
@pytest.mark.parametrize(("options", "end"), [((), "skipped"), (("--servers-required",), "failed")])
def test_the_option_decides_in_every_process(options: tuple[str, ...], end: str, tmp_path: Path) -> None:
    """As CI runs it: with workers, and on a machine on which nothing is installed."""
    test = ROOT / "tests" / "evidence" / "test_zipped.py"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "1", "-p", "no:cacheprovider", *options, f"{test}::{ZIP_TEST}"],
        capture_output=True, text=True, timeout=240, check=False, cwd=ROOT,
        env={**{name: value for name, value in os.environ.items() if name != "SERVERS_REQUIRED"},
             "PATH": str(tmp_path), "AIRFLOW_HOME": str(tmp_path)},
    )
    assert "the program zip is missing" in done.stdout, done.stdout + done.stderr
    assert (done.returncode, "1 skipped" in done.stdout) == ((0, True) if end == "skipped" else (1, False))


def test_ci_installs_what_tests_ask_for_and_nothing_else() -> None:
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__))
    asked = set(re.findall(r'program_of_debian\("([^"]+)"\)', text))
    assert {PROGRAM, *asked} == set(PACKAGES)
    assert "--servers-required" in (ROOT / ".ci" / "run").read_text()
