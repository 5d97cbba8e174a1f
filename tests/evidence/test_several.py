"""Packs alone and together, against the anchor: what they show of their place in the history, and what they do not."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airlock.errors import InvalidInput
from airlock.evidence.ledger import Ledger
from airlock.evidence.pack import verify, write_pack
from airlock.evidence.seal import seal
from airlock.evidence.several import Reports, packs_at, verify_several
from airlock.models import Record
from airlock.recompute.release import recompute
from airlock.signing import Signer, generate_pem

NOW = datetime(2026, 11, 22, 21, 0, tzinfo=UTC)
SIGNER = Signer.from_pem(generate_pem())
KEYS = [SIGNER.public_pem]


def release(home: Path, number: int, environment: str = "prod", anchor: bool = True, signer: Signer = SIGNER) -> Path:
    ledger = Ledger(home / "ledger", "shop", environment, signer=lambda: signer)
    name = f"{environment}-{number}"
    ledger.append(Record(release=name, type="outcome", at=NOW + timedelta(hours=number), actor="t",
                         data={"outcome": "promoted"}))
    seal(ledger, name, signer, NOW, home / "anchor" if anchor else None)
    return Path(write_pack(ledger, name, home / "packs"))


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("several")
    for number in (1, 2, 3, 4):
        release(home, number)
    release(home, 1, "staging")
    return home


@pytest.fixture
def home(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "home"))


def together(home: Path, anchor: bool = True) -> Reports:
    return verify_several(packs_at(str(home / "packs")), KEYS, str(home / "anchor") if anchor else None)


def test_the_newest_pack_is_what_the_anchor_knows(home):
    for path in (home / "packs/prod-4.zip", home / "ledger/shop/prod/prod-4"):
        report = verify(path, KEYS, home / "anchor")
        assert (report.ok, report.notes) == (True, ())


def test_an_older_pack_is_told_to_be_older_than_the_anchor(home):
    for path in (home / "packs/prod-2.zip", home / "ledger/shop/prod/prod-2"):
        report = verify(path, KEYS, home / "anchor")
        assert report.ok
        assert report.notes == ("shop/prod: the anchor knows seal number 4, that of the release prod-4; this is number "
                                "2, and nothing between them was checked",)


@pytest.mark.parametrize("path", ["packs/prod-4.zip", "ledger/shop/prod/prod-4", "ledger", "packs"])
def test_an_anchor_that_is_not_there_is_refused_and_without_one_the_report_says_so(home, path):
    given = packs_at(str(home / path))
    with pytest.raises(InvalidInput, match="is no folder"):
        verify_several(given, KEYS, str(home / "absent"))
    with pytest.raises(InvalidInput, match="is no folder"):
        verify(given[0], KEYS, home / "packs/prod-1.zip")
    for found in (verify_several(given, KEYS).notes, verify(given[0], KEYS).notes):
        assert any("the end of the history was not checked" in note for note in found) or path == "ledger"
    assert any("the end of the history was not checked" in note for note in verify(given[0], KEYS).notes)


def test_recompute_takes_the_anchor_too(home):
    with pytest.raises(InvalidInput, match="is no folder"):
        recompute(home / "packs/prod-4.zip", KEYS, home / "absent")
    (home / "anchor/shop/prod.json").unlink()
    assert any("knows no seal of shop/prod" in one for one in recompute(home / "packs/prod-4.zip", KEYS,
                                                                         home / "anchor").problems)


def test_a_pack_that_the_anchor_contradicts_is_named(home, tmp_path):
    other = release(tmp_path / "other", 4)  # signed with the right key, but it is number 1
    for number in (1, 2, 3):
        release(tmp_path / "same", number)
    twin = release(tmp_path / "same", 5)  # number 4 as well
    pack = home / "packs/prod-5.zip"
    shutil.copy(twin, pack)
    assert "replaced: the anchor knows seal number 4" in verify(pack, KEYS, home / "anchor").problems[0]
    assert verify(other, KEYS, home / "anchor").notes, "an older number cannot be told from the anchor alone"
    shutil.copy(home / "anchor/shop/staging.json", home / "anchor/shop/prod.json")
    assert verify(home / "packs/prod-4.zip", KEYS, home / "anchor").problems
    (home / "anchor/shop/prod.json").write_text("{}")
    assert "anchor" in verify(home / "packs/prod-4.zip", KEYS, home / "anchor").problems[0]


def test_packs_in_a_folder_are_checked_each_and_against_each_other(home):
    found = together(home)
    assert found.ok and len(found.reports) == 5
    assert (found.problems, found.notes) == ((), ())
    assert "the end of the history was not checked" in together(home, anchor=False).notes[0]
    (home / "packs/prod-2.zip").unlink()
    found = together(home)
    assert found.ok
    assert found.notes == ("shop/prod: the seals between number 1 and number 3 are not among these",)
    (home / "packs/prod-4.zip").unlink()
    found = together(home)
    assert not found.ok
    assert "shop/prod: cut off: the anchor knows seal number 4, that of the release prod-4" in found.problems[0]


def test_one_bad_pack_among_good_ones_is_found(home):
    raw = (home / "packs/prod-2.zip").read_bytes()
    (home / "packs/prod-2.zip").write_bytes(raw + b"\n")
    found = together(home)
    assert not found.ok
    assert [Path(path).name for path, report in found.reports.items() if not report.ok] == ["prod-2.zip"]


def test_packs_of_two_histories_contradict_each_other(home, tmp_path):
    for number in (1, 2, 3):
        release(tmp_path / "other", number + 10)
    shutil.copy(tmp_path / "other/packs/prod-12.zip", home / "packs")
    found = together(home)
    assert any("duplicated: the seals of" in problem for problem in found.problems)
    shutil.copy(tmp_path / "other/packs/prod-13.zip", home / "packs")
    for number in (2, 3):
        (home / f"packs/prod-{number}.zip").unlink()
    assert any("altered: the seal before number" in problem for problem in together(home).problems)


def test_a_folder_of_packs_and_a_ledger_are_both_checked(home):
    shutil.copytree(home / "packs", home / "ledger/copies/of/packs")
    found = packs_at(str(home / "ledger"))
    assert found[0] == str(home / "ledger") and len(found) == 6
    reports = verify_several(found, KEYS, str(home / "anchor")).reports
    assert [Path(path).name for path, report in reports.items() if not report.ok] == ["ledger"]
    assert all("copies/of/packs" in problem for problem in reports[found[0]].problems)


def test_what_is_no_pack_is_no_evidence(home, tmp_path):
    for name, text in (("notes.txt", b"hello"), ("image.png", b"\x89PNG"), ("empty", b"")):
        (tmp_path / name).write_bytes(text)
        for check in (verify, recompute):
            with pytest.raises(InvalidInput, match="is no evidence"):
                check(tmp_path / name)
    shutil.copy(home / "packs/prod-1.zip", tmp_path / "renamed.txt")
    assert verify(tmp_path / "renamed.txt", KEYS).ok


def test_a_stream_has_a_history_and_an_anchor_of_its_own(home):
    ledger = Ledger(home / "ledger/_trains", "shop", "prod", signer=lambda: SIGNER)
    for number in (1, 2):
        data = {"outcome": "completed"}
        ledger.append(Record(release=f"train-{number}", type="outcome", at=NOW, actor="t", data=data))
        seal(ledger, f"train-{number}", SIGNER, NOW, home / "anchor/_trains")
        write_pack(ledger, f"train-{number}", home / "packs/trains")
    found = together(home)
    assert found.ok and (len(found.reports), found.problems, found.notes) == (7, (), ())
    for path in (home / "packs/trains/train-2.zip", home / "ledger/_trains/shop/prod/train-2"):
        report = verify(path, KEYS, home / "anchor")
        assert (report.ok, report.notes) == (True, ())
    (home / "packs/trains/train-2.zip").unlink()
    assert "packs/trains: shop/prod: cut off: the anchor knows seal number 2" in together(home).problems[0]
