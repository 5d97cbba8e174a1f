"""Everything that a service environment names is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pyrage
import pytest
from upath import UPath

from airlock.backup.run import open_driver, take
from airlock.backup.store import BackupStore
from airlock.doctor.asking import ask_all
from airlock.doctor.finding import Finding, Gravity
from airlock.doctor.kept_backups import last_backup
from airlock.doctor.questions import questions
from airlock.models import RecoveryPoint, utc_now
from airlock.service.model import ServiceEnvironment
from tests import service_data
from tests.real_servers import set_connection
from tests.recompute.flown import COUNTED, delivered

CHECKS = """checks:
      smoke:
        - {name: http, options: {paths: [/], address: "http://127.0.0.1:9"}}
        - {name: command, options: {run: [FOLDER/no-such-program]}}
      bake:
        - {name: sql, options: {connection: shop_reader, query: SELECT 1, value: {equals: 1}}}"""


def test_what_checks_need_is_asked_before_a_release_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_connection(monkeypatch, "shop_reader", conn_type="postgres", host="127.0.0.1", port=9, login="u", password="p")
    (tmp_path / "policies").mkdir()
    rule = {"name": "tool", "program": str(tmp_path / "no-such-program")}
    (tmp_path / "policies/commands.yaml").write_text(json.dumps({"commands": [rule]}))
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path / "policies"))
    cafe = service_data.environment(
        tmp_path, *delivered(tmp_path), ("metrics: {name: envoy}", f"metrics: {COUNTED}"),
        ("    rollout:", f"    {CHECKS}\n    rollout:"),
    )
    asked = [one for one in questions(cafe) if one.subject.area == "checks"]
    found = {one.where: one.gravity for one in ask_all(asked) if one.gravity is Gravity.FAULT}
    assert set(found) == {"smoke http", "smoke command", "bake sql"}


def asked_for(environment: ServiceEnvironment, area: str) -> list[Finding]:
    return list(ask_all(one for one in questions(environment) if one.subject.area == area))


def test_the_last_backup_is_one_of_this_environment(tmp_path: Path) -> None:
    cafe, key = service_data.environment(tmp_path), pyrage.x25519.Identity.generate()
    store = BackupStore(UPath(tmp_path / "backups"), (str(key.to_public()),), (str(key),))
    for place, size in (("live-20261101T010203", 10), ("live-eu-20261102T010203", 5000),
                        ("live-2-20261102T010203", 70)):  # fmt: skip
        release = f"cafe-{place}-{'0' * 16}"
        stored = store.write(f"{release}.configuration.settings", "data", [b"x" * size])
        store.save_point(RecoveryPoint(id=f"{release}.configuration.settings", resource=cafe.resources[0],
                                       taken_at=utc_now(), seconds=1, objects=(stored,)))  # fmt: skip
    assert last_backup(store, cafe).plain_bytes == 10


def test_a_production_whose_driver_proves_no_restore_is_refused_as_a_release_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airlock.backup.drivers.configuration.env_file import EnvFileDriver

    unproved = EnvFileDriver.capabilities.model_copy(update={"restore_proof": False})
    monkeypatch.setattr(EnvFileDriver, "capabilities", unproved)
    (tmp_path / ".env").write_text("A=b\n")
    staging = service_data.environment(tmp_path)
    production = staging.model_copy(update={"production": True})
    for environment, faults in ((staging, 0), (production, 1)):
        found = [one for one in asked_for(environment, "resources") if "prove" in one.what]
        assert [one.gravity for one in found] == [Gravity.FAULT] * faults


def test_a_command_that_no_list_allows_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/commands.yaml").write_text("commands: []\n")
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path / "policies"))
    check = "checks: {smoke: [{name: command, options: {run: [/bin/true]}}]}\n    rollout:"
    found = asked_for(service_data.environment(tmp_path, ("rollout:", check)), "checks")
    assert [one for one in found if one.gravity is Gravity.FAULT and "commands.yaml" in one.what]


def test_policies_and_calendar_files_are_read_as_a_release_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRLOCK_POLICIES", str(tmp_path / "nowhere"))
    file = ("timezone: Europe/Berlin", f"files: [{{name: company, path: {tmp_path}/no-such.ics}}]")
    cafe = service_data.environment(tmp_path, file)
    assert [one.gravity for one in asked_for(cafe, "policies")] == [Gravity.FAULT]
    (found,) = asked_for(cafe, "calendar")
    assert found.gravity is Gravity.FAULT
    assert "no-such.ics" in found.what
    (tmp_path / "no-such.ics").write_text("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nEND:VCALENDAR\r\n")
    monkeypatch.delenv("AIRLOCK_POLICIES")
    for area in ("policies", "calendar"):
        assert {one.gravity for one in asked_for(cafe, area)} == {Gravity.FINE}


def test_a_damaged_backup_of_before_is_named_once_and_stands_in_no_releases_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = pyrage.x25519.Identity.generate()
    set_connection(monkeypatch, "key", conn_type="generic", password=str(identity),
                   extra={"recipients": [str(identity.to_public())]})
    cafe = service_data.environment(tmp_path, *delivered(tmp_path), ("metrics: {name: envoy}", f"metrics: {COUNTED}"))
    (tmp_path / ".env").write_text("COLOUR=blue\n")
    store = BackupStore(UPath(cafe.backup.store), (str(identity.to_public()),), (str(identity),))
    point = take(open_driver(cafe.resources[0], store), "cafe-live-20261124T110000-ab12cd.configuration.settings")
    kept = next(Path(cafe.backup.store).rglob("point.json"))
    kept.write_bytes(kept.read_bytes().replace(str(point.objects[0].plain_bytes).encode(), b"7"))
    asked = [one for one in questions(cafe) if one.subject.area == "places"]
    found = [one for one in ask_all(asked) if one.gravity not in (Gravity.FINE, Gravity.NOTE)]
    assert [(one.gravity, one.where) for one in found] == [(Gravity.WARNING, "backup store")]
    assert "1 point(s) are damaged" in found[0].what and "point.json" in found[0].what
