from __future__ import annotations

import json
import os
import shutil
import zipfile
from datetime import UTC, date, datetime, timedelta

import pytest

from airlock import registry
from airlock.change.conflicts import WAITS, OpenChange
from airlock.commands.main import main
from airlock.deploy.delivery import delivery_of
from airlock.deploy.migrations.database import MigrationDatabase
from airlock.errors import PermanentError
from airlock.evidence.ledger import Ledger
from airlock.evidence.open_releases import Holder, OpenReleases
from airlock.flow.stages.release import Release
from airlock.models import Plan, Record, utc_now
from airlock.service import last_good
from airlock.service.find import find
from tests import memory_delivery
from tests.service_data import DELIVERY, TEXT, write
from tests.signing_keys import publisher

ENVOY = """target:
      name: supervisord
      options:
        folder: FOLDER/slots
        supervisor_connection: none
        slots:
          a: {address: "http://127.0.0.1:1", program: a}
          b: {address: "http://127.0.0.1:2", program: b}
    router:
      name: envoy
      options:
        admin: http://127.0.0.1:1
        listener: http://127.0.0.1:1
        fallback_folder: FOLDER/slots
        backends:
          a: {runtime_key: a}
          b: {runtime_key: b}
    metrics:
      name: envoy
      options:
        admin: http://127.0.0.1:1
        slots:
          a: {address: "http://127.0.0.1:1", cluster: a}
          b: {address: "http://127.0.0.1:2", cluster: b}"""
WHOLE = TEXT.replace(DELIVERY, ENVOY)
WINDOW = '{days: [mon, tue], from: "09:00", to: "17:00"}'
ALWAYS = WHOLE.replace(WINDOW, '{days: [mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"}')


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """What the service file names beside the signing key."""
    for name in ("NONE", "KEY"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps({"conn_type": "http"}))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    return write(tmp_path, ALWAYS).parent


def files_below(path):
    return sorted((str(entry), entry.stat().st_mtime_ns) for entry in path.rglob("*"))


def test_check_accepts_right_files(folder, capsys):
    assert main(["services", "check", str(folder)]) == 0
    assert "1 service file(s), 1 environment(s): no faults" in capsys.readouterr().out


def test_check_names_wrong_options_of_drivers_targets_and_sources_by_line(tmp_path, capsys):
    text = ALWAYS.replace("{path: FOLDER/.env}", "{pth: FOLDER/.env}").replace(
        "supervisor_connection: none", "supervisor_connexion: none"
    )
    folder = write(tmp_path, text).parent
    assert main(["services", "check", str(folder)]) == 2
    out = capsys.readouterr().out
    line = 1 + text.splitlines().index("        options: {pth: FOLDER/.env}")
    assert f"cafe.yaml:{line}: environments.live.resources.0.options.pth: unknown field; did you mean 'path'?" in out
    assert f"cafe.yaml:{line}: environments.live.resources.0.options.path: is missing" in out
    assert "target.options.supervisor_connexion: unknown field; did you mean 'supervisor_connection'?" in out


def test_check_takes_no_truth_for_a_number(tmp_path, capsys):
    check = "checks: {smoke: [{name: http, options: {paths: [/], within_seconds: true}}]}\n    resources:"
    write(tmp_path, WHOLE.replace("resources:", check))
    assert main(["services", "check", str(tmp_path / "services")]) == 2
    assert "checks.smoke.0.options.within_seconds: must be a number, found true or false" in capsys.readouterr().out


def test_a_service_is_not_retired_while_a_file_that_may_declare_it_is_wrong(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(folder))
    cafe = find(folder, "cafe", "live")
    last_good.keep(folder, [cafe])
    (folder / "cafe.yaml").write_text((folder / "cafe.yaml").read_text().replace("tier: 2", "tier: two"))
    assert main(["services", "retire", "cafe"]) == 2
    said = capsys.readouterr().err
    assert "mend this first" in said
    assert "cafe.yaml:4: tier: " in said
    assert last_good.kept(folder) == (cafe,)


@pytest.mark.parametrize("command", [["risk", "reliability"], ["standard-change", "list"]])
def test_looking_back_at_a_service_that_nobody_declares_is_wrong_input(folder, capsys, command):
    for name in (["nosuch"], ["nosuch", "live"], ["caf", "live"], ["cafe", "dev"]):
        assert main([*command, *name, "--folder", str(folder)]) == 2
        assert "nosuch" in (said := capsys.readouterr().err) or "cafe live" in said
    assert main([*command, "cafe", "--folder", str(folder)]) == 0


def test_check_of_an_empty_or_missing_folder_is_refused(tmp_path, capsys):
    assert main(["services", "check", str(tmp_path)]) == 2
    assert main(["services", "check", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_plan_prints_the_plan_and_its_digest_and_changes_nothing(folder, tmp_path, capsys):
    before = files_below(tmp_path)
    arguments = ["plan", "cafe", "live", "--version", "1.1", "--requester", "rita", "--folder", str(folder)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "unknown (the target cannot be asked" in " ".join(out.split()) and "env_file" in out
    assert "not taken by env_file:" in out and "file flags" in " ".join(out.replace("│", " ").split())
    assert main([*arguments, "--json"]) == 0
    raw = capsys.readouterr().out.strip()
    plan = Plan.model_validate(json.loads(raw))
    assert plan.current_version == "unknown" and plan.artifact.version == "1.1"
    assert files_below(tmp_path) == before


def test_plan_shows_what_is_signed_and_says_what_is_not(tmp_path, capsys):
    signed = 'artifact: {name: file, signatures: [{keys: [FOLDER/keys.pem]}], options:'
    folder = write(tmp_path, ALWAYS.replace("artifact: {name: file, options:", signed)).parent
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    (tmp_path / "keys.pem").write_text(publisher().pem)
    arguments = ["plan", "cafe", "live", "--version", "1.1", "--requester", "rita", "--folder", str(folder)]
    assert main(arguments) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "would be refused" in said and "has no signature of sha256:" in said and "none demanded" in said
    (tmp_path / "cafe-1.1.bin.sigstore.json").write_text(json.dumps(publisher().signed(b"coffee")))
    main(arguments)
    said = "".join(capsys.readouterr().out.split())
    assert publisher().id in said and "hasnosignature" not in said


def test_plan_names_open_releases_that_touch_the_same_and_who_is_away(folder, tmp_path, capsys):
    arguments = ["plan", "cafe", "live", "--version", "1.1", "--requester", "rita", "--folder", str(folder)]
    assert main([*arguments, "--json"]) == 0
    plan = Plan.model_validate(json.loads(capsys.readouterr().out))
    assert plan.touches
    assert main(arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "no other open release touches the same" in out and "everybody is there" in out
    other = OpenChange(service="bakery", environment="live", release="bakery-live-7", version="2.0", state=WAITS,
                       since=utc_now(), touches=plan.touches[:1])
    root = find(folder, "cafe", "live").ledger
    begun = Record(release="bakery-live-7", type="run", at=utc_now(), actor="a test", data={})
    Ledger(root, "bakery", "live").append(begun)
    index = OpenReleases(root)
    index.put(Holder("bakery", "live", "bakery-live-7"), other.model_dump(mode="json"))
    assert main(arguments) == 0
    assert "bakery-live-7(bakery2.0tolive)waits" in "".join(capsys.readouterr().out.split())


def test_plan_says_when_nobody_could_approve(folder, capsys):
    arguments = ["plan", "cafe", "live", "--version", "1.1", "--requester", "olga", "--folder", str(folder)]
    assert main(arguments) == 1
    assert "service_owner lacks 1 of 1" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cafe", "live", "--version", "2.0"], "versions found are 1.1"),
        (["cafe", "lief", "--version", "1.1"], "did you mean 'cafe live'"),
        (["cafe", "live", "--version", "../1"], "is no version"),
    ],
)
def test_plan_refuses_what_is_unknown(folder, capsys, arguments, sentence):
    assert main(["plan", *arguments, "--requester", "rita", "--folder", str(folder)]) == 2
    assert sentence in capsys.readouterr().err


PLAN = ["plan", "cafe", "live", "--version", "1.1", "--requester", "rita"]


def test_plan_refuses_what_a_release_refuses_a_version_that_is_live(tmp_path, capsys, monkeypatch):
    (tmp_path / "cafe-1.0.bin").write_bytes(b"tea")
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    folder = write(tmp_path, ALWAYS).parent
    monkeypatch.setitem(registry.TARGETS, "supervisord", registry.Entry("tests.memory_delivery:KeptTarget"))
    monkeypatch.setitem(registry.ROUTERS, "envoy", registry.Entry("tests.memory_delivery:KeptRouter"))
    memory_delivery.KEPT.clear()
    where = find(folder, "cafe", "live")
    version = delivery_of(where).inspect().stable
    assert main(["plan", "cafe", "live", "--version", version, "--requester", "rita", "--folder", str(folder)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert f"would be refused: cafe {version} already has all traffic in live: nothing to release" in said


def migrating(folder, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_OWNER", json.dumps({"conn_type": "postgres", "host": "127.0.0.1", "port": 1}))
    with zipfile.ZipFile(folder / "cafe-1.1.bin", "w") as archive:
        archive.writestr("migrations/0001_note.up.sql", "ALTER TABLE orders ADD COLUMN note text")
    database = "- {name: db, kind: databases, driver: postgres, options: {connection: owner, database: cafe}}"
    more = f"    migrations: {{resource: db, connection: owner}}\n    resources:\n      {database}\n"
    return write(folder, ALWAYS.replace("    resources:\n", more, 1)).parent


def test_plan_refuses_a_migration_under_another_category(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(MigrationDatabase, "applied", lambda _: {})
    monkeypatch.setattr(MigrationDatabase, "check_same", lambda *_: None)
    arguments = [*PLAN, "--folder", str(migrating(tmp_path, monkeypatch))]
    assert main([*arguments, "--category", "application"]) == 1
    assert "would be refused: preview: " in (said := " ".join(capsys.readouterr().out.split()))
    assert "database_schema" in said
    assert main([*arguments, "--category", "database_schema"]) == 0


def test_plan_refuses_what_leads_to_another_database_than_is_backed_up(tmp_path, capsys, monkeypatch):
    def another(*_):
        raise PermanentError("leads to another database")

    monkeypatch.setattr(MigrationDatabase, "check_same", another)
    assert main([*PLAN, "--category", "database_schema", "--folder", str(migrating(tmp_path, monkeypatch))]) == 1
    assert "would be refused: leads to another database" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("    approvals:\n", "    approvals:\n      absent: refuse\n", "approver_absent: too few approvers are there"),
        ('[mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"',
         '[mon], from: "09:00", to: "09:01"', "no window opens before the permit ends"),
        ("        maximum_risk: 60", "        maximum_risk: 1", "is above 1, the most that the standard change"),
    ],
)
def test_plan_refuses_what_a_later_gate_would_refuse_as_things_are(tmp_path, capsys, monkeypatch, old, new, said):
    (tmp_path / "cafe-1.1.bin").write_bytes(b"coffee")
    (tmp_path / "people.yaml").write_text(
        f"absences:\n  - {{person: olga, from: {date.today() - timedelta(2)}, to: {date.today() + timedelta(9)}}}\n")
    assert old in ALWAYS
    text = ALWAYS.replace(old, new)
    if "absent" in new:
        text = text.replace("tier: 2\n", "tier: 2\npeople: ../people.yaml\n")
    folder = write(tmp_path, text).parent
    change = ["--change-type", "standard"] if "risk" in new else []
    monkeypatch.setattr("airlock.commands.plan.utc_now", lambda: datetime(2026, 11, 24, 12, tzinfo=UTC))
    if "absent" in new:
        monkeypatch.undo()
    assert main([*PLAN, *change, "--folder", str(folder)]) == 1
    assert said in " ".join(capsys.readouterr().out.split())


def test_plan_asks_for_the_name_of_a_user_who_has_none(folder, capsys, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)  # as in a container that runs under any number
    assert main(["plan", "cafe", "live", "--version", "1.1", "--folder", str(folder)]) == 2
    assert "give --requester NAME" in capsys.readouterr().err


def test_check_names_faults_of_train_files_too(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "trains").mkdir()
    (tmp_path / "trains" / "weekly.yaml").write_text(
        "train: weekly\ndescription: All.\nowner: team\nenvironment: live\nservices: [{name: cafe}, {name: bar}]\n"
    )
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path / "trains"))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(folder))
    assert main(["services", "check"]) == 2
    said = capsys.readouterr().out
    assert "weekly.yaml:1: services: 'bar' is declared in no right service file with the environment 'live'" in said
    assert "'cafe'" not in said


def test_a_train_is_not_blamed_for_a_service_file_that_is_wrong(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "trains").mkdir()
    (tmp_path / "trains" / "weekly.yaml").write_text(
        "train: weekly\ndescription: All.\nowner: team\nenvironment: live\nservices: [{name: cafe}]\n"
    )
    monkeypatch.setenv("AIRLOCK_TRAINS", str(tmp_path / "trains"))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(folder))
    (folder / "cafe.yaml").write_text((folder / "cafe.yaml").read_text().replace("percent: 10", "percent: 1000"))
    assert main(["services", "check"]) == 2
    said = capsys.readouterr().out
    assert "cafe.yaml" in said and "1 fault(s)" in said and "weekly.yaml" not in said


def test_a_plan_whose_database_cannot_be_asked_counts_as_the_worst(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_OWNER", json.dumps({"conn_type": "postgres", "host": "127.0.0.1", "port": 1}))
    with zipfile.ZipFile(tmp_path / "cafe-1.1.bin", "w") as archive:
        archive.writestr("migrations/0001_note.up.sql", "ALTER TABLE orders ADD COLUMN note text")
    database = "- {name: db, kind: databases, driver: postgres, options: {connection: owner, database: cafe}}"
    migrating = f"    migrations: {{resource: db, connection: owner}}\n    resources:\n      {database}\n"
    folder = write(tmp_path, ALWAYS.replace("    resources:\n", migrating, 1)).parent
    arguments = ["plan", "cafe", "live", "--version", "1.1", "--requester", "rita", "--folder", str(folder), "--json"]
    assert main(arguments) == 0
    plan = Plan.model_validate_json(capsys.readouterr().out)
    assert plan.way_back.verdict == "needs_restore"
    assert "the database cannot be asked" in plan.way_back.reason
    assert next(one for one in plan.risk.factors if one.name == "way back").points > 0


def test_a_service_is_retired_only_when_no_file_declares_it_and_nothing_of_it_is_open(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRLOCK_SERVICES", str(folder))
    cafe = find(folder, "cafe", "live")
    assert main(["services", "retire", "cafe"]) == 2
    last_good.keep(folder, [cafe])
    assert main(["services", "retire", "cafe", "live"]) == 2
    assert "cafe.yaml declares cafe live" in capsys.readouterr().err
    (folder / "cafe.yaml").unlink()
    Release(cafe, "cafe-live-1", "a test").record("rfc")
    assert main(["services", "retire", "cafe"]) == 2
    assert "cafe-live-1 has not ended" in capsys.readouterr().err
    assert last_good.kept(folder) == (cafe,)
    shutil.rmtree(tmp_path / "ledger")
    assert main(["services", "retire", "cafe"]) == 0
    assert last_good.kept(folder) == ()


def test_the_check_blames_the_copy_and_not_what_was_copied(folder, capsys):
    (folder / "billing.yaml").write_text((folder / "cafe.yaml").read_text())
    assert main(["services", "check", str(folder)]) == 2
    said = capsys.readouterr().out
    assert "billing.yaml:1: service: 'cafe'" in said and "cafe.yaml:1:" not in said


def test_the_check_blames_the_newcomer_for_a_target_that_another_service_has(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    last_good.keep(folder, [find(folder, "cafe", "live")])
    for newcomer in ("billing", "zebra"):
        path = folder / f"{newcomer}.yaml"
        path.write_text((folder / "cafe.yaml").read_text().replace("service: cafe", f"service: {newcomer}"))
        assert main(["services", "check", str(folder)]) == 2
        faults = [line for line in capsys.readouterr().out.splitlines() if "a target of its own" in line]
        assert faults and all(line.startswith(f"{path}:") for line in faults)
        path.unlink()
