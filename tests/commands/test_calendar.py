from __future__ import annotations

import json

import pytest

from airlock.commands.main import main
from tests.commands.test_services_and_plan import WHOLE
from tests.service_data import write

FROZEN = WHOLE.replace(
    "      windows:", "      freezes: [{name: year end, from: 2026-12-21, to: 2026-12-29}]\n      windows:"
)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path, FROZEN).parent


def run(folder, *arguments):
    return main(["calendar", "cafe", "live", "--folder", str(folder), *arguments])


def test_the_next_times_are_listed_with_what_closes_those_before(folder, capsys):
    assert run(folder, "--next", "2", "--at", "2026-12-22T10:00") == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "cafe live: CLOSED, frozen" in out
    assert "is in the freeze 'year end', which ends Tue 29 Dec 2026 00:00; next opening Tue 29 Dec 2026 09:00" in out
    assert "open (Europe/Berlin)" in out and "outside every window" in out


def test_days_that_adjoin_are_one_time(tmp_path, capsys):
    text = WHOLE.replace('[mon, tue], from: "09:00", to: "17:00"', '[mon, tue, sat], from: "00:00", to: "24:00"')
    assert run(write(tmp_path, text).parent, "--next", "2", "--at", "2026-12-06T10:00", "--json") == 0
    found = json.loads(capsys.readouterr().out)["slots"]
    assert [(one["from"], one["to"]) for one in found] == [
        ("2026-12-06T23:00:00+00:00", "2026-12-08T23:00:00+00:00"),
        ("2026-12-11T23:00:00+00:00", "2026-12-12T23:00:00+00:00")]


@pytest.mark.parametrize("number", ["1", "3"])
def test_a_calendar_that_never_closes_is_open_without_an_end(tmp_path, capsys, number):
    text = WHOLE.replace('[mon, tue], from: "09:00", to: "17:00"',
                         '[mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"')
    folder = write(tmp_path, text).parent
    assert run(folder, "--next", number, "--at", "2026-12-06T10:00", "--json") == 0
    assert json.loads(capsys.readouterr().out)["slots"] == [
        {"from": "2026-12-06T09:00:00+00:00", "to": None, "before": []}]
    assert run(folder, "--next", number, "--at", "2026-12-06T10:00") == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "cafe live: open Sun" in out and "without an end within 800 days" in out


def test_a_time_ends_where_the_calendar_closes_however_many_windows_it_has(tmp_path, capsys):
    text = FROZEN.replace('[mon, tue], from: "09:00", to: "17:00"',
                          '[mon, tue, wed, thu, fri, sat, sun], from: "00:00", to: "24:00"')
    assert run(write(tmp_path, text).parent, "--next", "1", "--at", "2026-03-01T10:00", "--json") == 0
    assert [one["to"] for one in json.loads(capsys.readouterr().out)["slots"]] == ["2026-12-20T23:00:00+00:00"]


def test_json_has_every_time_and_its_reasons(folder, capsys):
    assert run(folder, "--next", "3", "--at", "2026-12-15T18:00:00+01:00", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["open"], found["code"], found["timezone"]) == (False, "outside_window", "Europe/Berlin")
    assert found["next_open"] == "2026-12-29T08:00:00+00:00"
    assert [slot["from"] for slot in found["slots"]][:2] == ["2026-12-29T08:00:00+00:00", "2027-01-04T08:00:00+00:00"]
    assert [(one["code"], one["name"]) for one in found["slots"][0]["before"]] == [("frozen", "year end")]
    assert (found["cycle"], found["runs"]) == ("manual", [])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--at", "tomorrow"], "--at 'tomorrow' is no moment"),
        (["--at", "0001-01-01"], "is no moment from 2000"),
        (["--next", "0"], "write a number from 1 to 100"),
    ],
)
def test_wrong_input_is_one_sentence(folder, capsys, arguments, sentence):
    assert run(folder, *arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_calendar_that_nobody_can_read_is_closed(tmp_path, capsys):
    text = WHOLE.replace(
        "      windows:", "      files: [{name: company, path: FOLDER/missing.ics}]\n      windows:"
    )
    assert run(write(tmp_path, text).parent, "--at", "2026-12-22T10:00") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "unreadable" in out and "calendar file 'company'" in out and "no opening is known" in out
