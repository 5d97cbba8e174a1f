"""When cycles run: the clock on the wall, daylight saving, freezes, and schedules that were missed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.calendar import decide
from airlock.schedule.cycle import described, due_times, next_run, too_late
from airlock.service.calendar import Calendar, Cycle, cycle_from
from airlock.service.model import Schedule
from airlock.service.values import DAYS

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Havana"]
START = datetime(2026, 11, 1, tzinfo=UTC)


def always(zone="Europe/Berlin", freezes=(), hours=("00:00", "24:00")):
    return Calendar.model_validate({
        "timezone": zone, "windows": [{"days": list(DAYS), "from": hours[0], "to": hours[1]}],
        "freezes": [{"name": name, "from": begin, "to": end} for name, begin, end in freezes],
    })


def cycle(value, **more):
    return Cycle.model_validate(value if isinstance(value, dict) else cycle_from(value) | more)


def local(moments, zone="Europe/Berlin"):
    return [f"{moment.astimezone(ZoneInfo(zone)):%a %d %b %H:%M %z}" for moment in moments]


def test_bi_weekly_runs_keep_their_local_hour_across_the_change_of_the_clock():
    fortnight = cycle({"bi-weekly": {"anchor": "2026-10-15", "day": "thu", "time": "06:00"}})
    assert local(due_times(fortnight, always(), datetime(2026, 10, 1, tzinfo=UTC), 4)) == [
        "Thu 01 Oct 06:00 +0200", "Thu 15 Oct 06:00 +0200", "Thu 29 Oct 06:00 +0100", "Thu 12 Nov 06:00 +0100",
    ]
    assert described(fortnight, always()) == "every second Thu 06:00, as in the week of 2026-10-15 (Europe/Berlin)"


@pytest.mark.parametrize(
    ("line", "begin", "expected"),
    [
        ("30 2 * * *", "2026-03-28T12:00", ["Sun 29 Mar 03:00 +0200", "Mon 30 Mar 02:30 +0200"]),
        ("30 2 * * *", "2026-10-24T12:00", ["Sun 25 Oct 02:30 +0200", "Mon 26 Oct 02:30 +0100"]),
        ("30 * * * *", "2026-10-25T00:31", ["Sun 25 Oct 02:30 +0100", "Sun 25 Oct 03:30 +0100"]),
        ("30 * * * *", "2026-03-29T00:31", ["Sun 29 Mar 03:30 +0200", "Sun 29 Mar 04:30 +0200"]),
        ("0 6 * * 2", "2026-11-23T00:00", ["Tue 24 Nov 06:00 +0100", "Tue 01 Dec 06:00 +0100"]),
    ],
)
def test_a_change_of_the_clock_neither_doubles_nor_loses_a_run(line, begin, expected):
    after = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    assert local(due_times(cycle(line), always(), after, 2)) == expected


def test_a_run_in_a_freeze_moves_to_the_opening_and_several_become_one():
    frozen = always(freezes=[("year end", "2026-12-20", "2027-01-04")], hours=("09:00", "17:00"))
    weekly = {"weekly": {"day": "tue", "time": "06:00"}}
    after = datetime(2026, 12, 14, tzinfo=UTC)
    assert local(due_times(cycle(weekly), frozen, after, 3)) == [
        "Tue 15 Dec 09:00 +0100", "Mon 04 Jan 09:00 +0100", "Tue 05 Jan 09:00 +0100",
    ]
    left_out = cycle({"weekly": {"day": "tue", "time": "10:00"}, "when_closed": "skip"})
    assert local(due_times(left_out, frozen, after, 2)) == ["Tue 15 Dec 10:00 +0100", "Tue 05 Jan 10:00 +0100"]


def test_a_cycle_of_a_calendar_that_never_opens_never_runs():
    shut = always(freezes=[("for ever", "2000-01-01", "2100-01-01")])
    for when_closed in ("move", "skip"):
        assert next_run(cycle("0 6 * * *", when_closed=when_closed), shut, START) is None
    assert next_run(cycle("manual"), always(), START) is next_run(cycle("continuous"), always(), START) is None


@pytest.mark.parametrize("line", ["0 0 30 2 *", "0 0 31 2,4,6-7/9 *", "0 0 31 4 */2", "0 0 30-31 feb *"])
def test_a_cron_line_of_which_there_is_no_day_is_refused(line):
    assert next_run(cycle("0 0 31 2 2"), always(), START) is not None, "on Tuesdays besides"
    with pytest.raises(ValueError, match="there is no such day in these months"):
        cycle(line)


@given(st.integers(1, 31), st.integers(1, 12), st.sampled_from(["*", "*/2", "2", "sun-tue"]))
def test_a_cron_line_is_refused_or_has_a_day(day, month, weekday):
    try:
        found = cycle(f"0 0 {day} {month} {weekday}")
    except ValueError:
        assert day > 29 and not weekday[0].isalnum()
        return
    assert next_run(found, always(), START) is not None or weekday == "*/2" or (day, month) == (29, 2)


def test_a_run_that_was_missed_is_left_out():
    weekly = cycle("0 6 * * 2", late_after_minutes=30)
    assert too_late(weekly, START, START + timedelta(minutes=30)) == ""
    assert "31 min ago" in too_late(weekly, START, START + timedelta(minutes=31))


@pytest.mark.parametrize("value", [
    {"cron": "0 6 * * 2", "weekly": {"day": "tue", "time": "06:00"}}, {"weekly": {"day": "tue", "time": "24:00"}},
    {"bi-weekly": {"day": "tue", "time": "06:00"}}, {"when_closed": "now"}, "weekly",
])
def test_wrong_cycles_are_refused(value):
    with pytest.raises(ValueError, match=r"."):
        Cycle.model_validate(cycle_from(value))


clocks = st.tuples(st.integers(0, 23), st.sampled_from([0, 15, 30, 59])).map(lambda one: f"{one[0]:02d}:{one[1]:02d}")
cycles = st.one_of(
    st.builds(lambda day, time: {"weekly": {"day": day, "time": time}}, st.sampled_from(DAYS), clocks),
    st.builds(lambda day, time, anchor: {"bi-weekly": {"day": day, "time": time, "anchor": anchor}},
              st.sampled_from(DAYS), clocks, st.dates(date(2025, 1, 1), date(2027, 1, 1))),
    st.builds(lambda time: {"cron": f"{int(time[3:])} {int(time[:2])} * * *"}, clocks),
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)).map(lambda moment: moment.replace(tzinfo=UTC))


def wall_times(settings):
    rule = settings.get("weekly") or settings.get("bi-weekly")
    return rule["time"] if rule else "{1:0>2}:{0:0>2}".format(*settings["cron"].split())


@pytest.mark.campaign
@given(settings=cycles, zone=st.sampled_from(ZONES), after=moments)
def test_runs_keep_their_wall_time_and_their_rhythm(settings, zone, after):
    runs = due_times(cycle(settings), always(zone), after, 6)
    here = [moment.astimezone(ZoneInfo(zone)) for moment in runs]
    assert len(runs) == 6 and runs[0] > after and all(one < two for one, two in pairwise(runs))
    days = 7 if "weekly" in settings else 14 if "bi-weekly" in settings else 1
    for one, two in pairwise(here):
        assert (two.date() - one.date()).days == days
    for moment in here:
        shown = f"{moment:%H:%M}"
        skipped = shown != wall_times(settings)
        if skipped:  # then the clock skipped that time on that day, and this is the moment of the skip
            wished = datetime.combine(moment.date(), datetime.strptime(wall_times(settings), "%H:%M").time())
            there_and_back = wished.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).astimezone(ZoneInfo(zone))
            assert there_and_back.replace(tzinfo=None) != wished
            before = moment.astimezone(UTC) - timedelta(seconds=1)
            assert moment.utcoffset() != before.astimezone(ZoneInfo(zone)).utcoffset()
        assert moment.fold == 0


@pytest.mark.campaign
@given(settings=cycles, zone=st.sampled_from(ZONES), after=moments, freeze=st.tuples(moments, st.integers(1, 1200)),
       when_closed=st.sampled_from(["move", "skip"]))
def test_runs_begin_only_when_the_calendar_is_open_and_do_not_depend_on_where_one_looks_from(
        settings, zone, after, freeze, when_closed):
    begin, hours = freeze
    when = always(zone, [("f", begin.isoformat(), (begin + timedelta(hours=hours)).isoformat())], ("07:00", "19:00"))
    one = cycle({**settings, "when_closed": when_closed})
    runs = due_times(one, when, after, 4)
    assert all(decide(when, moment).open for moment in runs)
    assert all(first < second for first, second in pairwise(runs))
    if runs:
        assert next_run(one, when, runs[0] - timedelta(seconds=1)) == runs[0]
        between = after + (runs[0] - after) / 2
        assert next_run(one, when, between) == runs[0]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 6 */2 * 1", ["Mon 05", "Mon 19"]),
        ("0 6 1 * */2", ["Thu 01", "Sun 01"]),
        ("0 6 * * 1", ["Mon 05", "Mon 12"]),
        ("0 6 2 * 1", ["Fri 02", "Mon 05"]),
        ("0 6 1-7 * 1", ["Thu 01", "Fri 02"]),
        ("0 6 */9 * *", ["Thu 01", "Sat 10"]),
        ("0 6 * jan,FEB MON-tue", ["Mon 05", "Tue 06"]),
        ("0 6 * * 7", ["Sun 04", "Sun 11"]),
    ],
)
def test_days_of_the_month_and_of_the_week_are_joined_as_cron_does(line, expected):
    found = local(due_times(cycle(line), always(), datetime(2026, 1, 1, tzinfo=UTC), 2))
    assert [moment[:6] for moment in found] == expected


@pytest.mark.parametrize(
    "line",
    ["R * * * *", "H 6 * * *", "0 0 L * *", "0 0 * * 5#2", "0 0 ? * *", "0 22-2 * * *", "0 0 * * fri-mon",
     "5/10 * * * *", "*/70 * * * *", "*/0 * * * *", "0 0 15w * *", "@daily", "0 0 1,, * *", "0 0 * jan-feb-mar *",
     "0 0 * * mon/2",
     "0 0 0 * *", "60 * * * *", "0 0 * 13 *", "0 0 * mon *", "٠ 0 * * *", "0 6 * * * *"],
)  # fmt: skip
def test_what_cron_does_not_know_is_refused(line):
    with pytest.raises(ValueError, match="is no cron line"):
        cycle({"cron": line})


@pytest.mark.parametrize("line", ["0 6 */2 * 1", "0 6 1 * */2"])
def test_what_airflow_reads_otherwise_is_refused_where_airflow_reads_it(line):
    with pytest.raises(ValueError, match="Airflow when one does"):
        Schedule(cron=line)
    assert Schedule(cron="0 6 1 * 1").cron == "0 6 1 * 1"
