from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.calendar import decide
from airlock.schedule.calendar import next_slots as slots_with_reasons
from airlock.service.calendar import Calendar
from airlock.service.values import DAYS


def next_slots(calendar, now, count):
    return tuple((slot.start, slot.end) for slot in slots_with_reasons(calendar, now, count))


BERLIN = ZoneInfo("Europe/Berlin")


def calendar(*windows, freezes=(), timezone="Europe/Berlin"):
    return Calendar.model_validate(
        {
            "timezone": timezone,
            "windows": [{"days": days.split(), "from": start, "to": end} for days, start, end in windows],
            "freezes": [{"name": name, "from": start, "to": end} for name, start, end in freezes],
        }
    )


def at(text):
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=BERLIN)


ALWAYS = calendar((" ".join(DAYS), "00:00", "24:00"), freezes=[("year end", "2026-12-20T00:00", "2027-01-03T00:00")])
OFFICE = calendar(("mon tue wed thu fri", "09:00", "17:00"))
NIGHT = calendar(("fri", "22:00", "02:00"))


@pytest.mark.parametrize(
    ("when", "now", "code", "next_open"),
    [
        (ALWAYS, "2026-12-19T23:59:59", "open", "2026-12-19T23:59:59"),
        (ALWAYS, "2026-12-20T00:00:00", "frozen", "2027-01-03T00:00:00"),
        (ALWAYS, "2027-01-02T23:59:59", "frozen", "2027-01-03T00:00:00"),
        (ALWAYS, "2027-01-03T00:00:00", "open", "2027-01-03T00:00:00"),
        (OFFICE, "2026-11-24T09:00:00", "open", "2026-11-24T09:00:00"),
        (OFFICE, "2026-11-24T16:59:59", "open", "2026-11-24T16:59:59"),
        (OFFICE, "2026-11-24T17:00:00", "outside_window", "2026-11-25T09:00:00"),
        (OFFICE, "2026-11-27T17:00:00", "outside_window", "2026-11-30T09:00:00"),
        (NIGHT, "2026-11-27T21:59:59", "outside_window", "2026-11-27T22:00:00"),
        (NIGHT, "2026-11-28T01:59:59", "open", "2026-11-28T01:59:59"),
        (NIGHT, "2026-11-28T02:00:00", "outside_window", "2026-12-04T22:00:00"),
    ],
)
def test_decisions(when, now, code, next_open):
    decision = decide(when, at(now))
    assert (decision.code, decision.open) == (code, code == "open")
    assert decision.next_open == at(next_open)
    assert "Europe/Berlin" in decision.sentence


def test_a_freeze_is_named_and_says_when_it_opens():
    sentence = decide(ALWAYS, at("2026-12-24T12:00")).sentence
    assert "'year end'" in sentence and "next opening Sun 03 Jan 2027 00:00" in sentence


def test_a_calendar_that_never_opens_says_so():
    shut = calendar(("mon", "09:00", "10:00"), freezes=[("end", "2000-01-01T00:00", "2100-01-01T00:00")])
    decision = decide(shut, at("2026-11-24T12:00"))
    assert (decision.open, decision.code, decision.next_open) == (False, "frozen", None)


def test_windows_follow_the_local_clock_across_daylight_saving():
    for day, offset in (("2026-03-27", 1), ("2026-03-30", 2), ("2026-10-23", 2), ("2026-10-26", 1)):
        opening = datetime.fromisoformat(f"{day}T09:00:00").replace(tzinfo=UTC) - timedelta(hours=offset)
        assert decide(OFFICE, opening).open
        assert not decide(OFFICE, opening - timedelta(seconds=1)).open


def test_a_bound_that_the_clock_skips_is_the_moment_of_the_skip():
    spring = calendar(("sun", "02:30", "04:00"))
    assert next_slots(spring, at("2026-03-29T00:00"), 1) == (
        (at("2026-03-29T01:00+00:00"), at("2026-03-29T02:00+00:00")),
    )
    vanished = calendar(("sun", "02:15", "02:45"))
    assert next_slots(vanished, at("2026-03-29T00:00"), 1)[0][0] == at("2026-04-05T02:15")


def test_a_bound_that_the_clock_passes_twice_is_the_first_pass():
    autumn = calendar(("sun", "01:00", "02:30"))
    assert next_slots(autumn, at("2026-10-25T00:00"), 1) == (
        (at("2026-10-24T23:00+00:00"), at("2026-10-25T00:30+00:00")),
    )


def test_freezes_with_an_offset_are_absolute():
    frozen = calendar(
        (" ".join(DAYS), "00:00", "24:00"), freezes=[("x", "2026-07-01T00:00+00:00", "2026-07-01T01:00+00:00")]
    )
    assert decide(frozen, at("2026-07-01T01:59:59")).open
    assert not decide(frozen, at("2026-07-01T02:00:00")).open
    assert decide(frozen, at("2026-07-01T03:00:00")).open


def test_slots_are_cut_by_freezes():
    cut = calendar(("tue", "09:00", "17:00"), freezes=[("lunch", "2026-11-24T12:00", "2026-11-24T13:00")])
    assert next_slots(cut, at("2026-11-24T10:00"), 3) == (
        (at("2026-11-24T10:00"), at("2026-11-24T12:00")),
        (at("2026-11-24T13:00"), at("2026-11-24T17:00")),
        (at("2026-12-01T09:00"), at("2026-12-01T17:00")),
    )
    assert next_slots(cut, at("2026-11-24T10:00"), 0) == ()


clocks = st.integers(0, 23).map(lambda hour: f"{hour:02d}:00") | st.sampled_from(["00:30", "02:30", "23:59"])
windows = st.lists(
    st.tuples(st.sets(st.sampled_from(DAYS), min_size=1).map(" ".join), clocks, clocks | st.just("24:00")).filter(
        lambda row: row[1] != row[2]
    ),
    min_size=1,
    max_size=3,
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(lambda moment: moment.replace(tzinfo=UTC))


@given(
    rows=windows,
    now=moments,
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    freeze=st.tuples(moments, st.integers(1, 2000)),
)
def test_decisions_agree_with_slots(rows, now, zone, freeze):
    begin, hours = freeze
    when = calendar(
        *rows, timezone=zone, freezes=[("f", begin.isoformat(), (begin + timedelta(hours=hours)).isoformat())]
    )
    decision, slots = decide(when, now), next_slots(when, now, 4)
    assert decision.next_open == slots[0][0]
    assert decision.open == (slots[0][0] == now)
    assert decide(when, decision.next_open).open
    assert all(start < end for start, end in slots)
    assert all(one[1] <= two[0] for one, two in pairwise(slots))
    for start, end in slots:
        assert not (start < begin + timedelta(hours=hours) and begin < end)
        assert decide(when, end - timedelta(microseconds=1)).open


@given(
    now=moments,
    days=st.sets(st.sampled_from(DAYS), min_size=1),
    hours=st.tuples(st.integers(0, 23), st.integers(1, 24)).filter(lambda pair: pair[0] < pair[1]),
)
def test_whole_hours_agree_with_the_clock_on_the_wall(now, days, hours):
    first, last = hours
    when = calendar((" ".join(days), f"{first:02d}:00", f"{last:02d}:00"))
    local = now.astimezone(BERLIN)
    if (local.replace(tzinfo=BERLIN, fold=0)).astimezone(UTC) != now or local.utcoffset() != (
        now + timedelta(hours=1)
    ).astimezone(BERLIN).utcoffset():
        return  # within an hour that the clock passes twice: the first pass is meant, see above
    assert decide(when, now).open == (DAYS[local.weekday()] in days and first <= local.hour < last)
