"""When events occur: as a library that repeats events says, in whatever span it is asked, and long after the first."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import icalendar
import pytest
import recurring_ical_events
from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.icalendar.recurrence import endless, wrong_rule
from airlock.schedule.icalendar.series import rules_of, series_of

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
BY = {
    "DAILY": {"BYMONTH": st.integers(1, 12), "BYMONTHDAY": st.sampled_from([1, 15, 31, -1]),
              "BYDAY": st.sampled_from(DAYS)},
    "WEEKLY": {"BYDAY": st.sampled_from(DAYS), "BYMONTH": st.integers(1, 12), "WKST": st.sampled_from(("MO", "SU"))},
    "MONTHLY": {"BYDAY": st.sampled_from((*DAYS, "1MO", "-1FR", "2TU")), "BYMONTHDAY": st.integers(1, 31),
                "BYSETPOS": st.sampled_from([1, -1, 2]), "BYMONTH": st.integers(1, 12)},
    "YEARLY": {"BYDAY": st.sampled_from((*DAYS, "1MO", "-1FR", "20MO")), "BYMONTH": st.integers(1, 12),
               "BYMONTHDAY": st.integers(1, 31), "BYYEARDAY": st.sampled_from([1, 100, 366, -1]),
               "BYWEEKNO": st.sampled_from([1, 20, 53, -1]), "BYSETPOS": st.sampled_from([1, -1])},
}  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(tuple(BY)))
    parts = [f"FREQ={frequency}", f"INTERVAL={draw(st.integers(1, 5))}"]
    for name in draw(st.lists(st.sampled_from(tuple(BY[frequency])), unique=True, max_size=2)):
        values = draw(st.lists(BY[frequency][name], min_size=1, max_size=1 if name == "WKST" else 3, unique=True))
        parts.append(f"{name}={','.join(map(str, values))}")
    if draw(st.booleans()):
        parts.append(f"COUNT={draw(st.integers(1, 300))}")
    return ";".join(parts)


@st.composite
def events(draw: st.DrawFn) -> str:
    first = draw(st.dates(date(1995, 1, 1), date(2026, 12, 31)))
    form = draw(st.sampled_from((";VALUE=DATE:%Y%m%d", ";TZID=Europe/Berlin:%Y%m%dT220000", ":%Y%m%dT013000Z",
                                 ":%Y%m%dT120000")))  # fmt: skip
    other = [first + timedelta(days=days) for days in draw(st.lists(st.integers(0, 800), max_size=4, unique=True))]
    left = [first + timedelta(days=days) for days in draw(st.lists(st.integers(0, 60), max_size=4, unique=True))]
    lines = [f"DTSTART{first.strftime(form)}", f"RRULE:{draw(rules())}"]
    lines += [f"RDATE{one.strftime(form)}" for one in other] + [f"EXDATE{one.strftime(form)}" for one in left]
    return "\n".join(("BEGIN:VCALENDAR", "BEGIN:VEVENT", "UID:a", *lines, "DURATION:P1D", "END:VEVENT",
                      "END:VCALENDAR"))


def starts(text: str, since: datetime, until: datetime) -> set[str]:
    (series,), _ = series_of(icalendar.Calendar.from_ical(text).walk("VEVENT"))
    return {str(one.start) for one in series.between(since, until)}


def sure(text: str) -> bool:
    event = icalendar.Calendar.from_ical(text).walk("VEVENT")[0]
    start = event.decoded("DTSTART")
    return not any(endless(rule, start) or list(wrong_rule(rule, start, "freeze")) for rule in rules_of(event))


@given(text=events(), since=st.datetimes(datetime(1995, 1, 1), datetime(2032, 1, 1)), days=st.integers(1, 90))
def test_an_event_occurs_as_a_library_says(text: str, since: datetime, days: int) -> None:
    if not sure(text):
        return
    since = since.replace(tzinfo=UTC)
    until = since + timedelta(days=days)
    query = recurring_ical_events.of(icalendar.Calendar.from_ical(text))
    found, margin = starts(text, since, until), timedelta(days=9)
    assert {str(one.decoded("DTSTART")) for one in query.between(since, until)} <= found
    assert found <= {str(one.decoded("DTSTART")) for one in query.between(since - margin, until + margin)}


@pytest.mark.campaign
@given(text=events(), cuts=st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2028, 1, 1)), min_size=2, max_size=5))
def test_it_does_not_matter_for_which_spans_it_is_asked(text: str, cuts: list[datetime]) -> None:
    if not sure(text):
        return
    cuts = sorted(one.replace(tzinfo=UTC) for one in cuts)
    whole = starts(text, cuts[0], cuts[-1])
    assert whole == set().union(*(starts(text, since, until) for since, until in pairwise(cuts)))


@pytest.mark.parametrize(
    ("rule", "day", "near"),
    [
        ("FREQ=DAILY;INTERVAL=3", "19000101", "2026-07-02"), ("FREQ=MONTHLY", "19000131", "2026-07-31"),
        ("FREQ=YEARLY", "19040229", "2028-02-29"), ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR", "19000101", "2026-07-03"),
        ("FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", "19001122", "2026-11-26"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "19000131", "2026-07-31"),
    ],
)  # fmt: skip
def test_long_after_the_first_one(rule: str, day: str, near: str) -> None:
    text = (f"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:a\nDTSTART;VALUE=DATE:{day}\nRRULE:{rule}\nEND:VEVENT\n"
            "END:VCALENDAR")
    at = datetime.fromisoformat(near).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    assert near in starts(text, at, at + timedelta(hours=1))


@pytest.mark.parametrize("week", [1, 2, 20, 51, -1, -2, -51])
def test_weeks_are_those_of_the_calendar(week: int) -> None:
    text = ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:a\nDTSTART;VALUE=DATE:19900101\n"
            f"RRULE:FREQ=YEARLY;BYWEEKNO={week};BYDAY=MO,SU\nEND:VEVENT\nEND:VCALENDAR")
    assert sure(text)
    day, last, wanted = date(2000, 1, 1), date(2060, 12, 31), set[str]()
    while day <= last:
        year, number, weekday = day.isocalendar()
        weeks = date(year, 12, 28).isocalendar()[1]
        if weekday in (1, 7) and week in (number, number - weeks - 1):
            wanted.add(str(day))
        day += timedelta(days=1)
    found = starts(text, datetime(2000, 1, 1, tzinfo=UTC), datetime(2061, 1, 1, tzinfo=UTC))
    assert {one for one in found if "2000-01-01" <= one <= "2060-12-31"} == wanted
