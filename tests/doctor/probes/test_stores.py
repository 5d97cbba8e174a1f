"""Places: what can be done there, and that a probe leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from upath import UPath

from airlock.doctor.finding import Finding, Gravity, Subject
from airlock.doctor.probes import stores
from airlock.errors import PermanentError
from airlock.evidence.tree import ROOT, read_tree
from airlock.places import objects
from sandbox import seaweedfs
from tests.another_user import as_another_user
from tests.faulty_proxy import Fault, faulty_proxy
from tests.object_stores import s3_place, seaweedfs_server

__all__ = ["seaweedfs_server"]

SUBJECT = Subject("places", "ledger")


def asked(place: Path | str | UPath, *, kept_for_good: bool = False) -> list[Finding]:
    return list(stores.ask(SUBJECT, place if isinstance(place, UPath) else str(place), kept_for_good=kept_for_good))


def test_a_folder_that_can_be_written_is_fine_and_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    assert [one.gravity for one in asked(tmp_path)] == [Gravity.FINE]
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]


def test_records_that_this_process_can_delete_are_a_note(tmp_path: Path) -> None:
    found = asked(tmp_path, kept_for_good=True)
    assert [one.gravity for one in found] == [Gravity.FINE, Gravity.NOTE]
    assert "Object Lock" in found[1].mend


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    (found,) = asked(tmp_path / "a" / "b")
    assert found.gravity is Gravity.NOTE
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("x")
    assert asked(tmp_path / "ledger")[-1].gravity is Gravity.FAULT


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
def test_a_folder_that_is_closed_to_this_user_is_a_fault(open_folder: Path) -> None:
    (open_folder / "ledger").mkdir(mode=0o755)
    for place in ("ledger", "ledger/new", "not there"):
        said = as_another_user(lambda place=place: asked(open_folder / place)[0].gravity.value, open_folder)
        assert said == Gravity.FAULT.value, place


def test_a_store_that_creates_twice_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a store that ignores If-None-Match."""

    def overwrite(path: UPath, data: bytes) -> bool:
        objects.replace(path, data)
        return True

    Path(tmp_path / stores.FOLDER).mkdir()
    monkeypatch.setattr(stores.objects, "create", overwrite)
    (found,) = asked(tmp_path)
    assert found.gravity is Gravity.FAULT
    assert "second time" in found.what


def test_a_probe_that_stays_in_a_ledger_is_no_sign_of_tampering_and_nothing_else_may_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when doctor is killed, or the store refuses to delete."""
    monkeypatch.setattr(stores.objects, "withdraw", lambda path: None)
    (tmp_path / "shop" / "prod").mkdir(parents=True)
    asked(tmp_path, kept_for_good=True)
    assert len(list((tmp_path / stores.FOLDER).iterdir())) == 1
    assert read_tree(UPath(tmp_path), ROOT).strange == []
    (tmp_path / stores.FOLDER / "record.json").write_text("{}")
    (strange,) = read_tree(UPath(tmp_path), ROOT).strange
    assert "record.json" in strange


def test_a_store_that_refuses_to_delete_keeps_records_and_hinders_backups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: UPath) -> None:
        raise PermanentError("locked until 2030")

    monkeypatch.setattr(stores.objects, "withdraw", refuse)
    assert [one.gravity for one in asked(tmp_path, kept_for_good=True)] == [Gravity.FINE, Gravity.FINE]
    assert [one.gravity for one in asked(tmp_path)] == [Gravity.FINE, Gravity.FAULT]


def test_an_object_store_is_asked_the_same_and_left_as_it_was() -> None:
    import fsspec

    found = asked("memory://of-a-test/ledger", kept_for_good=True)
    assert [one.gravity for one in found] == [Gravity.FINE, Gravity.NOTE], found
    memory = fsspec.filesystem("memory")
    assert memory.find("/of-a-test") == []


def test_a_store_whose_library_is_missing_is_a_fault_that_names_it() -> None:
    (found,) = asked("abfs://of-a-test/ledger")
    assert found.gravity is Gravity.FAULT
    assert "nstall" in found.what


def test_a_bucket_is_asked_the_same_and_left_as_it_was(
    seaweedfs_server: seaweedfs.SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = s3_place(monkeypatch, seaweedfs_server)
    found = asked(place, kept_for_good=True)
    assert [one.gravity for one in found] == [Gravity.FINE, Gravity.NOTE], found
    assert not objects.exists(place)
    with faulty_proxy(seaweedfs_server.url) as proxy:
        through = s3_place(monkeypatch, seaweedfs_server, proxy.url)
        proxy.always(Fault(status=403))
        (refused,) = asked(through)
        assert refused.gravity is Gravity.FAULT
        assert "403" in refused.what


@pytest.mark.parametrize(("condition", "said"), [("if-none-match", "second time"), ("if-match", "changed meanwhile")])
def test_a_bucket_that_ignores_a_condition_is_a_fault(
    condition: str, said: str, seaweedfs_server: seaweedfs.SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some servers do that speak S3: they say that it was written, whatever was there."""
    first = iter([None] if condition == "if-none-match" else [])
    with faulty_proxy(seaweedfs_server.url) as proxy:
        proxy.decide = lambda method, path: (
            next(first, Fault(status=200, headers={"ETag": '"new"'})) if condition in proxy.headers else None)
        found = asked(s3_place(monkeypatch, seaweedfs_server, proxy.url))
    assert found[0].gravity is Gravity.FAULT
    assert said in found[0].what


def test_room_is_that_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    (found,) = stores.disk(SUBJECT, str(tmp_path / "not" / "there"), None)
    assert found.gravity is Gravity.FINE
    (found,) = stores.disk(SUBJECT, str(tmp_path), 1 << 60)
    assert found.gravity is Gravity.FAULT
    (found,) = stores.disk(SUBJECT, "memory://somewhere", 1)
    assert found.gravity is Gravity.NOT_ASKED


def test_a_link_to_nothing_is_no_place_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "ledger").symlink_to(tmp_path / "gone")
    (found,) = asked(tmp_path / "ledger")
    assert found.gravity is Gravity.FAULT
    assert "link" in found.what
    with pytest.raises(PermanentError):
        objects.create(UPath(tmp_path / "ledger") / "one", b"x")
