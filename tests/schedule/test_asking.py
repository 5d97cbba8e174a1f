"""A calendar with everything in it: files, holidays, maintenance, signals; and the same decision from what was kept."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.change.difference import differences
from airlock.errors import AirlockError, InvalidInput
from airlock.schedule.asking import Basis, again, ask, planned, slots
from airlock.schedule.icalendar import file as icalendar_file
from airlock.service.calendar import Calendar, ClosureName, PlannedCalendar
from airlock.service.values import DAYS

BERLIN = ZoneInfo("Europe/Berlin")
WHOLE_WEEK = [{"days": list(DAYS), "from": "00:00", "to": "24:00"}]


def at(text):
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=BERLIN)


def calendar(**settings):
    return Calendar.model_validate({"timezone": "Europe/Berlin", "windows": WHOLE_WEEK} | settings)


def ics(path, *events, begin="BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n"):
    bodies = "".join(f"BEGIN:VEVENT\r\n{event.strip()}\r\nEND:VEVENT\r\n".replace("\n", "\r\n").replace("\r\r", "\r")
                     for event in events)
    path.write_bytes(f"{begin}{bodies}END:VCALENDAR\r\n".encode())
    return {"name": "company", "path": str(path)}


def asked(when, moment, **more):
    found = ask(when, "shop", "prod", at(moment), **more)
    kept = Basis.model_validate(json.loads(json.dumps(found.as_record()["basis"])))
    assert again(when, found.at, kept, more.get("incident")) == found.decision, "the basis alone must give the same"
    return found.decision


PAYDAY = """UID:pay
SUMMARY:Payday
DTSTART;VALUE=DATE:20260125
RRULE:FREQ=MONTHLY;BYMONTHDAY=25
EXDATE;VALUE=DATE:20261125"""
HOURS = """UID:hours
SUMMARY:Good hours
CATEGORIES:Window
DTSTART;TZID=Europe/Berlin:20260105T090000
DTEND;TZID=Europe/Berlin:20260105T170000
RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"""


def test_whole_days_recurrences_and_exceptions_of_a_file(tmp_path):
    when = calendar(files=[ics(tmp_path / "a.ics", PAYDAY)])
    decision = asked(when, "2026-12-25T00:00")
    assert (decision.code, decision.next_open) == ("frozen", at("2026-12-26T00:00"))
    assert "freeze 'Payday', which ends Sat 26 Dec 2026 00:00" in decision.sentence
    assert asked(when, "2026-11-25T12:00").open, "an exception of the recurrence"
    assert asked(when, "2026-12-24T23:59:59").open


def test_windows_of_a_file_keep_their_local_hours_across_daylight_saving(tmp_path):
    when = calendar(windows=[], files=[ics(tmp_path / "a.ics", HOURS)])
    found = slots(when, at("2026-10-22T00:00"), 4)
    assert [slot.start.astimezone(BERLIN).strftime("%a %H:%M %z") for slot in found] == [
        "Thu 09:00 +0200", "Fri 09:00 +0200", "Mon 09:00 +0100", "Tue 09:00 +0100",
    ]
    assert asked(when, "2026-10-24T12:00").code == "outside_window"


def test_times_without_a_zone_and_other_zones(tmp_path):
    floating = "UID:1\nSUMMARY:Floating\nDTSTART:20260701T100000\nDURATION:PT1H"
    utc = "UID:2\nSUMMARY:Utc\nDTSTART:20260702T100000Z\nDTEND:20260702T110000Z"
    files = ics(tmp_path / "a.ics", floating, utc)
    assert asked(calendar(files=[files]), "2026-07-01T10:30+02:00").code == "frozen"
    assert asked(calendar(files=[files]), "2026-07-02T10:30+00:00").code == "frozen"
    abroad = files | {"timezone": "America/New_York"}
    assert asked(calendar(files=[abroad]), "2026-07-01T10:30-04:00").code == "frozen"
    assert asked(calendar(files=[abroad]), "2026-07-01T10:30+02:00").open


@pytest.mark.parametrize(
    ("event", "setting", "code"),
    [
        ("CATEGORIES:Maintenance", {}, "maintenance"),
        ("CATEGORIES:BLACKOUT", {}, "blackout"),
        ("CATEGORIES:Team,Moratorium", {"categories": {"moratorium": "freeze"}, "events": "ignore"}, "frozen"),
        ("CATEGORIES:Birthday", {}, "frozen"),
        ("CATEGORIES:Birthday", {"events": "ignore"}, "open"),
        ("CATEGORIES:Window,Freeze", {}, "frozen"),
        ("STATUS:CANCELLED", {}, "open"),
    ],
)
def test_what_an_event_means(tmp_path, event, setting, code):
    text = f"UID:1\nSUMMARY:x\nDTSTART;VALUE=DATE:20260701\n{event}"
    assert asked(calendar(files=[ics(tmp_path / "a.ics", text) | setting]), "2026-07-01T12:00").code == code


BROKEN = [
    "UID:1\nSUMMARY:Party\nDTSTART:yesterday",
    "UID:1\nSUMMARY:Party",
    "UID:1\nSUMMARY:Party\nDTSTART:20260701T100000Z\nRRULE:FREQ=SECONDLY",
    "UID:1\nSUMMARY:Party\nDTSTART:20260701T100000Z\nRRULE:FREQ=DAILY;BYSECOND=1,2,3",
    "UID:1\nSUMMARY:Party\nDTSTART:20260701T100000Z\nRRULE:FREQ=SOMETIMES",
    "UID:1\nSUMMARY:Party\nDTSTART;VALUE=DATE:18000101",
]


@pytest.mark.parametrize("event", BROKEN)
def test_an_event_without_sense_closes_the_calendar_and_stops_a_plan(tmp_path, event):
    when = calendar(files=[ics(tmp_path / "a.ics", event)])
    decision = asked(when, "2026-11-23T12:00")
    assert (decision.open, decision.code) == (False, "unreadable"), decision.sentence
    assert decision.look_again is not None and slots(when, at("2026-11-23T12:00"), 3) == ()
    with pytest.raises(InvalidInput):
        planned(when)


@given(raw=st.binary(max_size=300) | st.text(max_size=300).map(
    lambda text: f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{text}\r\nEND:VEVENT\r\nEND:VCALENDAR".encode()))
def test_no_file_ends_in_a_stack_trace(tmp_path_factory, raw):
    path = tmp_path_factory.mktemp("ics") / "a.ics"
    path.write_bytes(raw)
    when = calendar(files=[{"name": "company", "path": str(path)}])
    ask(when, "shop", "prod", at("2026-11-23T12:00"))
    try:
        planned(when)
    except AirlockError as error:
        assert "\n" not in str(error)


def test_a_changed_file_differs_readably_and_is_not_the_one_that_was_approved(tmp_path):
    path = tmp_path / "a.ics"
    before = planned(calendar(files=[ics(path, PAYDAY)]))
    ics(path, PAYDAY.replace("=25", "=24"))
    after = planned(calendar(files=[{"name": "company", "path": str(path)}]))
    lines = differences(before.model_dump(mode="json"), after.model_dump(mode="json"))
    assert any("Payday" in line and "BYMONTHDAY=2" in line for line in lines), lines
    assert any("files.company.digest" in line for line in lines)
    decision = asked(before, "2026-11-23T12:00")
    assert decision.code == "unreadable" and "not as it was approved" in decision.sentence
    assert PlannedCalendar.model_validate(before.model_dump(mode="json", by_alias=True)) == before


def test_public_holidays_blackouts_and_maintenance():
    when = calendar(
        holidays=[{"country": "DE", "subdivision": "BE"}],
        blackout_dates=["2026-12-24", {"date": "2026-12-31", "name": "closing of the books"}],
        maintenance={"weekly": [{"name": "storage", "days": ["sun"], "from": "02:00", "to": "04:00"}],
                     "once": [{"name": "move", "from": "2026-11-24T10:00", "to": "2026-11-24T11:00"}]},
    )
    assert asked(when, "2026-12-25T12:00").code == "holiday"
    assert "Christmas Day (DE-BE)" in asked(when, "2026-12-25T12:00").sentence
    assert asked(when, "2026-12-24T12:00").next_open == at("2026-12-27T00:00")
    assert "'closing of the books'" in asked(when, "2026-12-31T12:00").sentence
    assert asked(when, "2026-11-24T10:59").code == "maintenance"
    assert asked(when, "2026-11-29T03:00").code == "maintenance"
    with pytest.raises(ValueError, match="no public holidays are known"):
        calendar(holidays=[{"country": "XX"}])


# --- signals ----------------------------------------------------------------------------------------------------------


def incidents(path, **options):
    return calendar(signals=[{"name": "file", "closes": "incident", "options": {"path": str(path)} | options}])


def test_an_open_incident_stops_the_line_but_not_the_change_that_mends_it(tmp_path):
    path = tmp_path / "incidents.json"
    path.write_text(json.dumps({"open": [{"id": "INC-7", "title": "Checkout is down"}]}))
    decision = asked(incidents(path), "2026-11-23T12:00")
    assert (decision.code, decision.next_open) == ("incident", None)
    assert decision.look_again == at("2026-11-23T12:01") and "Checkout is down" in decision.sentence
    assert asked(incidents(path), "2026-11-23T12:00", incident="INC-7").open
    assert not asked(incidents(path), "2026-11-23T12:00", incident="INC-8").open
    path.write_text(json.dumps({"open": [{"id": "INC-7", "services": ["bar"]}]}))
    assert asked(incidents(path), "2026-11-23T12:00").open


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"open": 1}', '{"open": [{"title": "x"}]}', "{{{", "\x00"])
def test_a_signal_that_cannot_be_read_closes(tmp_path, content):
    path = tmp_path / "incidents.json"
    if content is not None:
        path.write_text(content)
    decision = asked(incidents(path), "2026-11-23T12:00", incident="INC-7")
    assert (decision.open, decision.code) == (False, "unreadable")
    assert decision.look_again == at("2026-11-23T12:01")


def test_an_old_file_of_incidents_says_nothing(tmp_path):
    path = tmp_path / "incidents.json"
    ages = {timedelta(minutes=1): "open", timedelta(hours=1): "unreadable", -timedelta(1): "unreadable"}
    for age, code in ages.items():
        path.write_text(json.dumps({"at": (datetime.now(UTC) - age).isoformat(), "open": []}))
        assert asked(incidents(path, maximum_age_minutes=10), "2026-11-23T12:00").code == code
    path.write_text(json.dumps({"open": []}))
    assert asked(incidents(path, maximum_age_minutes=10), "2026-11-23T12:00").code == "unreadable"


@pytest.fixture
def server():
    answers = {"body": b"{}", "status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answers["status"])
            self.end_headers()
            self.wfile.write(answers["body"])

        def log_message(self, *arguments):
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    answers["address"] = f"http://127.0.0.1:{httpd.server_port}"
    yield answers
    httpd.shutdown()
    httpd.server_close()


def budget(server, **options):
    given_options = {"address": server["address"], "path": "/api/v1/query?query=x", "field": "data.result.0.value.1",
                     "name": "checkout"} | options
    return calendar(signals=[{"name": "http_json", "closes": "error_budget", "options": given_options}])


def test_a_spent_error_budget_closes_as_prometheus_tells_it(server):
    when = budget(server, closed_below=0.1)
    for value, code in (("0.83", "open"), ("0.02", "error_budget"), ("NaN", "unreadable"), ("much", "unreadable")):
        server["body"] = json.dumps({"data": {"result": [{"value": [1, value]}]}}).encode()
        decision = asked(when, "2026-11-23T12:00")
        assert decision.code == code, decision.sentence
    assert "0.02 is below 0.1" not in decision.sentence
    server["body"] = b'{"data": {"result": []}}'
    assert asked(when, "2026-11-23T12:00").code == "unreadable", "no data is not good news"
    server["status"] = 503
    assert asked(when, "2026-11-23T12:00").code == "unreadable"


def test_a_list_of_open_incidents_over_http(server):
    when = budget(server, field="items", identity="number")
    when = calendar(signals=[when.signals[0].model_dump() | {"closes": "incident"}])
    server["body"] = json.dumps({"items": [{"number": "INC-9", "title": "slow"}]}).encode()
    assert asked(when, "2026-11-23T12:00").closures[0].key == ClosureName(code="incident", name="INC-9")
    assert asked(when, "2026-11-23T12:00", incident="INC-9").open
    server["body"] = b'{"items": []}'
    assert asked(when, "2026-11-23T12:00").open
    server["body"] = b'{"items": [{}]}'
    assert asked(when, "2026-11-23T12:00").code == "unreadable"


# --- override ---------------------------------------------------------------------------------------------------------


def test_an_override_accepts_exactly_what_was_approved(tmp_path):
    freezes = [{"name": name, "from": f"2026-12-{day}", "to": f"2026-12-{day + 1}"}
               for name, day in (("one", 21), ("two", 22))]
    settings = calendar(windows=[{"days": ["tue"], "from": "09:00", "to": "17:00"}], freezes=freezes)
    closures = asked(settings, "2026-12-21T12:00").closures
    assert [one.code for one in closures] == ["frozen", "outside_window"]
    allowed = planned(settings, [one.key for one in closures])
    decision = asked(allowed, "2026-12-21T12:00")
    assert decision.open and "freeze 'one'" in decision.sentence and "approved override" in decision.sentence
    assert asked(allowed, "2026-12-22T12:00").code == "frozen", "another freeze was not approved"
    partly = planned(settings, [closures[0].key])
    assert asked(partly, "2026-12-21T12:00").code == "outside_window"


# --- properties -------------------------------------------------------------------------------------------------------

moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 6, 30)).map(lambda moment: moment.replace(tzinfo=UTC))
rules = st.sampled_from(["", "RRULE:FREQ=WEEKLY", "RRULE:FREQ=DAILY;COUNT=40", "RRULE:FREQ=MONTHLY;BYDAY=-1FR",
                         "RRULE:FREQ=YEARLY"])


@given(
    events=st.lists(
        st.tuples(moments, st.integers(1, 72), rules, st.sampled_from(["Freeze", "Maintenance"])), max_size=4
    ),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    now=moments,
)
def test_slots_never_overlap_closures_and_agree_with_decisions(tmp_path_factory, events, zone, now):
    texts = [
        f"UID:{number}\nSUMMARY:e{number}\nCATEGORIES:{category}\n"
        f"DTSTART;TZID={zone}:{begin:%Y%m%dT%H%M%S}\nDURATION:PT{hours}H\n{rule}"
        for number, (begin, hours, rule, category) in enumerate(events)
    ]
    files = [ics(tmp_path_factory.mktemp("ics") / "a.ics", *texts)] if texts else []
    when = calendar(timezone=zone, files=files, windows=[{"days": list(DAYS), "from": "08:00", "to": "20:00"}])
    found, decision = slots(when, now, 5), asked(when, now.isoformat())
    assert decision.next_open == found[0].start and decision.open == (found[0].start == now)
    assert all(one.end <= two.start for one, two in pairwise(found))
    opened = [icalendar_file.read(one, zone) for one in when.files]
    for slot in found:
        assert slot.start < slot.end
        assert not any(entry for one in opened for entry in one.entries(slot.start, slot.end))
        assert asked(when, slot.start.isoformat()).open
        assert asked(when, (slot.end - timedelta(microseconds=1)).isoformat()).open
    for before, after in pairwise(found):
        middle = before.end + (after.start - before.end) / 2
        assert before.end == after.start or not asked(when, middle.isoformat()).open


def test_a_thousand_events_are_spelled_out_once(tmp_path, monkeypatch):
    begin = "\nDTSTART:20260{0}0{0}T100000Z\nDURATION:PT1H\n"
    events = [f"UID:{number}\nSUMMARY:e{number}{begin.format(1 + number % 9)}"
              + ("RRULE:FREQ=WEEKLY" if number % 10 == 0 else "") for number in range(1000)]
    when = calendar(files=[ics(tmp_path / "a.ics", *events)])
    assert planned(when).files[0].events_found == {}, "a plan stays small"
    asked(when, "2026-11-23T12:00")
    parsed, spelled = icalendar_file._parsed.cache_info().misses, icalendar_file._period.cache_info().misses
    for minute in range(30):
        asked(when, f"2026-11-23T12:{minute:02d}")
    assert icalendar_file._parsed.cache_info().misses == parsed
    assert icalendar_file._period.cache_info().misses == spelled
