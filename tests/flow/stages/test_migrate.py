"""Releases that change a real PostgreSQL's schema, by stages: under the permit, once, and back as the plan says."""

from __future__ import annotations

import json
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from airlock.errors import AirlockError, EffectMissing, GateRefused, InvalidInput, PermitInvalid, TemporaryError
from airlock.flow.stages import backup, change, close, conflicts, deploy, migrate, rollback, settle
from airlock.flow.stages.permitted_act import backward, forward
from airlock.flow.stages.release import Release
from airlock.models import Record, utc_now
from airlock.recompute.release import recompute
from airlock.signing import Signer
from sandbox import postgres, shop_database
from tests import service_data
from tests.memory_delivery import in_memory
from tests.real_servers import postgres_server, set_connection
from tests.recompute import flown

__all__ = ["postgres_server"]
ADDS = {"0001_note.up.sql": "ALTER TABLE orders ADD COLUMN note text",
        "0001_note.down.sql": "ALTER TABLE orders DROP COLUMN note",
        "0002_index.up.sql": "CREATE INDEX CONCURRENTLY by_item ON orders (item)",
        "0002_index.down.sql": "DROP INDEX CONCURRENTLY by_item"}  # fmt: skip
RENAMES = {"0001_name.up.sql": "ALTER TABLE orders RENAME COLUMN item TO thing"}
DROPS = {**ADDS, "0003_drop.up.sql": "ALTER TABLE orders DROP COLUMN item"}
SLOW = {"0001_slow.up.sql": "ALTER TABLE orders ADD COLUMN note text; SELECT pg_sleep(30)"}
FAILS = {"0001_note.up.sql": ADDS["0001_note.up.sql"], "0002_fails.up.sql": "ALTER TABLE nowhere ADD COLUMN a int"}
FORM = {"version": "1.1", "change_type": "normal", "title": "Notes", "reason": "They are asked for.", "impact": "low",
        "category": "database_schema", "rollback_plan": "Traffic goes back."}  # fmt: skip
AIRFLOW = "http://127.0.0.1:1"
GOOD = flown.ArmSample(version="-", requests=900, errors=1, latency_p95_ms=20)
BAD = flown.ArmSample(version="-", requests=100, errors=60, latency_p95_ms=21)


@pytest.fixture(autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


@pytest.fixture
def admin(postgres_server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A session on a new database ``cafe`` with a table ``orders`` of two rows."""
    monkeypatch.setenv("PATH", f"{postgres.binaries()}:/usr/bin:/bin")
    shop_database.ensure_role(postgres_server, "owner", "s3cret")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS cafe WITH (FORCE)")
        server.execute("CREATE DATABASE cafe OWNER owner")
    common = {"conn_type": "postgres", "host": "127.0.0.1", "port": postgres_server.port}
    set_connection(monkeypatch, "cafe_admin", login=postgres.ADMIN, password=postgres_server.password, **common)
    set_connection(monkeypatch, "cafe_owner", login="owner", password="s3cret", **common)
    with psycopg.connect(postgres_server.dsn("cafe"), autocommit=True) as session:
        session.execute("CREATE TABLE orders (id serial, item text); ALTER TABLE orders OWNER TO owner")
        session.execute("INSERT INTO orders (item) VALUES ('tea'), ('cake')")
        session.execute("GRANT ALL ON SCHEMA public TO owner")
        yield session


def columns(admin: Any) -> set[str]:
    rows = admin.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0 "
                         "AND NOT attisdropped")
    return {row[0] for row in rows}


def has_index(admin: Any) -> bool:
    return bool(admin.execute("SELECT to_regclass('by_item') IS NOT NULL").fetchone()[0])


def build(folder: Path, version: str, files: dict[str, str]) -> None:
    with zipfile.ZipFile(folder / f"cafe-{version}.bin", "w") as archive:
        archive.writestr("app.py", version)
        for name, text in files.items():
            archive.writestr(f"migrations/{name}", text)


def prepared(
    folder: Path, files: dict[str, str], on_rollback: str = "undo", restored: str = "", samples: tuple[Any, ...] = ()
) -> Release:
    """A release from 1.0 to 1.1, which carries *files*, in a service whose database is backed up."""
    (folder / ".env").write_text("MILK=oat\n")
    flight = flown.prepared(folder, "{}", samples, ())
    for version in ("1.0", "1.1"):
        build(folder, version, files if version == "1.1" else {})
    text = Path(flight.release.environment.source).read_text()
    resource = {"name": "cafe_db", "kind": "databases", "driver": "postgres",
                "options": {"connection": "cafe_admin", "database": "cafe"}}  # fmt: skip
    setting = {"resource": "cafe_db", "connection": "cafe_owner", "on_rollback": on_rollback}
    setting |= {"lock_timeout_seconds": 0.5}
    lines = f"    migrations: {json.dumps(setting)}\n    resources:\n      - {json.dumps(resource)}\n"
    text = text.replace("    resources:\n", lines, 1)
    if restored:
        text = text.replace("key_connection: key,", f"key_connection: key, restore_on_rollback: [{restored}],")
    cafe = service_data.load_file(service_data.write(folder, text))[0]
    release = Release(cafe, "cafe-live-1", "test")
    release.delivery = in_memory(flown.resolve_artifact(cafe, "1.0"))
    release.metrics = flown.GivenMetrics(samples)
    return release


def again(release: Release) -> Release:
    """The release as another process sees it, on the same target."""
    other = Release(release.environment, release.id, "another process")
    other.delivery, other.metrics = release.delivery, release.metrics
    return other


def permitted(release: Release) -> Release:
    """Take the release up to its restore set."""
    release.record("run", dag_id="release.cafe.live", run_id="r", airflow=AIRFLOW)
    change.validate(release, FORM, "rita")
    plan = change.assess(release)
    flown.Flight(release, (("olga", "approve", ""), ("bert", "approve", ""), ("cleo", "approve", "")))._ask()
    assert plan.approvals
    change.permit(release)
    assert not conflicts.begin(release, plan, utc_now())
    for one in plan.resources:
        backup.finish(release, one, backup.start(release, one))
        backup.prove(release, one)
        backup.discard(release, (one,))
    backup.restore_set(release)
    return release


def killed_before_it_was_recorded(release: Release) -> None:
    """Apply the first migration; the database commits, and then the process is gone."""
    planned, migration = migrate.approved(release)[0]
    with forward(release, "migrate", migration=planned.name, digest=planned.up_digest, database="cafe"):
        release.migration_database.apply(migration, release.id)


def back(release: Release) -> None:
    rollback.traffic(release, rollback.needed(release))
    rollback.data(release)
    rollback.verify(release)


def sealed(release: Release) -> tuple[str, str]:
    """Seal the release, check that its evidence gives every decision again, and return its outcome."""
    found = recompute(close.seal(release), [Signer.from_pem(flown.KEY).public_pem])
    assert found.ok, found.differing
    outcome, why = close.outcome(release)
    return outcome.value, why


def of(release: Release, kind: str, subject: str = "") -> list[Record]:
    return [one for one in release.records() if one.type == kind and subject in ("", one.subject)]


def test_the_plan_holds_the_migrations_and_the_verdict(admin: Any, tmp_path: Path) -> None:
    plan = permitted(prepared(tmp_path, DROPS)).plan
    assert [one.name for one in plan.way_back.migrations] == ["0001_note", "0002_index", "0003_drop"]
    assert plan.way_back.verdict == "needs_restore"
    factor = next(one for one in plan.risk.factors if one.name == "way back")
    assert "0003_drop drops column orders.item" in factor.reason
    assert factor.points > 0


def test_a_request_that_hides_what_it_migrates_is_refused(admin: Any, tmp_path: Path) -> None:
    release = prepared(tmp_path, ADDS)
    change.validate(release, {**FORM, "category": "application"}, "rita")
    with pytest.raises(GateRefused, match="touches application, but 1.1 carries database migrations"):
        change.assess(release)
    assert not of(release, "plan")


def test_a_release_migrates_before_its_version_is_staged_and_only_then(
    admin: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    with pytest.raises(GateRefused, match="0001_note is not applied; clear the task deploy.migrate"):
        deploy.stage(release)
    assert columns(admin) == {"id", "item"}
    with caplog.at_level(logging.INFO):
        migrate.migrate(release)
    assert columns(admin) == {"id", "item", "note"}
    assert has_index(admin)
    assert [one.subject for one in of(release, "migrated")] == ["0001_note", "0002_index"]
    assert [one.data["migration"] for one in of(release, "act", "migrate")] == ["0001_note", "0002_index"]
    assert "cafe: 2 migration(s) applied; next: stage the new version" in caplog.text
    assert "s3cret" not in caplog.text
    migrate.migrate(again(release))
    assert len(of(release, "migrated")) == len(of(release, "act", "migrate")) == 2
    deploy.stage(release)


def test_a_database_that_has_all_of_them_is_left_alone(admin: Any, tmp_path: Path) -> None:
    first = permitted(prepared(tmp_path, ADDS))
    migrate.migrate(first)
    back_again = Release(first.environment, "cafe-live-0", "test")
    back_again.delivery = first.delivery
    assert migrate.examine(back_again, first.plan.artifact).migrations == ()


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("files", "on_rollback", "restored", "choice", "there"),
    [
        (ADDS, "undo", "", "undo", {"id", "item"}),
        (ADDS, "keep", "", "keep", {"id", "item", "note"}),
        (ADDS, "undo", "cafe_db", "restore", {"id", "item"}),
        (RENAMES, "undo", "", "human", {"id", "thing"}),
        (RENAMES, "undo", "cafe_db", "restore", {"id", "item"}),
        (DROPS, "undo", "", "human", {"id", "note"}),
        (DROPS, "undo", "cafe_db", "human", {"id", "note"}),
    ],
)
def test_the_way_back_does_what_verdict_and_policy_say(
    admin: Any, tmp_path: Path, files: dict[str, str], on_rollback: str, restored: str, choice: str, there: set[str]
) -> None:
    release = permitted(prepared(tmp_path, files, on_rollback, restored))
    migrate.migrate(release)
    deploy.stage(release)
    admin.execute("UPDATE orders SET id = 7 WHERE id = 1")
    release.record("fault", "canary", message="the canary failed", error="GateRefused")
    dsn, password = admin.info.dsn, admin.info.password
    back(release)
    admin = psycopg.connect(dsn, password=password, autocommit=True)  # a restore ends all connections
    assert of(release, "data_way_back")[0].data["choice"] == choice
    assert columns(admin) == there
    assert has_index(admin) is (choice == "keep")
    assert admin.execute("SELECT count(*) FROM orders WHERE id = 7").fetchone() == (int(choice != "restore"),)
    outcome, why = sealed(release)
    assert (outcome, "a human decides about the data of cafe_db" in why) == ("rolled_back", choice == "human")
    rows = admin.execute("SELECT to_regclass('airlock.migrations')").fetchone()
    if choice == "undo":
        assert admin.execute("SELECT count(*) FROM airlock.migrations").fetchone() == (0,)
    assert (rows == (None,)) is (choice == "restore"), "what was applied goes back with the rest"
    proofs = [one.data["proof"] for one in of(release, "restored")]
    assert [(one["resource"], one["place"], one["ok"]) for one in proofs] == [("cafe_db", "origin", True)] * (
        choice == "restore"
    )


def test_a_way_back_is_not_verified_while_restored_data_is_unproven(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS, "undo", "cafe_db"))
    migrate.migrate(release)
    deploy.stage(release)
    rollback.traffic(release, "it is ill")
    rollback.data(release)
    point = of(release, "restored")[0].data["proof"]["recovery_point"]
    with backward(release, "restore", resource="cafe_db", recovery_point=point):
        pass  # killed in the middle of a second one
    with pytest.raises(EffectMissing, match="cafe_db; clear the task deploy.rollback.data"):
        rollback.verify(release)
    rollback.data(release)
    rollback.verify(release)


def test_a_way_back_that_was_interrupted_goes_on(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    migrate.migrate(release)
    rollback.traffic(release, "it is ill")
    with psycopg.connect(admin.info.dsn, password=admin.info.password) as other:
        other.execute("SELECT * FROM orders FOR UPDATE")
        with pytest.raises(TemporaryError, match="lock timeout"):
            rollback.data(release)
    assert not of(release, "data_way_back")
    rollback.data(again(release))
    rollback.verify(release)
    assert columns(admin) == {"id", "item"}
    assert not has_index(admin)
    assert sealed(release)[0] == "rolled_back"


def test_a_way_back_that_fails_for_good_is_left_to_people_and_the_release_lands(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    migrate.migrate(release)
    admin.execute("CREATE VIEW notes AS SELECT note FROM orders")
    back(release)
    outcome, why = sealed(release)
    assert outcome == "rolled_back"
    assert "a human decides about the data of cafe_db: its way back failed" in why
    assert "note" in columns(admin)


def test_a_migration_that_fails_is_rolled_back_and_the_release_goes_back(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, FAILS))
    with pytest.raises(AirlockError, match=r'relation "nowhere" does not exist') as caught:
        migrate.migrate(release)
    release.record("fault", "deploy.migrate", message=str(caught.value), error="PermanentError")
    assert [one.subject for one in of(release, "migrated")] == ["0001_note"]
    assert deploy.decide(release) == "roll_back"
    back(release)
    assert of(release, "data_way_back")[0].data["applied"] == ["0001_note"]
    outcome, why = sealed(release)
    assert outcome == "rolled_back"
    assert "nowhere" in why


def test_a_lock_that_cannot_be_had_is_tried_again(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    with psycopg.connect(admin.info.dsn, password=admin.info.password) as other:
        other.execute("SELECT * FROM orders FOR UPDATE")
        with pytest.raises(TemporaryError, match="lock timeout"):
            migrate.migrate(release)
    migrate.migrate(again(release))
    assert columns(admin) == {"id", "item", "note"}


def test_settle_lands_a_release_whose_task_was_killed_in_mid_migration(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    killed_before_it_was_recorded(release)
    said = settle.settle(again(release), AIRFLOW, lambda dag, run: settle.RunState.FAILED, utc_now())
    assert said.endswith("settled as rolled_back")
    assert columns(admin) == {"id", "item"}
    assert of(release, "data_way_back")[0].data["choice"] == "undo"


def test_a_retry_after_a_kill_in_mid_migration_goes_on(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    killed_before_it_was_recorded(release)
    migrate.migrate(again(release))
    assert [one.subject for one in of(release, "migrated")] == ["0001_note", "0002_index"]
    assert len([one for one in of(release, "act", "migrate") if one.data["migration"] == "0001_note"]) == 1
    deploy.stage(release)
    back(release)
    assert sealed(release)[0] == "rolled_back"


def test_without_a_permit_nothing_is_migrated(admin: Any, tmp_path: Path) -> None:
    release = prepared(tmp_path, ADDS)
    change.validate(release, FORM, "rita")
    change.assess(release)
    with pytest.raises(PermitInvalid, match="there is no permit"):
        migrate.migrate(release)
    assert columns(admin) == {"id", "item"}


def test_another_migration_than_was_approved_is_refused(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    build(tmp_path, "1.1", {**ADDS, "0001_note.up.sql": "DROP TABLE orders"})
    with pytest.raises(PermitInvalid, match="stale"):
        migrate.migrate(release)
    with pytest.raises(GateRefused, match="the way back is needs_restore now"):
        change.refreeze(release)
    build(tmp_path, "1.1", {**ADDS, "0002_index.up.sql": "CREATE INDEX CONCURRENTLY by_item ON orders (id)"})
    _, plan = change.refreeze(release)
    assert plan.way_back.verdict == "reversible"
    assert columns(admin) == {"id", "item"}


def test_a_migration_that_was_changed_after_it_was_applied_is_refused_before_anybody_is_asked(
    admin: Any, tmp_path: Path
) -> None:
    migrate.migrate(permitted(prepared(tmp_path, ADDS)))
    (tmp_path / "second").mkdir()
    changed = prepared(tmp_path / "second", {**ADDS, "0001_note.up.sql": "ALTER TABLE orders ADD COLUMN note varchar"})
    change.validate(changed, FORM, "rita")
    with pytest.raises(InvalidInput, match="0001_note: was changed after it was applied"):
        change.assess(changed)


def test_what_somebody_else_applied_meanwhile_is_not_taken_for_its_own(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, ADDS))
    release.migration_database.apply(migrate.approved(release)[0][1], "by-hand")
    with pytest.raises(GateRefused, match="applied to cafe by by-hand since the plan was made"):
        migrate.migrate(release)
    assert not of(release, "act")


def test_a_record_of_another_verdict_is_seen(admin: Any, tmp_path: Path) -> None:
    release = permitted(prepared(tmp_path, DROPS))
    sealed_pack = close.seal(release)
    folder = tmp_path / "ledger" / "cafe" / "live" / release.id
    assert folder.is_dir()
    found = recompute(sealed_pack, [Signer.from_pem(flown.KEY).public_pem])
    assert {"way back", "risk"} <= {one.decision for one in found.decisions}
    milder = Release(release.environment, "cafe-live-2", "test")
    data = next(one for one in release.records() if one.type == "plan").data
    safety = {**data["plan"]["way_back"], "verdict": "reversible"}
    for one in release.records():
        if one.type == "plan":
            milder.record("plan", **{**one.data, "plan": {**one.data["plan"], "way_back": safety}})
        elif one.type in ("run", "rfc", "migrations"):
            milder.record(one.type, one.subject, **one.data)
    milder.record("outcome", outcome="refused", why="x")
    seen = recompute(close.seal(milder), [Signer.from_pem(flown.KEY).public_pem])
    differing = {one.decision: one.differences for one in seen.differing}
    assert any("way_back.verdict" in line and "needs_restore" in line for line in differing["way back"])
