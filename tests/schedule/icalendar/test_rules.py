"""What cannot be read surely in a calendar file closes the calendar and says why; what can is read as RFC 5545 says."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from airlock.errors import InvalidInput
from airlock.schedule.asking import ask, planned
from airlock.schedule.icalendar import file as icalendar_file
from airlock.service.calendar import Calendar
from airlock.service.values import DAYS

BERLIN = ZoneInfo("Europe/Berlin")
WHOLE_WEEK = [{"days": list(DAYS), "from": "00:00", "to": "24:00"}]
HEAD = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n"
ZONE = ("BEGIN:VTIMEZONE\nTZID:Plant\nBEGIN:STANDARD\nDTSTART:19700101T000000\nRRULE:FREQ=YEARLY;INTERVAL=1\n"
        "TZOFFSETFROM:+0500\nTZOFFSETTO:+0500\nEND:STANDARD\nEND:VTIMEZONE\n")
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
    "a period that ends before it begins": "UID:a\nDTSTART:20261224T100000Z\nDURATION:PT1H\n"
                                            "RDATE;VALUE=PERIOD:20261225T100000Z/20261225T090000Z",
    "a period of less than nothing": "UID:a\nDTSTART:20261224T100000Z\nDURATION:PT1H\n"
                                      "RDATE;VALUE=PERIOD:20261225T100000Z/-PT5H",
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
    "a part twice": f"{DAY}\nRRULE:FREQ=WEEKLY;INTERVAL=1;INTERVAL=2",
    "day 0 of the month": f"{DAY}\nRRULE:FREQ=MONTHLY;BYMONTHDAY=0",
    "a day of the month and no day": f"{DAY}\nRRULE:FREQ=MONTHLY;BYMONTHDAY=1,32",
    "month 13": f"{DAY}\nRRULE:FREQ=YEARLY;BYMONTH=7,13",
    "month -1": f"{DAY}\nRRULE:FREQ=YEARLY;BYMONTH=-1",
    "sixth Wednesday": f"{DAY}\nRRULE:FREQ=MONTHLY;BYDAY=1WE,6WE",
    "a week of a month": f"{DAY}\nRRULE:FREQ=MONTHLY;BYWEEKNO=20",
    "a day of the year in a month": f"{DAY}\nRRULE:FREQ=MONTHLY;BYYEARDAY=-1;BYMONTHDAY=-1",
    "the first of nothing": f"{DAY}\nRRULE:FREQ=MONTHLY;BYSETPOS=1",
    "a numbered day of a week": f"{DAY}\nRRULE:FREQ=YEARLY;BYWEEKNO=20;BYDAY=1WE,WE",
    "the first of half a week": "UID:a\nDTSTART;VALUE=DATE:20260705\nRRULE:FREQ=WEEKLY;BYDAY=SU,MO;WKST=WE;BYSETPOS=1",
    "week 52": f"{DAY}\nRRULE:FREQ=YEARLY;BYWEEKNO=27,52;BYDAY=WE",
    "the 53rd week from the end": f"{DAY}\nRRULE:FREQ=YEARLY;BYWEEKNO=27,-53;BYDAY=WE",
    "a week without a day": f"{DAY}\nRRULE:FREQ=YEARLY;BYWEEKNO=27",
    "an empty month": f"{DAY}\nRRULE:FREQ=YEARLY;BYMONTH=",
    "a long rule": f"{DAY}\nRRULE:FREQ=YEARLY;BYYEARDAY={','.join(['182'] * 1200)}",
    "more than can be counted": f"{DAY}\nRRULE:FREQ=DAILY;COUNT=1000000",
    "a second rule": f"{DAY}\nRRULE:FREQ=DAILY;COUNT=2\nRRULE:FREQ=DAILY;INTERVAL=0",
}
ZONES = {
    "product's own name": "UID:a\nDTSTART;TZID=Pacific Time (US & Canada):20260701T090000\nDURATION:PT8H",
    "unknown": "UID:a\nDTSTART;TZID=Nowhere:20260701T090000\nDURATION:PT8H",
    "offset": "UID:a\nDTSTART;TZID=GMT+0200:20260701T090000\nDURATION:PT8H",
    "of the end": "UID:a\nDTSTART;TZID=Europe/Berlin:20260701T090000\nDTEND;TZID=Nowhere:20260701T100000",
    "of what is left out": f"{TIMED}\nRRULE:FREQ=DAILY\nEXDATE;TZID=Nowhere:20260702T220000",
    "empty": "UID:a\nDTSTART;TZID=:20260701T090000\nDURATION:PT8H",
    "and UTC": "UID:a\nDTSTART;TZID=Europe/Berlin:20260701T090000Z\nDURATION:PT8H",
    "and UTC, of what is left out": f"{TIMED}\nRRULE:FREQ=DAILY\nEXDATE;TZID=Europe/Berlin:20260702T220000Z",
    "a day with a time": "UID:a\nDTSTART;VALUE=DATE:20260701T200000Z\nDURATION:PT1H",
    "a folder": "UID:a\nDTSTART;TZID=Europe:20260701T090000\nDURATION:PT8H",
    "of whatever machine reads it": "UID:a\nDTSTART;TZID=localtime:20260701T090000\nDURATION:PT8H",
    "of nobody": "UID:a\nDTSTART;TZID=Factory:20260701T090000\nDURATION:PT8H",
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
        (HEAD + "X-WR-TIMEZONE:\n", "END:VCALENDAR\n"),
        (HEAD + "CALSCALE:HEBREW\n", "END:VCALENDAR\n"),
        (HEAD + "BEGIN:VEVENT \nUID:f\nDTSTART;VALUE=DATE:20260801\nEND:VEVENT \n", "END:VCALENDAR\n"),
        (HEAD + "BEGIN:VEVNT\nUID:f\nDTSTART;VALUE=DATE:20260801\nEND:VEVNT\n", "END:VCALENDAR\n"),
        (HEAD + "BEGIN:VTODO\nBEGIN:VEVENT\nUID:f\nDTSTART;VALUE=DATE:20260801\nEND:VEVENT\nEND:VTODO\n",
         "END:VCALENDAR\n"),
        (HEAD + ZONE.replace("INTERVAL=1", "INTERVAL=0"), "END:VCALENDAR\n"),
        (HEAD + ZONE.replace("FREQ=YEARLY", "FREQ=SECONDLY"), "END:VCALENDAR\n"),
        (HEAD + ZONE + ZONE.replace("+0500", "+0300"), "END:VCALENDAR\n"),
        (HEAD, ""),
        (HEAD, "END:VCALENDAR\n" + HEAD + "END:VCALENDAR\n"),
        (HEAD, "BEGIN:VEVENT\nUID:z\nDTSTART;VALUE=DATE:2026"),
    ],
    ids=["cancellation", "unknown zone of the file", "free and busy", "empty zone of the file", "another calendar",
         "a name with a space", "a misspelt name", "an event in a task", "a clock that changes without end",
         "a clock that changes each second", "two zones of one name", "cut off", "two calendars", "cut in an event"],
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


DAILY = f"{TIMED}\nRRULE:FREQ=DAILY;COUNT=5"
MOVED = "UID:a\nRECURRENCE-ID{}\nDTSTART;TZID=Europe/Berlin:20260702T080000\nDURATION:PT1H"


@pytest.mark.parametrize(
    ("at", "left_out"),
    [
        (";TZID=Europe/Berlin:20260702T220000", True), (":20260702T200000Z", True),
        (";TZID=America/New_York:20260702T160000", True),
        # what another clock shows at the occurrence, or the same hands of another clock
        (";TZID=America/New_York:20260702T220000", False), (":20260702T220000Z", False),
        (";TZID=Europe/Berlin:20260702T200000", False),
    ],
)  # fmt: skip
def test_an_occurrence_is_known_by_its_moment_and_by_no_other_clock(tmp_path, at, left_out):
    found = "open" if left_out else "frozen"
    paths = [written(tmp_path / "a.ics", f"{DAILY}\nEXDATE{at}"),
             written(tmp_path / "b.ics", DAILY, MOVED.format(at)),
             written(tmp_path / "c.ics", DAILY, MOVED.format(at) + "\nSTATUS:CANCELLED")]
    assert [code(path, "2026-07-02T22:30") for path in paths] == [found] * 3
    assert [code(path, "2026-07-03T22:30") for path in paths] == ["frozen"] * 3
    assert code(paths[1], "2026-07-02T08:30") == "frozen"
    assert code(paths[1], "2026-07-02T08:30", meaning="window") == ("open" if left_out else "unreadable")


def test_a_change_of_what_is_left_out_closes_and_opens_no_window(tmp_path):
    path = written(tmp_path / "a.ics", f"{DAILY}\nEXDATE:20260702T200000Z", MOVED.format(":20260702T200000Z"))
    assert code(path, "2026-07-02T08:30") == "frozen"
    assert code(path, "2026-07-02T08:30", meaning="window") == "unreadable"


def test_changes_from_one_occurrence_on(tmp_path):
    def with_change(at, *lines):
        change = [f"UID:a\nRECURRENCE-ID;{at}", "DTSTART;TZID=Europe/Berlin:20260703T080000", "DURATION:PT2H", *lines]
        return written(tmp_path / f"{len(list(tmp_path.iterdir()))}.ics", DAILY, "\n".join(change))

    sound = "RANGE=THISANDFUTURE;TZID=Europe/Berlin:20260703T220000"
    found = [code(with_change(sound), f"2026-07-{at}") for at in ("02T22:30", "03T09:30", "04T22:30", "05T09:30")]
    assert found == ["frozen", "frozen", "open", "frozen"]
    found = [code(with_change(sound, "STATUS:CANCELLED"), f"2026-07-{at}") for at in ("02T22:30", "03T09:30")]
    assert found == ["frozen", "open"]
    for wrong in (sound.replace("T22", "T21"), sound.replace("FUTURE", "PRIOR"), sound.replace("THISANDFUTURE", "ALL")):
        assert code(with_change(wrong), "2026-07-10T10:00") == "unreadable"
    assert code(with_change(sound, "RRULE:FREQ=DAILY"), "2026-07-10T10:00") == "unreadable"


def test_a_change_without_categories_is_of_those_of_what_it_changes(tmp_path):
    path = written(tmp_path / "a.ics", f"{DAILY}\nCATEGORIES:Freeze", MOVED.format(":20260702T200000Z"))
    assert code(path, "2026-07-02T08:30", meaning="ignore") == "frozen"
    named = MOVED.format(":20260702T200000Z") + "\nCATEGORIES:Other"
    assert code(written(tmp_path / "b.ics", f"{DAILY}\nCATEGORIES:Freeze", named), "2026-07-02T08:30",
                meaning="ignore") == "open"


@pytest.mark.parametrize(("meaning", "found"), [("freeze", "frozen"), ("window", "never")])
def test_what_is_tentative_closes_and_does_not_open(tmp_path, meaning, found):
    assert code(written(tmp_path / "a.ics", f"{DAY}\nSTATUS:TENTATIVE"), "2026-07-01T10:00", meaning) == found


def test_a_zone_that_a_file_defines_otherwise_in_winter_closes_in_winter(tmp_path):
    zone = ("BEGIN:VTIMEZONE\nTZID:{}\nBEGIN:STANDARD\nDTSTART:16011028T030000\n"
            "RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10\nTZOFFSETFROM:+0200\nTZOFFSETTO:{}\nEND:STANDARD\n"
            "BEGIN:DAYLIGHT\nDTSTART:16010325T020000\nRRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\nTZOFFSETFROM:{}\n"
            "TZOFFSETTO:+0200\nEND:DAYLIGHT\nEND:VTIMEZONE\n")
    event = "UID:a\nDTSTART;TZID={}:20260701T220000\nDURATION:PT1H\nRRULE:FREQ=DAILY"
    for name, winter, found in (("Europe/Berlin", "+0100", "frozen"), ("Europe/Berlin", "+0000", "unreadable"),
                                ("W. Europe Standard Time", "+0100", "frozen"), ("Own", "+0100", "frozen"),
                                ("W. Europe Standard Time", "+0000", "unreadable")):  # fmt: skip
        path = written(tmp_path / f"{name}{winter}.ics", event.format(name),
                       head=HEAD + zone.format(name, winter, winter)) if "/" not in name else written(
            tmp_path / f"berlin{winter}.ics", event.format(name), head=HEAD + zone.format(name, winter, winter))
        assert code(path, "2026-12-01T22:30") == found, (name, winter)
        assert code(path, "2026-07-02T22:30") == "frozen"


def test_times_without_a_zone_are_of_the_zone_of_the_file_and_what_recurs_in_utc_is_not_sure(tmp_path):
    head = HEAD + "X-WR-TIMEZONE:America/New_York\n"
    floating = written(tmp_path / "a.ics", "UID:a\nDTSTART:20260701T220000\nDURATION:PT1H", head=head)
    assert [code(floating, f"2026-07-{at}") for at in ("02T04:30", "01T22:30")] == ["frozen", "open"]
    assert code(written(tmp_path / "b.ics", DAY, head=head), "2026-07-01T00:30") == "frozen", "days of the calendar"
    utc = "UID:a\nDTSTART:20261020T200000Z\nDURATION:PT1H"
    assert code(written(tmp_path / "c.ics", utc, head=head), "2026-10-20T22:30") == "frozen"
    assert code(written(tmp_path / "d.ics", f"{utc}\nRRULE:FREQ=DAILY", head=head), "2026-10-20T22:30") == "unreadable"
    plain = written(tmp_path / "e.ics", f"{utc}\nRRULE:FREQ=DAILY", head=head.replace("America/New_York", "UTC"))
    assert code(plain, "2026-10-20T22:30") == "frozen"


def test_lines_may_be_folded_in_a_character_and_text_may_hold_what_looks_like_lines(tmp_path):
    path = tmp_path / "a.ics"
    text = ("DTSTART;TZID=Europe/Berlin:20260328T120000\nDURATION:PT24H\n"
            "DESCRIPTION:a\u2028DURATION:PT1H\u0085DURATION:PT1H\x0bEND:VEVENT\x1cBEGIN:VEVENT\x0c\n"
            "COMMENT:x\n BEGIN:VEVENT\nX-CUT:Sperr\u00e9")
    written(path, f"UID:a\n{text}")
    path.write_bytes(path.read_bytes().replace(b"\xc3\xa9", b"\xc3\r\n \xa9"))
    assert [code(path, f"2026-03-29T{at}") for at in ("12:59", "13:00")] == ["frozen", "open"]


def test_days_at_the_end_of_time(tmp_path):
    path = written(tmp_path / "a.ics", f"{DAY}\nDTEND;VALUE=DATE:99991231")
    assert [code(path, f"{year}-07-01T10:00") for year in (2026, 2040)] == ["frozen", "frozen"]
    forever = written(tmp_path / "b.ics", f"{TIMED}\nRRULE:FREQ=DAILY;UNTIL=99991231T235959Z")
    assert code(forever, "2040-07-01T22:30") == "frozen"
    assert code(written(tmp_path / "c.ics", "UID:a\nDTSTART;VALUE=DATE:99991231"), "2026-07-01T10:00") == "unreadable"


def test_more_at_once_than_can_be_spelled_out_closes(tmp_path):
    events = [f"UID:{number}\nDTSTART:20260101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY" for number in range(800)]
    assert code(written(tmp_path / "a.ics", *events), "2026-07-02T10:00") == "unreadable"


@pytest.mark.parametrize(
    ("lines", "head"),
    [
        ("BEGIN:VALARM\nTRIGGER:\nACTION:DISPLAY\nEND:VALARM", ""),
        ("BEGIN:VALARM\nTRIGGER:-PT0DT0H10M0S\nDURATION:PT5M\nREPEAT:2\nEND:VALARM", ""),
        ("CREATED:00001231T000000Z\nGEO:here\nDTSTAMP;TZID=Nowhere:20260101T000000", ""),
        ("", "REFRESH-INTERVAL:VALUE=DURATION:PT1H\n"),
        ("", "BEGIN:VTODO\nUID:t\nDUE:whenever\nEND:VTODO\nBEGIN:X-OWN\nDTSTART:whenever\nEND:X-OWN\n"),
    ],
)  # fmt: skip
def test_what_does_not_count_may_be_of_any_form(tmp_path, lines, head):
    path = written(tmp_path / "a.ics", f"{DAY}\n{lines}".rstrip(), head=HEAD + head)
    assert [code(path, "2026-07-01T10:00"), code(path, "2026-07-02T10:00")] == ["frozen", "open"]


@pytest.mark.parametrize(
    "lines", ["CATEGORIES=Freeze", "BEGIN:VALARM\nTRIGGER:-PT5M", "RRULE:FREQ=SOMETIMES", "RRULE:FREQ=DAILY;COUNT=1.5"]
)
def test_what_may_count_and_cannot_be_read_closes(tmp_path, lines):
    path = written(tmp_path / "a.ics", f"{DAY}\nCATEGORIES:Freeze\n{lines}")
    assert code(path, "2026-08-01T10:00", meaning="ignore") == "unreadable"


def test_a_fault_is_told_with_the_event_and_what_is_wrong(tmp_path):
    path = written(tmp_path / "a.ics", f"{DAY}\nRRULE:FREQ=SOMETIMES")
    said = ask(calendar(path), "shop", "prod", datetime(2026, 7, 2, tzinfo=BERLIN)).decision.sentence
    assert "the event Sale cannot be made sense of: RRULE" in said
