"""The timetable of a cycle as Airflow asks it: serialised, shown, and never late, doubled or made up for."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from airflow.timetables.base import DataInterval, TimeRestriction
from hypothesis import given
from hypothesis import strategies as st
from pendulum import instance

from airlock.flow.dags import timetables
from airlock.flow.dags.timetables import CycleTimetable
from airlock.service.calendar import Calendar, Cycle
from airlock.service.values import DAYS

FREE = TimeRestriction(earliest=None, latest=None, catchup=False)
TUESDAY = {"weekly": {"day": "tue", "time": "06:00"}}


def timetable(settings=None, **calendar):
    whole = {"timezone": "Europe/Berlin", "windows": [{"days": list(DAYS), "from": "00:00", "to": "24:00"}]}
    return CycleTimetable(Cycle.model_validate(settings or TUESDAY), Calendar.model_validate(whole | calendar))


@pytest.fixture
def clock(monkeypatch):
    def set_to(text):
        monkeypatch.setattr(timetables, "utc_now", lambda: datetime.fromisoformat(text).astimezone(UTC))

    return set_to


def next_of(table, last=None, restriction=FREE):
    interval = None if last is None else DataInterval.exact(instance(datetime.fromisoformat(last)))
    found = table.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
    return None if found is None else found.run_after.isoformat()


def test_the_first_run_is_the_next_time_and_never_one_that_is_over(clock):
    clock("2026-11-24T05:05:00+00:00")
    assert next_of(timetable()) == "2026-12-01T05:00:00+00:00"
    clock("2026-11-24T04:59:00+00:00")
    assert next_of(timetable()) == "2026-11-24T05:00:00+00:00"


def test_a_parse_between_the_time_and_the_creation_of_the_run_does_not_lose_it(clock):
    clock("2026-11-24T05:00:05+00:00")
    assert next_of(timetable()) == "2026-11-24T05:00:00+00:00"
    clock("2026-11-24T05:10:00+00:00")
    assert next_of(timetable(), last="2026-11-17T05:00:00+00:00") == "2026-11-24T05:00:00+00:00"


def test_what_was_missed_in_a_pause_or_an_outage_is_not_made_up_for(clock):
    clock("2026-11-25T12:00:00+00:00")
    for catchup in (False, True):
        restriction = TimeRestriction(earliest=None, latest=None, catchup=catchup)
        assert next_of(timetable(), "2026-10-06T04:00:00+00:00", restriction) == "2026-12-01T05:00:00+00:00"


def test_a_run_comes_once(clock):
    clock("2026-11-24T05:00:05+00:00")
    assert next_of(timetable(), last="2026-11-24T05:00:00+00:00") == "2026-12-01T05:00:00+00:00"


def test_a_freeze_moves_the_run_and_start_and_end_dates_bound_it(clock):
    clock("2026-12-21T12:00:00+00:00")
    frozen = timetable(freezes=[{"name": "year end", "from": "2026-12-20", "to": "2027-01-04"}])
    assert next_of(frozen) == "2027-01-03T23:00:00+00:00"
    late = TimeRestriction(earliest=instance(datetime(2027, 2, 1, tzinfo=UTC)), latest=None, catchup=False)
    assert next_of(frozen, restriction=late) == "2027-02-02T05:00:00+00:00"
    over = TimeRestriction(earliest=None, latest=instance(datetime(2026, 12, 31, tzinfo=UTC)), catchup=False)
    assert next_of(frozen, restriction=over) is None


def test_local_files_count_others_and_live_signals_are_not_asked(clock, tmp_path):
    clock("2026-12-21T12:00:00+00:00")
    path = tmp_path / "a.ics"
    path.write_text("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:x\r\n"
                    "DTSTART;VALUE=DATE:20261222\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
    files = [{"name": "here", "path": str(path)}, {"name": "away", "path": "s3://nowhere/a.ics"}]
    signal = {"name": "file", "closes": "incident", "options": {"path": str(tmp_path / "none")}}
    table = timetable(files=files, signals=[signal])
    assert next_of(table) == "2026-12-22T23:00:00+00:00"
    path.unlink()
    assert next_of(table) == "2026-12-22T05:00:00+00:00", "a run that begins waits in its window"


@given(
    settings=st.sampled_from([
        TUESDAY, {"cron": "0 6 * * 2", "timezone": "America/New_York", "when_closed": "skip"},
        {"bi-weekly": {"anchor": "2026-11-23", "day": "fri", "time": "23:30"}, "late_after_minutes": 90},
    ]),
    freeze=st.tuples(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.integers(1, 500)),
)
def test_serialised_and_back_it_is_the_same(settings, freeze):
    begin, hours = freeze
    table = timetable(settings, blackout_dates=["2026-12-24"], holidays=[{"country": "DE"}], freezes=[
        {"name": "f", "from": begin.isoformat(), "to": (begin + timedelta(hours=hours)).isoformat()}])
    again = CycleTimetable.deserialize(json.loads(json.dumps(table.serialize())))
    assert (again.summary, again.description) == (table.summary, table.description)
    assert again.serialize() == table.serialize()
    after = instance(begin.replace(tzinfo=UTC))
    assert next_of(again, after.isoformat()) == next_of(table, after.isoformat())


def test_airflow_serialises_it_through_the_plugin(tmp_path, monkeypatch):
    import airflow.plugins_manager as plugins
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import DagSerialization

    monkeypatch.setattr(plugins, "get_timetables_plugins", lambda: {
        f"{CycleTimetable.__module__}.{CycleTimetable.__qualname__}": CycleTimetable})
    dag = DAG("cycle", schedule=timetable({"bi-weekly": {"anchor": "2026-11-23", "day": "thu", "time": "06:00"}}))
    data = json.loads(json.dumps(DagSerialization.to_dict(dag)))
    found = DagSerialization.from_dict(data).timetable
    assert isinstance(found, CycleTimetable)
    assert found.summary == "every second Thu 06:00, as in the week of 2026-11-23 (Europe/Berlin)"
    assert "moves to its next opening" in found.description
