"""Two releases and one real resource: shown to approvers, kept out from start to seal, decided again from records."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from airlock.change.approval import rules_for
from airlock.change.conflicts import UNDER_WAY, WAITS
from airlock.change.planning import build_plan
from airlock.change.rfc import rfc_from_form
from airlock.change.risk import assess
from airlock.change.risk_policy import load_risk_policy
from airlock.deploy.resolution import resolve_artifact
from airlock.errors import EvidenceInvalid, GateRefused, TemporaryError
from airlock.evidence.ledger import SEAL
from airlock.evidence.pack import verify
from airlock.evidence.stored import parse_stored, record_name, stored_bytes
from airlock.flow.stages import conflicts
from airlock.flow.stages.release import Release
from airlock.models import Plan, utc_now
from airlock.recompute import conflicts as recomputed
from airlock.recompute.history import Entry, History
from airlock.service.reading import load_file
from tests.flow.operators.test_approval import FORM
from tests.service_data import TEXT, write

ALWAYS = ('[mon, tue], from: "09:00", to: "17:00"', '[mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"')
DATABASE = ("postgresql://127.0.0.1:5432/shop", "vault://127.0.0.1:8200/secret/shop")


def release_of(folder: Path, service: str, touches: tuple[str, ...], policy: str = "wait") -> tuple[Release, Plan]:
    """A release of *service* with a plan; its ledger lies beside those of the others."""
    (folder / "cafe-1.1.bin").write_bytes(b"oat milk")
    text = TEXT.replace(*ALWAYS).replace("service: cafe", f"service: {service}")
    text = text.replace("    approvals:\n", f"    approvals:\n      conflicts: {policy}\n")
    where = load_file(write(folder, text, f"{service}.yaml"))[0]
    rfc, now = rfc_from_form(FORM, "rita", where), utc_now()
    risk = assess(rfc, where, {"now": now, "current_version": "1.0"}, load_risk_policy())
    identity = f"{service}-1"
    plan = build_plan(identity, rfc, where, resolve_artifact(where, "1.1"), "1.0", rules_for(risk, rfc, where), risk,
                      touches)
    release = Release(where, identity, "test")
    release.record("rfc", rfc=rfc.model_dump(mode="json"))
    release.record("plan", plan=plan.model_dump(mode="json"), digest=plan.digest)
    conflicts.register(release, plan, WAITS, now)
    return release, plan


def seal(release: Release) -> None:
    (Path(release.environment.ledger) / release.environment.service / "live" / release.id / SEAL).write_text("{}")


def test_releases_that_wait_are_shown_to_approvers_and_hinder_nobody(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", DATABASE[:1])
    lines = dict(conflicts.note(till, other, utc_now()))["Conflicts"]
    assert "shop-1 (shop 1.1 to live) waits since" in lines[0]
    assert "postgresql://127.0.0.1:5432/shop" in lines[0]
    assert conflicts.begin(till, other, utc_now()) == ()
    assert [one.state for one in conflicts.seen(shop, plan)] == [UNDER_WAY]


def test_the_second_waits_until_the_first_is_sealed(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", (DATABASE[0], "file:///srv/till"))
    assert conflicts.begin(shop, plan, utc_now()) == ()
    assert conflicts.begin(shop, plan, utc_now()) == (), "a task that is tried again goes on with what it holds"
    conflicts.check_held(shop, "stage")
    for _ in range(3):
        (found,) = conflicts.begin(till, other, utc_now())
        assert (found.release, found.state, found.shared) == ("shop-1", UNDER_WAY, DATABASE[:1])
        with pytest.raises(TemporaryError, match="conflict: no stage: shop-1"):
            conflicts.check_held(till, "stage")
    (said,) = till.recorded("conflict")
    assert said.data["code"] == "conflict"
    assert said.data["slots"][0].startswith("not ")
    assert any(line.startswith("free: ") for line in said.data["slots"])
    seal(shop)
    assert conflicts.begin(till, other, utc_now()) == ()
    conflicts.check_held(till, "stage")


def test_the_second_is_refused_where_the_policy_says_so(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", DATABASE, "refuse")
    conflicts.begin(shop, plan, utc_now())
    with pytest.raises(GateRefused, match="conflict: shop-1 .* under way since .*Next times: "):
        conflicts.begin(till, other, utc_now())
    with pytest.raises(GateRefused, match="conflict: no stage"):
        conflicts.check_held(till, "stage")


def test_what_lies_in_what_another_holds_is_kept_out_too(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", ("vault://v:8200/secret",))
    till, other = release_of(tmp_path, "till", ("vault://v:8200/secret/till",))
    conflicts.begin(shop, plan, utc_now())
    (found,) = conflicts.begin(till, other, utc_now())
    assert found.shared == ("vault://v:8200/secret",)


def test_what_is_disjoint_goes_on_side_by_side(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", ("file:///srv/till",))
    assert conflicts.begin(shop, plan, utc_now()) == conflicts.begin(till, other, utc_now()) == ()


def test_every_look_is_computed_again_and_an_altered_one_is_found(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", DATABASE)
    conflicts.note(till, other, utc_now())
    conflicts.begin(shop, plan, utc_now())
    conflicts.begin(till, other, utc_now() + timedelta(seconds=1))
    seal(shop)
    conflicts.begin(till, other, utc_now())
    records = till.records()
    history = History(tuple(Entry(n, f"r{n}", one) for n, one in enumerate(records, 1)), "", None)
    found = list(recomputed.decisions(history))
    assert [one.decision for one in found] == ["conflicts", "conflicts", "resources held"]
    assert not [one.differences for one in found if one.differences]
    forged = [one.model_copy(update={"data": {**one.data, "code": "clear", "found": []}})
              if one.type == "conflict" else one for one in records]
    history = History(tuple(Entry(n, f"r{n}", one) for n, one in enumerate(forged, 1)), "", None)
    assert [bool(one.differences) for one in recomputed.decisions(history)] == [False, True, False]


def unheld(folder: Path, *names: str) -> None:
    """Remove what is not signed: somebody can who writes the ledger's folder."""
    for name in names:
        shutil.rmtree(folder / "ledger" / name)


@pytest.mark.parametrize("names", [(".held",), (".open",), (".held", ".open")])
def test_whoever_removes_the_index_frees_nothing(tmp_path: Path, names: tuple[str, ...]) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", DATABASE)
    assert conflicts.begin(shop, plan, utc_now()) == ()
    unheld(tmp_path, *names)
    (found,) = conflicts.begin(till, other, utc_now())
    assert (found.release, found.state, found.shared) == ("shop-1", UNDER_WAY, DATABASE)
    with pytest.raises(TemporaryError, match="conflict: no stage: shop-1"):
        conflicts.check_held(till, "stage")
    conflicts.check_held(shop, "stage")
    assert len(shop.recorded("hold_removed")) == (".held" in names)
    conflicts.check_held(shop, "stage")
    seal(shop)
    assert conflicts.begin(till, other, utc_now()) == ()


def test_what_lies_in_a_held_thing_stays_held_without_the_index(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", ("vault://v:8200/secret",))
    till, other = release_of(tmp_path, "till", ("vault://v:8200/secret/till",))
    conflicts.begin(shop, plan, utc_now())
    unheld(tmp_path, ".held", ".open")
    (found,) = conflicts.begin(till, other, utc_now())
    assert found.shared == ("vault://v:8200/secret",)


def test_an_index_that_says_another_thing_than_the_record_is_not_believed(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", DATABASE)
    conflicts.begin(shop, plan, utc_now())
    (entry,) = (tmp_path / "ledger/.open").glob("shop.*")
    entry.write_text(entry.read_text().replace("under way", "waits").replace("postgresql", "nothing"))
    for number in (tmp_path / "ledger/.held").glob("*/*"):
        number.write_text('{"environment": "live", "release": "", "service": "shop"}')
    (found,) = conflicts.begin(till, other, utc_now())
    assert (found.state, found.shared) == (UNDER_WAY, DATABASE)


def test_a_hold_on_record_that_was_altered_stops_others_instead_of_freeing_it(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    till, other = release_of(tmp_path, "till", DATABASE)
    conflicts.begin(shop, plan, utc_now())
    unheld(tmp_path, ".held", ".open")
    folder = Path(str(shop.ledger.release_folder(shop.id)))
    (path,) = folder.glob("*-hold_resources-*")
    record = parse_stored(path.read_bytes(), path.name).record
    path.unlink()
    forged = record.model_copy(update={"data": {**record.data, "touches": []}})
    (folder / record_name(forged)).write_bytes(stored_bytes(forged, (), None))
    with pytest.raises(EvidenceInvalid, match="is not signed"):
        conflicts.begin(till, other, utc_now())


def test_two_that_both_hold_by_their_records_do_not_wait_for_each_other(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", ("vault://v:8200/secret",))
    till, other = release_of(tmp_path, "till", ("vault://v:8200/secret/till",))
    conflicts.begin(shop, plan, utc_now())
    later = utc_now() + timedelta(seconds=1)
    till.record("hold_resources", at=later.isoformat(), touches=list(other.touches))
    conflicts.check_held(shop, "stage")
    with pytest.raises(TemporaryError, match="conflict: no stage: shop-1"):
        conflicts.check_held(till, "stage")


def test_the_check_of_the_ledger_names_a_hold_that_is_free_in_the_index(tmp_path: Path) -> None:
    shop, plan = release_of(tmp_path, "shop", DATABASE)
    conflicts.begin(shop, plan, utc_now())
    keys = [shop.signer.public_pem]
    assert verify(tmp_path / "ledger", keys).problems == ()
    unheld(tmp_path, ".held")
    found = verify(tmp_path / "ledger", keys).problems
    assert [DATABASE[number] in one and "says nobody" in one for number, one in enumerate(found)] == [True, True]
