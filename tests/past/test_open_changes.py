"""Which open releases a change is compared with: those of every ledger that a service file names, however it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from airlock.evidence.ledger import Ledger
from airlock.evidence.open_releases import Holder, OpenReleases
from airlock.models import Record, utc_now
from airlock.past.open_changes import open_changes
from airlock.service import file as service_file
from airlock.service import last_good
from airlock.service.find import ServiceEnvironment, find
from airlock.service.reading import load_file
from tests.service_data import TEXT, write

NUMBERS = range(40)
LINE = "    ledger: FOLDER/ledger\n"
EVIDENCE = "    evidence: FOLDER/evidence\n"


def opened(root: Path, service: str) -> None:
    """Begin a release of *service*, and say so in the ledger at *root*."""
    holder = Holder(service, "live", f"{service}-live-1")
    record = Record(release=holder.release, type="plan", at=utc_now(), actor="test", data={})
    Ledger(root, service, "live").append(record)
    OpenReleases(root).put(holder, {"version": "1", "touches": ["env://x"], "since": "2026-11-23T09:00:00Z"})


@pytest.fixture
def cafe(tmp_path: Path) -> ServiceEnvironment:
    """One service among many whose files say the same of their ledgers."""
    for number in NUMBERS:
        write(tmp_path, TEXT.replace("service: cafe", f"service: house-{number}"), f"house-{number}.yaml")
    write(tmp_path)
    return find(tmp_path / "services", "cafe", "live")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (LINE, "    ledger: FOLDER/other\n"),
        (LINE, "    ledger: 'FOLDER/other'\n"),
        (LINE, "    ledger: ${AIRLOCK_OTHER}\n"),
        (LINE, "    ledger: FOLDER/other # not FOLDER/ledger\n"),
        (LINE, "    ledger:\n      FOLDER/other\n"),
        (LINE, "    ledger: >-\n      FOLDER/other\n"),
        (LINE, '    "\\x6cedger": FOLDER/other\n    description: "ledger: FOLDER/ledger"\n'),
        (LINE + EVIDENCE, "    evidence: &place FOLDER/other\n    ledger: *place\n"),
    ],
)
def test_another_ledger_is_found_however_it_is_written(cafe, tmp_path, monkeypatch, old, new):
    monkeypatch.setenv("AIRLOCK_OTHER", f"{tmp_path}/other")
    assert old in TEXT
    opened(tmp_path / "ledger", "house-3")
    opened(tmp_path / "other", "till")
    assert {one.service for one in open_changes(cafe)} == {"house-3"}
    # The one that is read last, after many that say the same of their ledgers.
    write(tmp_path, TEXT.replace("service: cafe", "service: till").replace(old, new), "till.yaml")
    assert {one.service for one in open_changes(cafe)} == {"house-3", "till"}


@pytest.mark.parametrize(("company", "defaults"), [
    ("", "defaults:\n    ledger: FOLDER/{name}\n"),
    ("", "defaults: {ledger: 'FOLDER/${service}'}\n"),
    ("defaults: {ledger: 'FOLDER/${service}'}\n", ""),
    ("defaults: {ledger: 'FOLDER/${service}'}\nwrong: [}\n", "defaults: {ledger: FOLDER/{name}}\n"),
    ("defaults: {ledger: FOLDER/tea}\n", "defaults: {ledger: FOLDER/{name}}\n"),
])
def test_ledgers_that_come_from_defaults_are_found(cafe, tmp_path, company, defaults):
    write(tmp_path, company, "_defaults.yaml")
    for name in ("tea", "till"):
        text = TEXT.replace("service: cafe", f"service: {name}").replace(LINE, "")
        shared = defaults.replace("{name}", name)
        write(tmp_path, text.replace("environments:", f"{shared}environments:"), f"{name}.yaml")
        opened(tmp_path / name, name)
    assert {one.service for one in open_changes(cafe)} == {"tea", "till"}


def test_a_ledger_that_only_the_company_names_is_found(cafe, tmp_path):
    write(tmp_path, "defaults: {ledger: FOLDER/all}\n", "_defaults.yaml")
    for name in ("tea", "till"):
        write(tmp_path, TEXT.replace("service: cafe", f"service: {name}").replace(LINE, ""), f"{name}.yaml")
    opened(tmp_path / "all", "till")
    assert {one.service for one in open_changes(cafe)} == {"till"}


@pytest.mark.parametrize("lines", [
    "    evidence: &place FOLDER/{name}\n    ledger: *place\n",
    "    ledger:\n      FOLDER/{name}\n" + EVIDENCE,
    "    ledger: >-\n      FOLDER/{name}\n" + EVIDENCE,
    "    ledger:\n      # as file:/place\n      FOLDER/{name}\n" + EVIDENCE,
])
def test_two_files_with_one_first_line_name_two_ledgers(cafe, tmp_path, lines):
    for name in ("tea", "till"):
        text = TEXT.replace("service: cafe", f"service: {name}")
        write(tmp_path, text.replace(LINE + EVIDENCE, lines.replace("{name}", name)), f"{name}.yaml")
        opened(tmp_path / name, name)
    assert {one.service for one in open_changes(cafe)} == {"tea", "till"}


@pytest.mark.parametrize(("old", "new"), [
    ("environments:", "environment:"),
    ("  live:\n", "  live: []\n  other: {}\nelsewhere:\n  live:\n"),
    ("    ledger: FOLDER/other\n", '    "\\x6cedger": FOLDER/aaa # ledger: FOLDER/other\n'),
    ("    ledger: FOLDER/other\n", "    # ledger: FOLDER/other\n"),
])
def test_a_wrong_file_hides_no_ledger_of_a_right_one_that_writes_the_same(cafe, tmp_path, old, new):
    text = TEXT.replace(LINE, "    ledger: FOLDER/other\n")
    assert old in text
    write(tmp_path, text.replace("service: cafe", "service: aaa").replace(old, new), "aaa.yaml")
    write(tmp_path, text.replace("service: cafe", "service: till"), "till.yaml")
    opened(tmp_path / "other", "till")
    assert {one.service for one in open_changes(cafe)} == {"till"}


def test_files_that_say_the_same_are_not_parsed(cafe, monkeypatch):
    parsed = []
    parse = service_file.parse
    monkeypatch.setattr(service_file, "parse", lambda raw, path, variables, **named: parsed.append(path) or parse(
        raw, path, variables, **named))
    open_changes(cafe)
    assert len(parsed) == 1


def test_a_file_that_cannot_be_read_hides_no_other(cafe, tmp_path):
    write(tmp_path, "service: [", "aaa.yaml")
    (tmp_path / "services" / "bbb.yaml").symlink_to("/dev/zero")
    opened(tmp_path / "ledger", "house-3")
    assert {one.service for one in open_changes(cafe)} == {"house-3"}


def test_an_open_release_counts_while_its_service_file_is_wrong_or_gone(
    cafe: ServiceEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRLOCK_HOME", str(tmp_path / "home"))
    other = TEXT.replace("service: cafe", "service: till").replace(LINE, "    ledger: FOLDER/other\n")
    path = write(tmp_path, other, "till.yaml")
    last_good.keep(path.parent, load_file(path))
    opened(tmp_path / "other", "till")
    for wrong in ("service: [", "", None):
        path.unlink() if wrong is None else path.write_text(wrong)
        assert {one.service for one in open_changes(cafe)} == {"till"}
    path.parent.rename(tmp_path / "moved")
    assert {one.service for one in open_changes(cafe)} == {"till"}
