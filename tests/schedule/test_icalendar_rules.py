"""What cannot be read surely in a calendar file closes the calendar and says why; what can is read as RFC 5545 says."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from airlock.calendar_model import Calendar
from airlock.errors import InvalidInput
from airlock.schedule import icalendar_file
from airlock.schedule.asking import ask, planned
from airlock.service_values import DAYS

BERLIN = ZoneInfo("Europe/Berlin")
WHOLE_WEEK = [{"days": list(DAYS), "from": "00:00", "to": "24:00"}]
HEAD = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n"
FIVE_HOURS_EAST = ("BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0500\nTZOFFSETTO:+0500\nEND:STANDARD\n")


def written(path, *events, head=HEAD, end="END:VCALENDAR\n"):
    bodies = "".join(f"BEGIN:VEVENT\nSUMMARY:Sale\n{event}\nEND:VEVENT\n" for event in events)
    path.write_bytes((head + bodies + end).replace("\n", "\r\n").encode())
    return path


def calendar(path, meaning="freeze", zone="Europe/Berlin"):
    windows = [] if meaning == "window" else WHOLE_WEEK
    file = {"name": "company", "path": str(path), "events": meaning}
    return Calendar.model_validate({"timezone": zone, "windows": windows, "files": [file]})


def code(path, moment, meaning="freeze", zone="Europe/Berlin"):
    at = datetime.fromisoformat(moment)
    at = at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))
    return ask(calendar(path, meaning, zone), "shop", "prod", at).decision.code


DAY = "UID:a\nDTSTART;VALUE=DATE:20260701"
TIMED = "UID:a\nDTSTART;TZID=Europe/Berlin:20260701T220000\nDURATION:PT1H"
NO_LENGTH = {
    "day ends as it begins": "UID:a\nDTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261224",
    "day ends before it begins": "UID:a\nDTSTART;VALUE=DATE:20261224\nDTEND;VALUE=DATE:20261223",
    "moment": "UID:a\nDTSTART:20261224T100000Z",
    "moment that ends at once": "UID:a\nDTSTART:20261224T100000Z\nDTEND:20261224T100000Z",
    "backwards": "UID:a\nDTSTART:20261224T100000Z\nDTEND:20261224T090000Z",
    "no duration": "UID:a\nDTSTART:20261224T100000Z\nDURATION:PT0S",
    "negative duration": "UID:a\nDTSTART:20261224T100000Z\nDURATION:-PT1H",
    "hours of a day": "UID:a\nDTSTART;VALUE=DATE:20261224\nDURATION:PT12H",
    "years": "UID:a\nDTSTART:20261224T100000Z\nDURATION:P1Y",
    "both": "UID:a\nDTSTART:20261224T100000Z\nDTEND:20261224T110000Z\nDURATION:PT5H",
    "day and time": "UID:a\nDTSTART;VALUE=DATE:20261224\nDTEND:20261225T100000Z",
    "with and without zone": "UID:a\nDTSTART:20261224T100000\nDTEND:20261224T110000Z",
    "24 o'clock": "UID:a\nDTSTART:20261224T100000Z\nDTEND:20261224T240000Z",
}
RULES = {
    "interval 0": f"{DAY}\nRRULE:FREQ=DAILY;INTERVAL=0",
    "interval -1": f"{DAY}\nRRULE:FREQ=DAILY;INTERVAL=-1",
    "interval 0 weekly": f"{TIMED}\nRRULE:FREQ=WEEKLY;INTERVAL=0;BYDAY=WE",
    "count 0": f"{DAY}\nRRULE:FREQ=DAILY;COUNT=0",
    "count -1": f"{DAY}\nRRULE:FREQ=DAILY;COUNT=-1",
    "count and until": f"{DAY}\nRRULE:FREQ=DAILY;COUNT=3;UNTIL=20260801",
    "30 February": f"{DAY}\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "30 February, yearly": f"{DAY}\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "fifth of one": f"{DAY}\nRRULE:FREQ=DAILY;BYDAY=MO;BYSETPOS=5",
    "Tuesdays only, never a Monday": "UID:a\nDTSTART;VALUE=DATE:20260707\nRRULE:FREQ=DAILY;INTERVAL=7;BYDAY=MO",
    "hourly": f"{TIMED}\nRRULE:FREQ=HOURLY",
    "by hour": f"{TIMED}\nRRULE:FREQ=DAILY;BYHOUR=1,2",
    "unknown part": f"{DAY}\nRRULE:FREQ=DAILY;BYEASTER=0",
    "another calendar": f"{DAY}\nRRULE:RSCALE=HEBREW;FREQ=YEARLY",
    "no frequency": f"{DAY}\nRRULE:INTERVAL=2",
    "empty": f"{DAY}\nRRULE:",
    "weekly with numbers": f"{DAY}\nRRULE:FREQ=WEEKLY;BYDAY=2WE",
    "until a day": f"{TIMED}\nRRULE:FREQ=DAILY;UNTIL=20260705",
    "until without zone": f"{TIMED}\nRRULE:FREQ=DAILY;UNTIL=20260705T220000",
    "until a time, of a day": f"{DAY}\nRRULE:FREQ=DAILY;UNTIL=20260705T000000Z",
    "until before": f"{DAY}\nRRULE:FREQ=DAILY;UNTIL=20260101",
    "exrule": f"{DAY}\nRRULE:FREQ=DAILY\nEXRULE:FREQ=DAILY;INTERVAL=2",
    "left out, a day of a time": f"{TIMED}\nRRULE:FREQ=DAILY\nEXDATE;VALUE=DATE:20260702",
    "left out, a time of a day": f"{DAY}\nRRULE:FREQ=DAILY\nEXDATE:20260702T000000Z",
    "left out, without zone": f"{TIMED}\nRRULE:FREQ=DAILY\nEXDATE:20260702T220000",
    "added, a day of a time": f"{TIMED}\nRDATE;VALUE=DATE:20260705",
    "added, periods with a zone": f"{TIMED}\nRDATE;TZID=Europe/Berlin;VALUE=PERIOD:20260705T100000/PT1H",
    "a second rule": f"{DAY}\nRRULE:FREQ=DAILY;COUNT=2\nRRULE:FREQ=DAILY;INTERVAL=0",
}
ZONES = {
    "product's own name": "UID:a\nDTSTART;TZID=Pacific Time (US & Canada):20260701T090000\nDURATION:PT8H",
    "unknown": "UID:a\nDTSTART;TZID=Nowhere:20260701T090000\nDURATION:PT8H",
    "offset": "UID:a\nDTSTART;TZID=GMT+0200:20260701T090000\nDURATION:PT8H",
    "of the end": "UID:a\nDTSTART;TZID=Europe/Berlin:20260701T090000\nDTEND;TZID=Nowhere:20260701T100000",
    "of what is left out": f"{TIMED}\nRRULE:FREQ=DAILY\nEXDATE;TZID=Nowhere:20260702T220000",
    "a path": "UID:a\nDTSTART;TZID=../../etc/passwd:20260701T090000\nDURATION:PT8H",
}


@pytest.mark.parametrize("event", [pytest.param(text, id=name) for table in (NO_LENGTH, RULES, ZONES)
                                   for name, text in table.items()])  # fmt: skip
@pytest.mark.parametrize("meaning", ["freeze", "window"])
def test_what_cannot_be_read_surely_closes_and_stops_a_plan(tmp_path, event, meaning):
    path = written(tmp_path / "a.ics", "UID:sound\nDTSTART;VALUE=DATE:20200101", event)
    decided = ask(calendar(path, meaning), "shop", "prod", datetime(2026, 7, 2, 10, tzinfo=BERLIN)).decision
    assert decided.code == "unreadable"
    with pytest.raises(InvalidInput, match="correct it|export it again|write a name such as"):
        planned(calendar(path, meaning))


@pytest.mark.parametrize("event", [pytest.param(text, id=name) for table in (NO_LENGTH, RULES)
                                   for name, text in table.items()])  # fmt: skip
def test_what_is_cancelled_or_ignored_may_be_of_any_form(tmp_path, event):
    assert code(written(tmp_path / "a.ics", f"{event}\nSTATUS:CANCELLED"), "2026-07-02T10:00") in ("open", "unreadable")
    only_no_length = event in NO_LENGTH.values() and "P1Y" not in event and "240000" not in event
    if only_no_length:
        assert code(written(tmp_path / "b.ics", event), "2026-07-02T10:00", meaning="ignore") != "unreadable"


def test_two_events_of_one_uid_are_refused_and_the_same_one_twice_is_one(tmp_path):
    other = "UID:a\nDTSTART;VALUE=DATE:20260801"
    assert code(written(tmp_path / "a.ics", DAY, other), "2026-07-01T10:00") == "unreadable"
    assert code(written(tmp_path / "b.ics", DAY, DAY), "2026-07-01T10:00") == "frozen"
    nameless = written(tmp_path / "c.ics", DAY.removeprefix("UID:a\n"), other.removeprefix("UID:a\n"))
    assert [code(nameless, f"2026-0{month}-01T10:00") for month in (7, 8)] == ["frozen", "frozen"]


def test_an_occurrence_that_is_changed_twice_is_refused(tmp_path):
    daily = f"{TIMED}\nRRULE:FREQ=DAILY;COUNT=5"
    change = "UID:a\nRECURRENCE-ID;TZID=Europe/Berlin:20260702T220000\nDTSTART;TZID=Europe/Berlin:{}\nDURATION:PT1H"
    moved = change.format("20260702T080000")
    once = written(tmp_path / "a.ics", daily, moved)
    assert [code(once, f"2026-07-{at}") for at in ("02T08:30", "02T22:30", "03T22:30")] == ["frozen", "open", "frozen"]
    twice = written(tmp_path / "b.ics", daily, moved, change.format("20260702T090000"))
    assert code(twice, "2026-07-02T08:30") == "unreadable"
    assert code(written(tmp_path / "c.ics", daily, moved.replace("UID:a\n", "")), "2026-07-02T08:30") == "unreadable"


@pytest.mark.parametrize("at", [";TZID=Europe/Berlin:20260702T230000", ";VALUE=DATE:20260702"])
def test_a_change_of_no_occurrence_opens_no_window(tmp_path, at):
    daily = f"{TIMED}\nRRULE:FREQ=DAILY;COUNT=5"
    path = written(tmp_path / "a.ics", daily, f"UID:a\nRECURRENCE-ID{at}\nDTSTART:20260702T080000Z\nDURATION:PT1H")
    assert code(path, "2026-07-01T22:30", meaning="window") == "unreadable"
    assert code(path, "2026-07-02T22:30", meaning="freeze") == "frozen", "which is not surely moved"


def test_a_window_that_begins_on_a_day_outside_its_rule_is_refused_and_a_freeze_closes_then_too(tmp_path):
    path = written(tmp_path / "a.ics", f"{DAY}\nRRULE:FREQ=WEEKLY;BYDAY=MO")
    assert code(path, "2026-07-06T10:00", meaning="window") == "unreadable"
    assert [code(path, f"2026-07-0{day}T10:00") for day in (1, 6, 7)] == ["frozen", "frozen", "open"]


@pytest.mark.parametrize(
    ("event", "closed", "opened"),
    [
        # 29 March 2026 has 23 hours in Berlin, 25 October has 25
        ("DTSTART;TZID=Europe/Berlin:20260328T120000\nDURATION:PT24H", "2026-03-29T12:59", "2026-03-29T13:00"),
        ("DTSTART;TZID=Europe/Berlin:20260328T120000\nDURATION:P1D", "2026-03-29T11:59", "2026-03-29T12:00"),
        ("DTSTART;TZID=Europe/Berlin:20261024T120000\nDURATION:PT24H", "2026-10-25T10:59", "2026-10-25T11:00"),
        ("DTSTART;TZID=Europe/Berlin:20261024T120000\nDURATION:P1DT1H", "2026-10-25T12:59", "2026-10-25T13:00"),
        ("DTSTART;TZID=Europe/Berlin:20260322T120000\nDURATION:P1W", "2026-03-29T11:59", "2026-03-29T12:00"),
        ("DTSTART:20260328T120000\nDURATION:PT1440M", "2026-03-29T12:59", "2026-03-29T13:00"),
        ("DTSTART;TZID=Europe/Berlin:20260329T013000\nDURATION:PT1H", "2026-03-29T03:29", "2026-03-29T03:30"),
        ("DTSTART;TZID=Europe/Berlin:20260327T220000\nDURATION:PT9H\nRRULE:FREQ=DAILY;COUNT=9",
         "2026-03-29T07:59", "2026-03-29T08:00"),
        ("DTSTART;TZID=Europe/Berlin:20260328T120000\nDTEND;TZID=Europe/Berlin:20260329T120000",
         "2026-03-29T11:59", "2026-03-29T12:00"),
        ("DTSTART;TZID=Europe/Berlin:20260328T120000\nDTEND;TZID=America/New_York:20260329T080000",
         "2026-03-29T13:59", "2026-03-29T14:00"),
    ],
)  # fmt: skip
def test_days_are_of_the_calendar_and_hours_of_the_clock(tmp_path, event, closed, opened):
    path = written(tmp_path / "a.ics", f"UID:a\n{event}")
    assert [code(path, closed), code(path, opened)] == ["frozen", "open"]


@pytest.mark.parametrize(("meaning", "until_half_past_six"), [("freeze", "frozen"), ("window", "outside_window")])
def test_a_night_that_is_shorter_by_the_clock_closes_longer_and_opens_shorter(tmp_path, meaning, until_half_past_six):
    """22:00 to 06:00 each night: on 29 March, eight hours end at 07:00, and the hands of the clock say 06:00."""
    night = ("UID:a\nDTSTART;TZID=Europe/Berlin:20260320T220000\nDTEND;TZID=Europe/Berlin:20260321T060000\n"
             "RRULE:FREQ=DAILY")
    path = written(tmp_path / "a.ics", night)
    assert code(path, "2026-03-29T06:30", meaning=meaning) == until_half_past_six


def test_a_zone_that_a_file_defines_is_that_file_s_own(tmp_path):
    event = "UID:a\nDTSTART;TZID=Plant:20260701T090000\nDURATION:PT1H"
    defined = HEAD + f"BEGIN:VTIMEZONE\nTZID:Plant\n{FIVE_HOURS_EAST}END:VTIMEZONE\n"
    assert code(written(tmp_path / "a.ics", event, head=defined), "2026-07-01T04:30+00:00") == "frozen"
    assert code(written(tmp_path / "b.ics", event), "2026-07-01T04:30+00:00") == "unreadable"
    moved = defined.replace("+0500", "-0300")
    assert code(written(tmp_path / "c.ics", event, head=moved), "2026-07-01T12:30+00:00") == "frozen"
    empty = HEAD + "BEGIN:VTIMEZONE\nTZID:Plant\nEND:VTIMEZONE\n"
    assert code(written(tmp_path / "d.ics", event, head=empty), "2026-07-01T04:30+00:00") == "unreadable"
    known = defined.replace("Plant", "Europe/Berlin")
    assert code(written(tmp_path / "e.ics", event.replace("Plant", "Europe/Berlin"), head=known),
                "2026-07-01T04:30+00:00") == "unreadable"
    windows = event.replace("Plant", "Pacific Standard Time")
    assert code(written(tmp_path / "f.ics", windows), "2026-07-01T16:30+00:00") == "frozen"


@pytest.mark.parametrize(
    ("head", "end"),
    [
        (HEAD + "METHOD:CANCEL\n", "END:VCALENDAR\n"),
        (HEAD + "X-WR-TIMEZONE:Nowhere/Else\n", "END:VCALENDAR\n"),
        (HEAD + "BEGIN:VFREEBUSY\nUID:f\nFREEBUSY:20260701T000000Z/P1D\nEND:VFREEBUSY\n", "END:VCALENDAR\n"),
        (HEAD, ""),
        (HEAD, "END:VCALENDAR\n" + HEAD + "END:VCALENDAR\n"),
        (HEAD, "BEGIN:VEVENT\nUID:z\nDTSTART;VALUE=DATE:2026"),
    ],
    ids=["cancellation", "unknown zone of the file", "free and busy", "cut off", "two calendars", "cut in an event"],
)
def test_a_file_that_is_not_wholly_a_calendar_closes(tmp_path, head, end):
    assert code(written(tmp_path / "a.ics", DAY, head=head, end=end), "2026-08-01T10:00") == "unreadable"


def test_text_of_another_encoding_closes_and_a_mark_does_not(tmp_path):
    path = written(tmp_path / "a.ics", f"{DAY}\nCATEGORIES:Sperré")
    content = path.read_bytes()
    for raw in (content.decode().encode("latin-1"), content.decode().encode("utf-16")):
        path.write_bytes(raw)
        assert code(path, "2026-08-01T10:00") == "unreadable"
    path.write_bytes(b"\xef\xbb\xbf" + content)
    assert code(path, "2026-07-01T10:00") == "frozen"


def test_periods_in_utc_are_as_long_as_they_say(tmp_path):
    path = written(tmp_path / "a.ics", "UID:a\nDTSTART:20260701T100000Z\nDURATION:PT1H\n"
                   "RDATE;VALUE=PERIOD:20260702T100000Z/PT5H,20260703T100000Z/20260703T130000Z")
    found = [code(path, f"2026-07-{at}:30+00:00") for at in ("01T10", "01T11", "02T14", "02T15", "03T12", "03T13")]
    assert found == ["frozen", "open"] * 3


def test_many_rules_are_looked_through_once(tmp_path, monkeypatch):
    events = [f"UID:{number}\nDTSTART;VALUE=DATE:20260105\nRRULE:FREQ=MONTHLY;BYDAY=1MO" for number in range(300)]
    path = written(tmp_path / "a.ics", *events)
    looked = []
    rule = icalendar_file.icalendar_rules.refuse_event
    monkeypatch.setattr(icalendar_file.icalendar_rules, "refuse_event",
                        lambda event, meaning: looked.append(event) or rule(event, meaning))
    for day in (1, 2, 3):
        code(path, f"2026-07-0{day}T10:00")
    assert len(looked) == 300
