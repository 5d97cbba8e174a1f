"""Every resource is looked at before anybody is asked: what could not be backed up is named, all of it at once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from airlock.change.text import approval_text
from airlock.errors import GateRefused, TemporaryError
from airlock.flow.stages import approval, change, inspect
from airlock.flow.stages.release import Release
from airlock.models import utc_now
from airlock.service.reading import load_file
from tests.recompute import flown
from tests.recompute.test_release import FORM

MORE = """
      - {name: uploads, kind: storage, driver: directory, options: {path: FOLDER/uploads}}
      - {name: pipeline, kind: cicd, driver: git, options: {path: FOLDER/no-repository}}
      - {name: log, kind: logs, driver: log_files, options: {path: FOLDER/logs}}
"""
DATABASE = "\n      - {name: db, kind: databases, driver: postgres, options: {connection: away, database: cafe}}\n"


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def planned(folder: Path, more: str = "") -> Release:
    release = flown.prepared(folder, "{}", (), ()).release
    source = Path(release.environment.source)
    source.write_text(source.read_text().rstrip("\n") + more.replace("FOLDER", str(folder)))
    release.environment = load_file(source)[0]
    change.validate(release, FORM, "rita")
    change.assess(release)
    return release


def test_what_is_there_is_told_to_those_who_approve(tmp_path: Path) -> None:
    release = planned(tmp_path)
    inspect.inspect(release)
    request = approval.opened(release, release.plan, utc_now())
    text = approval_text(release.plan, (), approval.sections_of(release, request)).replace("\\", "")
    assert re.search(r"1 resource\(s\) are there and can be read: configuration.settings \([0-9]+ bytes\)", text)
    assert not (tmp_path / "backups").exists()


def test_all_that_is_missing_is_named_before_anybody_is_asked(tmp_path: Path) -> None:
    release = planned(tmp_path, MORE)
    (tmp_path / ".env").unlink()
    (tmp_path / "uploads").write_text("a file where a folder should be")
    with pytest.raises(GateRefused) as raised:
        inspect.inspect(release)
    said = str(raised.value)
    assert "4 of 4 resource(s) could not be backed up, so nobody is asked" in said
    for name in ("configuration.settings", "storage.uploads", "cicd.pipeline", "logs.log"):
        assert name in said
    assert release.latest("inspected") is None and release.latest("approval_request") is None


def test_a_server_that_is_away_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = {"conn_type": "postgres", "host": "127.0.0.1", "port": 1, "login": "a", "password": "b"}
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", json.dumps(away))
    release = planned(tmp_path, DATABASE)
    with pytest.raises(TemporaryError, match="databases.db"):
        inspect.inspect(release)


def test_a_connection_that_is_not_known_is_no_reason_to_ask_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_AWAY", json.dumps({"conn_type": "postgres", "host": "127.0.0.1", "port": 1}))
    release = planned(tmp_path, DATABASE)
    monkeypatch.delenv("AIRFLOW_CONN_AWAY")
    with pytest.raises(GateRefused, match="databases.db: Airflow has no connection 'away'"):
        inspect.inspect(release)
