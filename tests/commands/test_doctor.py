"""``airlock doctor``: the findings of a whole service environment, its exit code, and how it is shown."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest
from rich.console import Console

from airlock.commands.doctor import run_doctor
from airlock.doctor.finding import FAULTY, Gravity, Report
from airlock.errors import InvalidInput
from tests.real_servers import set_connection
from tests.service_data import write

INCLUDE = Path(__file__).resolve().parents[2] / "include"


@pytest.fixture
def services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A service whose file is right, whose target has no options, and whose keys are there."""
    identity = pyrage.x25519.Identity.generate()
    set_connection(monkeypatch, "key", conn_type="generic", password=str(identity),
                   extra={"recipients": [str(identity.to_public())]})  # fmt: skip
    (tmp_path / ".env").write_text("PASSWORD=hunter2\n")
    return write(tmp_path).parent


def doctor(folder: Path, *, as_json: bool = False, everything: bool = False, environment: str | None = "live") -> tuple[
    int, str
]:  # fmt: skip
    said = io.StringIO()
    arguments = argparse.Namespace(folder=folder, service="cafe", environment=environment, json=as_json,
                                   all=everything)  # fmt: skip
    return run_doctor(arguments, Console(file=said, width=200)), said.getvalue()


def findings(folder: Path) -> Report:
    return Report.model_validate_json(doctor(folder, as_json=True)[1])


def test_a_wrong_setting_is_one_finding_and_hides_none(services: Path) -> None:
    code, said = doctor(services)
    assert code == FAULTY
    for what, name in (("target", "supervisord"), ("router", "envoy")):
        assert f"fault {name}: {what} {name}: wrong options" in said
    assert "keys: 2 of 3 fine" in said  # of the signing key, no verifier's file is named
    assert "resources: 3 of 3 fine" in said
    assert said.strip().splitlines()[-1].startswith("a release would fail: ")


def test_json_has_the_same_exit_code_and_nothing_but_json(services: Path) -> None:
    code, said = doctor(services, as_json=True)
    assert code == FAULTY
    found = json.loads(said)["findings"]
    assert {"service", "environment", "area", "where", "what", "why", "mend", "gravity"} == set(found[0])
    assert {(one["service"], one["environment"]) for one in found} == {("cafe", "live")}
    assert all(one["why"] and one["mend"] for one in found if one["gravity"] in ("fault", "warning"))


def test_no_secret_and_nothing_of_a_file_is_shown(services: Path) -> None:
    assert "hunter2" not in doctor(services, as_json=True)[1]
    assert "AGE-SECRET" not in doctor(services, everything=True)[1]


def test_a_connection_that_is_missing_is_said_once_and_what_needs_it_is_not_asked(
    services: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_KEY")
    found = findings(services).findings
    missing = [one for one in found if one.area == "connections"]
    assert [one.where for one in missing] == ["key"]
    assert missing[0].gravity is Gravity.FAULT
    assert not [one for one in found if "room" in one.what or one.where == "backup key"]
    assert [one for one in found if one.where == "configuration.settings"]  # its file needs no connection


def test_where_no_connection_can_be_seen_nothing_is_blamed_on_them(
    services: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("AIRFLOW_CONN_")]:
        monkeypatch.delenv(name)
    (seen,) = [one for one in findings(services).findings if one.area == "connections"]
    assert seen.gravity is Gravity.NOT_ASKED
    assert "DAG" in seen.why


def test_nothing_is_left_behind(services: Path, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    doctor(services)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_a_service_or_environment_that_is_none_is_wrong_input(services: Path) -> None:
    with pytest.raises(InvalidInput):
        doctor(services, environment="lvie")
    for service, said in (("nosuch", "no service 'nosuch': declared are cafe"), ("caffe", "did you mean 'cafe'?")):
        with pytest.raises(InvalidInput, match=re.escape(said)):
            run_doctor(argparse.Namespace(folder=services, service=service, environment=None, json=False, all=False),
                       Console(file=io.StringIO()))  # fmt: skip
    (services / "none").mkdir()
    with pytest.raises(InvalidInput, match="there is no service file"):
        run_doctor(argparse.Namespace(folder=services / "none", service=None, environment=None, json=False, all=False),
                   Console(file=io.StringIO()))  # fmt: skip


def test_a_file_that_is_wrong_is_a_fault_and_the_others_are_asked(services: Path) -> None:
    (services / "broken.yaml").write_text("service: [")
    said = io.StringIO()
    arguments = argparse.Namespace(folder=services, service=None, environment=None, json=False, all=False)
    assert run_doctor(arguments, Console(file=said, width=200)) == FAULTY
    assert "broken.yaml" in said.getvalue()
    assert "cafe live" in said.getvalue()


def test_each_fault_of_a_file_is_a_finding_of_its_own(services: Path) -> None:
    lines = "".join(f"wrong_{number}: {'x' * 80}\n" for number in range(20))
    (services / "broken.yaml").write_text(f"service: broken\n{lines}")
    arguments = argparse.Namespace(folder=services, service=None, environment=None, json=True, all=False)
    said = io.StringIO()
    assert run_doctor(arguments, Console(file=said, width=200)) == FAULTY
    found = [one for one in Report.model_validate_json(said.getvalue()).findings if one.area == "service files"]
    assert len(found) > 20
    assert {one.where for one in found} == {str(services / "broken.yaml")}
    assert all(f"wrong_{number}" in "".join(one.what for one in found) for number in range(20))


def test_every_environment_is_asked_where_none_is_named(services: Path) -> None:
    assert "cafe live" in doctor(services, environment=None)[1]


def test_a_process_without_a_terminal_shows_no_colour_and_logs_nothing_beside(services: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "airlock", "doctor", "cafe", "live", "--folder", str(services)], text=True,
        capture_output=True, timeout=240, env={**os.environ, "PYTHONPATH": str(INCLUDE), "COLUMNS": "80"},
    )  # fmt: skip
    assert done.returncode == FAULTY, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr == ""
