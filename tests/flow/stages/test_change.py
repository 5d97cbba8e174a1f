"""Standard and emergency changes through the stages of the flow, and what earlier ones leave to later ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airlock.commands.main import main
from airlock.errors import GateRefused
from airlock.flow.stages import change
from airlock.models import Outcome, Record, utc_now
from airlock.past import changes, debts, ledgers
from airlock.recompute.release import recompute
from tests.recompute import flown
from tests.recompute.test_release import BAD, GOOD, SIGNER, explained

STANDARD = {"version": "1.1", "change_type": "standard"}
EMERGENCY = {
    "version": "1.1", "change_type": "emergency", "title": "Put out the fire", "reason": "The kitchen burns.",
    "impact": "low", "rollback_plan": "All traffic goes back to 1.0.", "incident": "INC-7",
    "justification": "Guests are inside.", "users": "nobody", "tested": "production_like", "done_before": "often",
    "downtime": "none",
}
URGENT = ("      high: {service_owner: 1, board: 2}", "      high: {service_owner: 1, board: 2}\n"
          "      emergency: {service_owner: 1}")


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def fly(folder: Path, name: str, form: dict[str, Any], good: bool = True) -> flown.Flight:
    """A release of 1.1, whose content is another one for each *name*: it was built anew."""
    samples = (GOOD,) * 12 if good else (BAD,) * 4
    flight = flown.prepared(folder, "{}", samples, (("olga", "approve", ""),), name)
    (folder / "cafe-1.1.bin").write_text(name[-3:])
    flight.carry_out(form)
    return flight


def outcome(flight: flown.Flight) -> tuple[str, str]:
    found = flight.release.latest("outcome") or {}
    return found["outcome"], found["why"]


def test_a_template_that_failed_twice_is_refused_until_a_human_restores_it(tmp_path, monkeypatch, capsys):
    assert [outcome(fly(tmp_path, f"cafe-live-{n}", STANDARD, good=False))[0] for n in (1, 2)] == ["rolled_back"] * 2
    refused = fly(tmp_path, "cafe-live-3", STANDARD)
    assert outcome(refused)[0] == "refused"
    assert "suspended itself" in outcome(refused)[1] and "cafe-live-1, cafe-live-2" in outcome(refused)[1]
    again = recompute(tmp_path / "evidence/cafe-live-3.zip", [SIGNER.public_pem])
    assert again.ok and "standard change" in {one.decision for one in again.decisions}, explained(again)

    services = str(tmp_path / "services")
    assert main(["standard-change", "list", "cafe", "--folder", services]) == 1
    assert "suspended" in capsys.readouterr().out
    restore = ["standard-change", "restore", "cafe", "live", "regular", "--folder", services, "--reason"]
    for reason, person, code in (("because", "olga", 2), ("The test was mended.", "mallory", 2),
                                 ("The test was mended.", "olga", 0), ("The test was mended.", "olga", 1)):
        assert main([*restore, reason, "--by", person]) == code
    assert "is not suspended" in capsys.readouterr().err
    assert main(["standard-change", "list", "cafe", "live", "--folder", services]) == 0
    assert outcome(fly(tmp_path, "cafe-live-4", STANDARD))[0] == "promoted"
    found = recompute(tmp_path / "evidence/cafe-live-4.zip", [SIGNER.public_pem])
    assert found.ok, explained(found)


def test_a_restoration_that_was_altered_is_not_believed(tmp_path):
    flight = fly(tmp_path, "cafe-live-1", STANDARD)
    environment = flight.release.environment
    ledger = ledgers.stream(environment, ledgers.STANDARD_CHANGES)
    forged = ledgers.stream(environment, ledgers.STANDARD_CHANGES)
    forged._signer = None
    forged.append(Record(release="regular", type="restored", at=utc_now(), actor="olga", data={
        "restoration": {"person": "olga", "at": utc_now().isoformat(), "reason": "I say so, please believe it"}}))
    with pytest.raises(Exception, match="is not signed"):
        changes.restored(ledger, "regular")


def emergency(folder: Path, name: str = "cafe-live-1", *, content: bytes = b"1.1") -> flown.Flight:
    (folder / "services").mkdir(exist_ok=True)
    flight = flown.prepared(folder, "{}", (GOOD,) * 12, (("olga", "approve", "it burns"),), name)
    text = (folder / "services/cafe.yaml").read_text().replace(*URGENT)
    (folder / "services/cafe.yaml").write_text(text)
    (folder / "cafe-1.1.bin").write_bytes(content)
    release = flight.release
    release.environment = flown.service_data.load_file(folder / "services/cafe.yaml")[0]
    flight.carry_out(EMERGENCY)
    return flight


def test_an_emergency_that_landed_is_a_debt_of_its_team_which_stops_standard_changes(tmp_path, monkeypatch):
    flight = emergency(tmp_path)
    assert outcome(flight)[0] == "promoted"
    again = recompute(tmp_path / "evidence/cafe-live-1.zip", [SIGNER.public_pem])
    assert again.ok and "approval afterwards" in {one.decision for one in again.decisions}, explained(again)
    (debt,) = debts.debts_of_team(tmp_path / "services", "cafe-team")
    assert (debt.release, debt.incident) == ("cafe-live-1", "INC-7")
    assert debt.due_at - debt.landed_at == timedelta(hours=72)
    assert {rule.group for rule in debt.approvals} >= {"service_owner"}
    assert debts.debts_of_team(tmp_path / "services", "another team") == ()

    def refusal_of_standard(later: timedelta) -> str:
        flight = flown.prepared(tmp_path, "{}", (), (), f"cafe-live-{later.days + 10}")
        flight.release.environment = debts_environment(tmp_path)
        change.validate(flight.release, {**STANDARD, "version": "1.1"}, "rita")
        monkeypatch.setattr(change, "utc_now", lambda: utc_now() + later)
        try:
            change.assess(flight.release)
        except GateRefused as error:
            return str(error)
        return ""

    assert refusal_of_standard(timedelta(days=2)) == ""
    said = refusal_of_standard(timedelta(days=4))
    assert said.startswith("cafe-team makes no standard change") and "cafe-live-1 (incident INC-7)" in said
    follow_up = ledgers.stream(flight.release.environment, ledgers.FOLLOW_UP)
    follow_up.append(Record(release="cafe-live-1", type=debts.PAID, at=utc_now(), actor="test", data={}))
    assert debts.debts_of_team(tmp_path / "services", "cafe-team") == ()
    assert refusal_of_standard(timedelta(days=5)) == ""


def debts_environment(folder: Path):
    return flown.service_data.load_file(folder / "services/cafe.yaml")[0]


def test_a_wrong_file_of_the_team_refuses_and_one_of_another_team_does_not(tmp_path):
    flown.prepared(tmp_path, "{}", (), ())
    (tmp_path / "services/other.yaml").write_text("service: other\nowner: another-team\ntier: 9\n")
    assert debts.debts_of_team(tmp_path / "services", "cafe-team") == ()
    for text in ("service: other\nowner: cafe-team\n", "service: [", "service: other\n"):
        (tmp_path / "services/other.yaml").write_text(text)
        with pytest.raises(GateRefused, match="is not known"):
            debts.debts_of_team(tmp_path / "services", "cafe-team")


@pytest.mark.parametrize("line", [
    "owner: cafe-team", "owner: 'cafe-team'", "owner: cafe-team # people", "owner:\n  cafe-team", '"owner": cafe-team',
    "owner: ${AIRLOCK_TEAM}", "owner: &team cafe-team", "owner: cafe-team\n", "owner: >-\n  cafe-team",
])
def test_a_debt_of_another_service_counts_however_its_owner_is_written(tmp_path, monkeypatch, line):
    monkeypatch.setenv("AIRLOCK_TEAM", "cafe-team")
    emergency(tmp_path)
    file = tmp_path / "services/cafe.yaml"
    text = file.read_text()
    assert "owner: cafe-team\n" in text
    file.write_text(text.replace("owner: cafe-team", line))
    assert len(debts.debts_of_team(tmp_path / "services", "cafe-team")) == 1
    file.write_text(text.replace("owner: cafe-team", "owner: cafe-team-of-old"))
    assert debts.debts_of_team(tmp_path / "services", "cafe-team") == ()


def test_history_and_drills_of_earlier_releases_are_facts_of_the_next(tmp_path):
    fly(tmp_path, "cafe-live-1", STANDARD)
    fly(tmp_path, "cafe-live-2", STANDARD, good=False)
    third = fly(tmp_path, "cafe-live-3", STANDARD)
    facts = (third.release.latest("plan") or {})["facts"]
    assert [(one["release"], one["outcome"]) for one in facts["history"]] == [
        ("cafe-live-2", "rolled_back"), ("cafe-live-1", "promoted")]
    assert set(facts["restore_drills"]) == {"configuration.settings"}
    risk = {factor.name: factor for factor in third.release.plan.risk.factors}
    assert risk["history"].points == 8 and "1 of 2" in risk["history"].reason
    assert risk["restore drills"].points == 0
    assert risk["artifact size"].points == 0
    table = [one.outcome for one in changes.past_changes(ledgers.releases(third.release.environment))]
    assert table == [Outcome.PROMOTED, Outcome.ROLLED_BACK, Outcome.PROMOTED]


def test_a_history_that_was_tampered_with_raises_the_risk(tmp_path):
    first = fly(tmp_path, "cafe-live-1", STANDARD)
    for path in (tmp_path / "ledger/cafe/live/cafe-live-1").glob("*-outcome-*"):
        path.write_bytes(path.read_bytes().replace(b"promoted", b"skippedd"))
    assert first.release.environment is not None
    second = flown.prepared(tmp_path, "{}", (), (), "cafe-live-2")
    change.validate(second.release, {**STANDARD, "change_type": "normal", "title": "Oat milk", "reason": "Guests ask.",
                                     "impact": "low", "rollback_plan": "All traffic goes back."}, "rita")
    plan = change.assess(second.release)
    risk = {factor.name: factor for factor in plan.risk.factors}
    assert risk["history"].points == 15 and "unknown" in risk["history"].reason


def test_the_reliability_of_scores_is_printed_from_the_ledgers(tmp_path, capsys):
    fly(tmp_path, "cafe-live-1", STANDARD)
    fly(tmp_path, "cafe-live-2", STANDARD, good=False)
    assert main(["risk", "reliability", "cafe", "live", "--folder", str(tmp_path / "services")]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 changes failed" in said and "concordance" in said
