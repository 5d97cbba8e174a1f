"""A release meets its calendar: closed, overridden by approval, stopped by an incident; all of it is computed again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from airlock.change.text import approval_text
from airlock.deploy.progress import CanaryProgress
from airlock.errors import CalendarClosed, GateRefused, PermitInvalid, TemporaryError
from airlock.flow.stages import backup, change, deploy
from airlock.flow.stages.calendar_gate import calendar_section, held_until
from airlock.models import utc_now
from airlock.recompute.release import recompute
from tests.recompute import flown
from tests.recompute.test_release import FORM, GOOD, SIGNER, YES, explained, forged, put

FREEZE = "      freezes: [{name: year end, from: 2000-01-01, to: 2100-01-01}]\n"
OVERRIDE = FORM | {"calendar_override": "Customers cannot pay until this is out."}


@pytest.fixture(scope="module", autouse=True)
def keys() -> Iterator[None]:
    with flown.keys():
        yield


def flight(folder: Path, calendar: str, answers=YES) -> flown.Flight:
    return flown.prepared(folder, "{}", (GOOD,) * 12, answers, calendar=calendar)


def approved(one: flown.Flight, form=FORM) -> None:
    release = one.release
    change.validate(release, form, "rita")
    change.assess(release)
    one._ask()
    change.permit(release)
    for resource in release.environment.resources:
        backup.finish(release, resource, backup.start(release, resource))
        backup.prove(release, resource)
    backup.restore_set(release)


def test_every_step_forward_asks_and_a_closed_calendar_stops_it(tmp_path):
    one = flight(tmp_path, FREEZE)
    approved(one)
    with pytest.raises(CalendarClosed, match="freeze 'year end'"):
        deploy.stage(one.release)
    assert one.release.recorded("act") == ()
    title, lines = calendar_section(one.release, utc_now())
    assert title == "Calendar" and "freeze 'year end'" in lines[0]


def test_nobody_can_override_where_the_calendar_names_nobody(tmp_path):
    one = flight(tmp_path, FREEZE)
    change.validate(one.release, OVERRIDE, "rita")
    with pytest.raises(GateRefused, match="override_by"):
        change.assess(one.release)


def test_an_approved_override_carries_the_release_and_is_computed_again(tmp_path):
    one = flight(tmp_path, FREEZE + "      override_by: {board: 2}\n")
    pack = one.carry_out(OVERRIDE)
    release = one.release
    assert release.latest("outcome")["outcome"] == "promoted", release.latest("fault")
    plan = release.plan
    assert plan.calendar["overridden"] == [{"code": "frozen", "name": "year end"}]
    assert {rule.group: rule.quorum for rule in plan.approvals}["board"] >= 2
    text = approval_text(plan)
    assert "OVERRIDE OF THE CALENDAR" in text and "frozen 'year end'" in text and "Customers cannot pay" in text
    asked = {record.subject for record in release.recorded("calendar")}
    assert {"assess", "stage", "shift", "promote", "retire"} <= asked
    found = recompute(pack, [SIGNER.public_pem])
    assert found.ok, explained(found)


def test_a_standard_change_that_overrides_asks_people_all_the_same(tmp_path):
    one = flight(tmp_path, FREEZE + "      override_by: {board: 1}\n", answers=())
    form = {"version": "1.1", "change_type": "standard", "calendar_override": OVERRIDE["calendar_override"]}
    change.validate(one.release, form, "rita")
    plan = change.assess(one.release)
    assert [(rule.group, rule.quorum) for rule in plan.approvals] == [("board", 1)]
    assert not plan.terms.evidence
    with pytest.raises(GateRefused, match="nobody was asked"):
        change.permit(one.release)


def test_an_incident_that_opens_holds_the_next_step_and_is_asked_again(tmp_path):
    path = tmp_path / "incidents.json"
    path.write_text('{"open": []}')
    signal = f"{{name: file, closes: incident, options: {{path: {path}}}}}"
    one = flight(tmp_path, f"      signals: [{signal}]\n")
    approved(one)
    deploy.stage(one.release)
    now = utc_now()
    assert held_until(one.release, "shift, step 1", now) is None
    path.write_text(json.dumps({"open": [{"id": "INC-7", "title": "Checkout is down"}]}))
    assert held_until(one.release, "shift, step 1", now) == now + timedelta(minutes=1)
    assert held_until(one.release, "shift, step 1", now + timedelta(minutes=1)) == now + timedelta(minutes=2)
    holds = one.release.recorded("hold")
    assert [record.data["code"] for record in holds] == ["incident"], "on record once, however long it lasts"
    with pytest.raises(CalendarClosed, match="INC-7"):
        deploy.shift(one.release, CanaryProgress())
    path.unlink()
    with pytest.raises(TemporaryError, match="cannot be read"):
        deploy.shift(one.release, CanaryProgress())
    path.write_text('{"open": []}')
    deploy.shift(one.release, CanaryProgress())


def test_a_calendar_file_that_changes_makes_the_permit_stale_and_says_what_changed(tmp_path):
    path = tmp_path / "company.ics"
    event = ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Inventory\r\n"
             "DTSTART;VALUE=DATE:20300101\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    path.write_text(event)
    one = flight(tmp_path, f"      files: [{{name: company, path: {path}}}]\n")
    approved(one)
    deploy.stage(one.release)
    path.write_text(event.replace("20300101", "20300202"))
    with pytest.raises(PermitInvalid, match=r"Inventory.*20300101.*20300202"):
        deploy.shift(one.release, CanaryProgress())
    path.unlink()
    with pytest.raises(TemporaryError, match="calendar file 'company'"):
        deploy.shift(one.release, CanaryProgress())


@pytest.mark.parametrize(
    ("kind", "subject", "change", "decision", "field"),
    [
        ("calendar", "shift", put("code", value="frozen"), "calendar", "code"),
        ("calendar", "shift", put("at", value="2026-01-01T00:00:00+00:00"), "act after its gate", "not in the moment"),
        ("calendar", "promote", put("basis", "answers", value=[]), "calendar", "not every file and signal"),
        ("calendar", "stage", put("basis", "answers", 0, "unreadable", value="timeout"), "calendar", "code"),
        ("plan", None, put("plan", "calendar", "overridden", value=[]), "calendar", "overridden"),
    ],
)
def test_a_forged_answer_of_the_calendar_is_named(overriding, kind, subject, change, decision, field):
    found = forged(overriding, kind, change, subject)
    assert not found.ok
    named = [text for one in found.differing if one.decision == decision for text in one.differences]
    assert any(field in text for text in named), explained(found)


@pytest.fixture(scope="module")
def overriding(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("overriding")
    (folder / "incidents.json").write_text('{"open": []}')
    signal = f"{{name: file, closes: incident, options: {{path: {folder}/incidents.json}}}}"
    one = flight(folder, f"{FREEZE}      override_by: {{board: 1}}\n      signals: [{signal}]\n")
    one.carry_out(OVERRIDE)
    return folder
