"""Rules for clocks, versions and room."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airlock.doctor.finding import Gravity, Subject
from airlock.doctor.measures import at_least, clock, room, version_in

SUBJECT = Subject("area", "server")
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(("said", "version"), [
    ("git version 2.39.2 (Apple Git-143)", (2, 39, 2)),
    ("git version 2.47.3", (2, 47, 3)),
    ("pg_dump (PostgreSQL) 18.0 (Debian 18.0-1.pgdg13+3)", (18, 0)),
    ("psql (PostgreSQL) 17beta2", (17,)),
    ("v1.19.6-eks-49a6c0", (1, 19, 6)),
    ("v1.17.15-gke.800", (1, 17, 15)),
    ("1.18+", (1, 18)),
    ("HAProxy version 3.0.11-1+deb13u1 2025/11/05", (3, 0, 11)),
    ("command not found", ()),
    ("", ()),
])  # fmt: skip
def test_the_version_is_found_whatever_a_vendor_adds(said: str, version: tuple[int, ...]) -> None:
    assert version_in(said) == version


@pytest.mark.parametrize(("found", "least", "enough"), [
    ((2, 29), "2.29", True), ((2, 29, 0), "2.29", True), ((2,), "2.0", True), ((2, 9), "2.29", False),
    ((10, 1), "9.6", True), ((1, 28), "1.28.0-0", True), ((0, 35), "2", False), ((), "1", False),
])  # fmt: skip
def test_versions_are_numbers_and_not_words(found: tuple[int, ...], least: str, enough: bool) -> None:
    assert at_least(found, least) is enough


def gravity(off: float, way: float = 0.1) -> Gravity:
    return clock(SUBJECT, NOON + timedelta(seconds=off), NOON, NOON + timedelta(seconds=way)).gravity


@given(st.floats(0, 30), st.floats(0, 1))
def test_time_on_the_way_and_whole_seconds_are_no_skew(way: float, share: float) -> None:
    told = (NOON + timedelta(seconds=way * share)).replace(microsecond=0)
    assert clock(SUBJECT, told, NOON, NOON + timedelta(seconds=way)).gravity is Gravity.FINE


@pytest.mark.parametrize(("off", "expected"), [
    (0, Gravity.FINE), (4, Gravity.FINE), (-5, Gravity.FINE), (8, Gravity.WARNING), (-8, Gravity.WARNING),
    (59, Gravity.WARNING), (61, Gravity.FAULT), (-3600, Gravity.FAULT), (86400 * 365, Gravity.FAULT),
])  # fmt: skip
def test_a_clock_that_is_off_is_said_with_its_side(off: float, expected: Gravity) -> None:
    assert gravity(off) is expected
    if expected is not Gravity.FINE:
        said = clock(SUBJECT, NOON + timedelta(seconds=off), NOON, NOON).what
        assert ("ahead of" if off > 0 else "behind") in said


@pytest.mark.parametrize(("free", "wanted", "expected"), [
    (0, None, Gravity.FAULT), (0, 10, Gravity.FAULT), (5, 10, Gravity.FAULT), (12, 10, Gravity.WARNING),
    (15, 10, Gravity.FINE), (1, None, Gravity.FINE), (1, 0, Gravity.FINE), (1 << 60, 1 << 40, Gravity.FINE),
])  # fmt: skip
def test_room_is_judged_by_the_last_backup(free: int, wanted: int | None, expected: Gravity) -> None:
    assert room(SUBJECT, free, wanted).gravity is expected
