"""Programs: there or not, and the version that they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import programs
from airlock.models.needs import Program, Stage


def asked(folder: Path | None, name: str, least: str = "") -> Finding:
    program = Program(name=name, least=least, folder=str(folder or ""), stages=(Stage.BACKUP,))
    (found,) = programs.ask(Subject("resources", "cicd.pipeline"), program)
    return found


def script(folder: Path, text: str) -> Path:
    (folder / "tool").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "tool").chmod(0o755)
    return folder


def test_a_program_that_is_missing_is_said_with_where_it_was_looked_for(tmp_path: Path) -> None:
    found = asked(tmp_path, "tool")
    assert found.gravity is Gravity.FAULT
    assert str(tmp_path) in found.what


def test_a_file_that_nobody_may_run_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("x")
    assert asked(tmp_path, "tool").gravity is Gravity.FAULT


@pytest.mark.parametrize(("text", "gravity"), [
    ("echo 'tool 2.39.2 (Vendor-143)'", Gravity.FINE),
    ("echo 'tool 1.9' >&2", Gravity.FAULT),
    ("echo hello", Gravity.WARNING),
    ('[ "$1" = version ] && echo "tool 2.30.1 compiled with go1.19.8" || { echo "unknown flag: $1" >&2; exit 1; }',
     Gravity.FINE),
    ("exit 3", Gravity.WARNING),
])  # fmt: skip
def test_the_version_is_asked_for(tmp_path: Path, text: str, gravity: Gravity) -> None:
    assert asked(script(tmp_path, text), "tool", least="2.29").gravity is gravity


def test_a_program_that_hangs_is_no_reason_to_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_SECONDS", 0.3)
    found = asked(script(tmp_path, "exec sleep 60"), "tool", least="1")
    assert found.gravity is Gravity.WARNING


def test_a_program_that_waits_for_an_answer_gets_none(tmp_path: Path) -> None:
    assert asked(script(tmp_path, "read line; echo tool 3.1"), "tool", least="3").gravity is Gravity.FINE


def test_the_interpreter_of_this_process_is_called_python() -> None:
    assert asked(None, "{python}").gravity is Gravity.FINE
