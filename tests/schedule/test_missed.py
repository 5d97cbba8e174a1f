from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.schedule.missed import due_between, unmet
from airlock.service.model import Schedule

DAILY = Schedule(cron="0 3 * * *", late_after_minutes=60)
SINCE = datetime(2026, 11, 1, 12, tzinfo=UTC)


def missed(schedule: Schedule, since: datetime, begun: list[datetime], now: datetime) -> tuple[datetime, ...]:
    return unmet(due_between(schedule, since, now), begun, now, timedelta(minutes=schedule.late_after_minutes))


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("begun", "now", "expected"),
    [
        ([], at(1, 23), []),
        ([], at(2, 3, 59), []),
        ([], at(2, 4, 1), [2]),
        ([at(2, 3)], at(2, 4, 1), []),
        ([at(2, 3, 50)], at(2, 4, 1), []),
        ([at(2, 2, 59)], at(2, 4, 1), [2]),
        ([at(2, 3), at(5, 3)], at(5, 12), [3, 4]),
        ([at(5, 3)], at(5, 12), [2, 3, 4]),
        ([at(2, 3), at(3, 1)], at(3, 12), [3]),
    ],
)
def test_a_time_without_a_run_is_missed_once_it_is_late_also_after_the_scheduler_was_down(begun, now, expected):
    assert [tick.day for tick in missed(DAILY, SINCE, begun, now)] == expected


def test_a_schedule_follows_its_local_clock_across_daylight_saving():
    berlin = Schedule(cron="0 3 * * *", timezone="Europe/Berlin")
    due = due_between(berlin, datetime(2026, 10, 23, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC))
    assert [tick.astimezone(ZoneInfo("Europe/Berlin")).strftime("%d %H:%M") for tick in due] == [
        "23 03:00", "24 03:00", "25 03:00", "26 03:00",
    ]  # fmt: skip


@given(st.sets(st.integers(0, 60)), st.integers(0, 60 * 24))
def test_what_is_missed_is_exactly_what_has_no_run(days, hours):
    now = SINCE + timedelta(hours=hours)
    begun = [SINCE.replace(hour=3) + timedelta(days=day) for day in days]
    due = due_between(DAILY, SINCE, now)
    expected = [tick for tick in due if tick not in begun and now - tick > timedelta(minutes=60)]
    assert list(missed(DAILY, SINCE, begun, now)) == expected


def test_a_moment_of_the_schedule_belongs_to_it():
    assert due_between(DAILY, at(2, 2), at(2, 3)) == (at(2, 3),)
    assert due_between(DAILY, at(2, 3), at(3, 2)) == ()
