"""The driver ``restic`` with a real restic: the contract, and what is special about a repository of the user's."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.storage import restic_program
from airlock.backup.drivers.storage.restic import ResticDriver
from airlock.backup.run import prove, restore_origin, take
from airlock.backup.store import BackupStore
from airlock.errors import AccessRefused, BackupDamaged, InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import Form
from tests.contracts.killed import DyingStore, killed
from tests.filled_folder import damages, edge_names, fill, forms, odd_attributes
from tests.restic_program import PASSWORD, Repository, connect, empty_repository, repository

pytestmark = pytest.mark.campaign

__all__ = ["empty_repository", "repository"]
PLACE = "restic1"


def driver_for(root: Path, store: BackupStore, **options: Any) -> ResticDriver:
    given = {"path": str(root), "connection": "restic", "wait_seconds": 2, **options}
    return ResticDriver(Resource(name="uploads", kind=Kind.STORAGE, driver="restic", options=given), store)


def place_in(folder: Path) -> Place:
    return Place(name=PLACE, folder=str(folder / PLACE))


class TestRestic(DriverContract):
    @pytest.fixture
    def case(self, store: BackupStore, tmp_path: Path, repository: Repository) -> Case:
        root = fill(tmp_path / "uploads")
        pack: list[Path] = []

        def spoil(place: Place) -> None:
            (Path(place.folder) / "files" / "large.bin").write_bytes(os.urandom(3_000_001))

        def damage_pack() -> None:
            pack[:] = [max((repository.folder / "data").rglob("*"), key=lambda one: one.stat().st_size)]
            pack[0].chmod(0o600)
            flip(pack[0])

        def flip(path: Path) -> None:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

        def without(name: bytes) -> Callable[[bytes], bytes]:
            return lambda lines: b"".join(one for one in lines.splitlines(keepends=True) if name not in one)

        return Case(
            driver_for(root, store),
            change=lambda: (root / "new").mkdir(exist_ok=True),
            spoil=spoil,
            origin=lambda: digest_of_folder(root),
            useless=(
                Useless("another list", "'Empty'", "manifest.jsonl", lambda lines: lines.replace(b"empty", b"Empty")),
                Useless("half a list", "not in the backup", "manifest.jsonl", without(b"script.sh")),
                Useless("no list", "cannot be read", "manifest.jsonl", lambda lines: lines[: len(lines) // 2]),
                Useless("damaged in the repository", "restic restore failed", before=damage_pack,
                        after=lambda: flip(pack[0])),
            ),
            secrets=(PASSWORD,),
            damages=damages(root),
            forms={**forms(root), "names at the edges": Form(lambda: edge_names(root, odd_link=False))},
        )  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return fill(tmp_path / "uploads")


def tags_of(repository: Repository) -> list[list[str]]:
    return [sorted(one["tags"]) for one in repository.snapshots()]


def test_a_snapshot_carries_the_token_and_the_resource(root: Path, tmp_path: Path, repository: Repository) -> None:
    take(driver_for(root, make_store(tmp_path)), "2026-01-01-0001.storage.uploads")
    (snapshot,) = repository.snapshots()
    assert snapshot["hostname"] == "airlock"
    assert snapshot["paths"] == [str(root)]
    assert sorted(snapshot["tags"]) == [
        "airlock", "airlock-resource=storage.uploads", "airlock-token=2026-01-01-0001.storage.uploads",
    ]  # fmt: skip


def test_a_link_to_a_name_that_is_no_text_is_kept_or_refused(
    root: Path, tmp_path: Path, repository: Repository
) -> None:
    edge_names(root)
    driver = driver_for(root, make_store(tmp_path))
    if repository.restic("version") < "restic 0.16":
        with pytest.raises(InvalidInput, match=r"link .xff.xfe link leads to a name that is no text"):
            take(driver, "t.1")
        assert repository.snapshots() == []
    else:
        proof = prove(driver, take(driver, "t.1"), place_in(tmp_path))
        assert proof.ok, proof.reason


def test_unchanged_data_is_neither_written_nor_read_again(
    root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "more.bin").write_bytes(random.Random(1).randbytes(20_000_000))
    driver, empty = driver_for(root, make_store(tmp_path)), repository.bytes()
    time.sleep(2.1)  # a file that changed a moment ago may change again within the same tick
    first = take(driver, "t.1")
    written = repository.bytes()
    monkeypatch.setattr("airlock.backup.drivers.storage.tree.read_exactly", lambda *_: pytest.fail("a file was read"))
    second = take(driver, "t.2")
    monkeypatch.undo()
    connect(monkeypatch, "restic", repository)
    assert second.facts["snapshot"] != first.facts["snapshot"]
    assert repository.bytes() - written < (written - empty) * 0.05
    proof = prove(driver, second, place_in(tmp_path))
    assert proof.ok, proof.reason


def test_what_changed_is_read_and_only_that(root: Path, tmp_path: Path, repository: Repository) -> None:
    driver = driver_for(root, make_store(tmp_path))
    time.sleep(2.1)
    take(driver, "t.1")
    seen = (root / "large.bin").stat()
    (root / "large.bin").write_bytes(os.urandom(3_000_001))
    os.utime(root / "large.bin", ns=(seen.st_atime_ns, seen.st_mtime_ns))  # same size, same time, other bytes
    proof = prove(driver, take(driver, "t.2"), place_in(tmp_path))
    assert proof.ok, proof.reason


def test_a_backup_whose_answer_was_lost_is_found_again(
    root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting_restic(tmp_path / "bin", monkeypatch, 'if [ "$1" = backup ]; then "$REAL" "$@" >/dev/null; exit 1; fi')
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    assert [one["id"] for one in repository.snapshots()] == [point.facts["snapshot"]]
    assert prove(driver, point, place_in(tmp_path)).ok


@pytest.mark.parametrize("meanwhile", [lambda root: None, lambda root: (root / "empty").write_text("more")])
def test_a_take_that_was_killed_leaves_one_snapshot_in_the_end(
    meanwhile: Callable[[Path], object], root: Path, tmp_path: Path, repository: Repository
) -> None:
    store = make_store(tmp_path)
    killed(lambda: take(driver_for(root, DyingStore(store, writing=True)), "t.1"))
    (orphan,) = repository.snapshots()
    meanwhile(root)
    driver = driver_for(root, store)
    point = take(driver, "t.1")
    assert [one["id"] for one in repository.snapshots()] == [point.facts["snapshot"]]
    assert (point.facts["snapshot"] == orphan["id"]) is ((root / "empty").read_text() == "")
    proof = prove(driver, point, place_in(tmp_path))
    assert proof.ok, proof.reason


def test_half_a_snapshot_of_a_killed_take_is_not_taken_for_whole(
    root: Path, tmp_path: Path, repository: Repository
) -> None:
    repository.restic(
        "backup", "--host", "airlock", "--tag", "airlock", "--tag", "airlock-token=t.1",
        "--exclude", str(root / "large.bin"), "./uploads", folder=tmp_path,
    )  # fmt: skip
    (half,) = repository.snapshots()
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    assert [one["id"] for one in repository.snapshots()] == [point.facts["snapshot"]] != [half["id"]]
    assert prove(driver, point, place_in(tmp_path)).ok


def acting_restic(folder: Path, patch: pytest.MonkeyPatch, act: str) -> None:
    """Put a program before restic that does *act* first; ``$REAL`` is restic."""
    real = shutil.which("restic")
    folder.mkdir(exist_ok=True)
    (folder / "restic").write_text(f'#!/bin/sh\nREAL={real}\n{act}\nexec "$REAL" "$@"\n')
    (folder / "restic").chmod(0o755)
    patch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


PARTIAL = """
if [ "$1" = backup ]; then
    "$REAL" "$@" || exit
    echo '{"message_type":"error","error":%s,"during":"archival","item":"/srv/a"}' >&2
    echo 'Warning: at least one source file could not be read' >&2
    exit 3
fi"""


@pytest.mark.parametrize(("fault", "sort"), [
    ('{"Op":"open","Path":"/srv/a","Err":13}', PermanentError),
    ('{"message":"open /srv/a: permission denied"}', PermanentError),
    ('{"message":"lstat /srv/a: no such file or directory"}', TemporaryError),
])  # fmt: skip
def test_half_a_backup_is_none(
    fault: str, sort: type[Exception], root: Path, tmp_path: Path, repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    acting_restic(tmp_path / "bin", monkeypatch, PARTIAL % fault)
    with pytest.raises(sort, match=r"storage\.uploads: .*half a backup is none: /srv/a"):
        take(driver_for(root, make_store(tmp_path)), "t.1")
    assert repository.snapshots() == []


@pytest.mark.parametrize("gone", ["folder", "was a folder"])
def test_a_missing_path_is_refused_by_us(gone: str, tmp_path: Path, repository: Repository) -> None:
    if gone != "folder":
        (tmp_path / "uploads").write_text("x")
    driver = driver_for(tmp_path / "uploads", make_store(tmp_path))
    with pytest.raises(InvalidInput, match="is no folder"):
        take(driver, "t.1")
    assert repository.snapshots() == []


def busy(tmp_path: Path, patch: pytest.MonkeyPatch, act: str, *, after: bool = False) -> None:
    """Let others work in the folder while restic reads it, or when it has just been read."""
    run = f'if [ "$1" = backup ]; then {act}; fi'
    late = f'if [ "$1" = backup ]; then "$REAL" "$@" || exit; {act}; exit 0; fi'
    acting_restic(tmp_path / "bin", patch, f"cd_={tmp_path}/uploads\n{late if after else run}")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("act", [
    "echo x > $cd_/upload", "mkdir -p $cd_/day/hour && echo x > $cd_/day/hour/upload", "rm $cd_/script.sh",
    "rm -r '$cd_/Größe 大小'".replace("'$cd_/Größe 大小'", "\"$cd_/Größe 大小\""),
])  # fmt: skip
def test_what_comes_or_goes_meanwhile_is_no_reason_to_refuse(
    act: str, after: bool, root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(tmp_path, monkeypatch, act, after=after)
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    assert "came or went while the backup was taken" in point.facts["left_out"][0]
    proof = prove(driver, point, place_in(tmp_path))
    assert proof.ok, proof.reason


def test_what_nobody_saw_but_restic_is_no_reason_to_refuse(
    root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = "mkdir $cd_/part && echo x > $cd_/part/tmp"
    busy(tmp_path, monkeypatch, f'{act}; "$REAL" "$@"; rm -r $cd_/part; exit')
    driver = driver_for(root, make_store(tmp_path))
    proof = prove(driver, take(driver, "t.1"), place_in(tmp_path))
    assert proof.ok, proof.reason


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("act", ["echo more >> $cd_/large.bin", "chmod 600 $cd_/empty", "mv $cd_/empty $cd_/large.bin",
                                 "touch -h $cd_/link"])  # fmt: skip
def test_what_changes_meanwhile_is_refused_and_leaves_no_snapshot(
    act: str, after: bool, root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(tmp_path, monkeypatch, act, after=after)
    with pytest.raises(TemporaryError, match="changed while it was backed up"):
        take(driver_for(root, make_store(tmp_path)), "t.1")
    assert repository.snapshots() == []


def test_other_peoples_snapshots_stay(root: Path, tmp_path: Path, repository: Repository) -> None:
    others = ({"--host": "airlock"}, {"--tag": "airlock-token=t.1"}, {"--tag": "airlock", "--host": "another"})
    for one in others:
        repository.restic("backup", *[word for pair in one.items() for word in pair], str(root))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "uploads").mkdir()
    store = make_store(tmp_path)
    there = driver_for(tmp_path / "elsewhere" / "uploads", make_store(tmp_path / "theirs"))
    take(there, "t.1")
    kept = {one["id"] for one in repository.snapshots()}
    driver = driver_for(root, store, prune=True)
    point = take(driver, "t.1")
    driver.expire(point)
    assert {one["id"] for one in repository.snapshots()} == kept
    assert store.load_point("t.1") is None
    repository.restic("check")


def test_expiry_works_where_the_folder_is_gone(root: Path, tmp_path: Path, repository: Repository) -> None:
    driver = driver_for(root, make_store(tmp_path), prune=True)
    point, full = take(driver, "t.1"), repository.bytes()
    shutil.rmtree(root)
    driver.expire(point)
    assert repository.snapshots() == []
    assert repository.bytes() < full / 2


def test_a_point_whose_snapshot_was_forgotten_by_others_is_damaged(
    root: Path, tmp_path: Path, repository: Repository
) -> None:
    driver = driver_for(root, make_store(tmp_path))
    point, before = take(driver, "t.1"), digest_of_folder(root)
    repository.restic("forget", point.facts["snapshot"])
    proof = prove(driver, point, place_in(tmp_path))
    assert "restic restore failed" in proof.reason
    with pytest.raises(BackupDamaged, match="no copy of recovery point"):
        restore_origin(driver, point)
    assert digest_of_folder(root) == before
    driver.expire(point)


def wrong_password(repository: Repository, patch: pytest.MonkeyPatch) -> None:
    connect(patch, "restic", Repository(repository.folder, "another password"))


def no_repository(repository: Repository, patch: pytest.MonkeyPatch) -> None:
    repository.folder.rename(f"{repository.folder}-away")


def no_program(repository: Repository, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("PATH", str(repository.folder))


def no_server(repository: Repository, patch: pytest.MonkeyPatch) -> None:
    connect(patch, "restic", repository, repository="rest:http://user:quite-a-secret@127.0.0.1:9/")


@pytest.mark.parametrize(("act", "sort", "words"), [
    (wrong_password, AccessRefused, "not opened by this password"),
    (no_repository, PermanentError, "there is no restic repository"),
    (no_program, PermanentError, "restic is not installed"),
    (no_server, TemporaryError, "connection refused|took more than"),
])  # fmt: skip
def test_why_a_repository_is_of_no_use_is_said(
    act: Callable[[Repository, pytest.MonkeyPatch], None], sort: type[Exception], words: str, root: Path,
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(restic_program, "LOOK_SECONDS", 4.0)
    act(repository, monkeypatch)
    driver = driver_for(root, make_store(tmp_path))
    for work in (driver.inspect, lambda: take(driver, "t.1")):
        with pytest.raises(sort, match=words) as caught:
            work()
        assert "storage.uploads" in str(caught.value)
        said = f"{caught.value} {caplog.text}"
        assert PASSWORD not in said
        assert "quite-a-secret" not in said


def lock(repository: Repository, tmp_path: Path, *, exclusive: bool, age: float) -> None:
    """Leave the lock of somebody on another machine in *repository*, as old as *age* seconds."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - age))
    plain = json.dumps({"time": moment, "exclusive": exclusive, "hostname": "elsewhere", "username": "carol",
                        "pid": 4711}).encode()  # fmt: skip
    content = repository.sealed(plain)
    (repository.folder / "locks" / hashlib.sha256(content).hexdigest()).write_bytes(content)


def test_a_lock_of_others_is_waited_for(
    root: Path, tmp_path: Path, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lock(repository, tmp_path, exclusive=True, age=60)
    with pytest.raises(TemporaryError, match="locked exclusively by PID 4711 on elsewhere by carol"):
        take(driver_for(root, make_store(tmp_path)), "t.1")
    assert "It is waited for" in caplog.text
    (held,) = (repository.folder / "locks").iterdir()
    held.unlink()
    assert take(driver_for(root, make_store(tmp_path)), "t.1").facts["snapshot"]


def test_a_stale_lock_is_explained_and_left_to_people(root: Path, tmp_path: Path, repository: Repository) -> None:
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    lock(repository, tmp_path, exclusive=False, age=7200)
    assert take(driver, "t.2").facts["snapshot"]  # no backup is in its way
    with pytest.raises(PermanentError, match="PID 4711 on elsewhere.*stale.*restic unlock"):
        driver.expire(point)
    assert len(list((repository.folder / "locks").iterdir())) == 1
    assert driver.store.load_point("t.1") == point, "it is tried again"


def test_a_backup_that_is_killed_leaves_no_lock(
    root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "more.bin").write_bytes(os.urandom(64_000_000))
    connect(monkeypatch, "restic", repository, options={"local.connections": "1"})
    driver = driver_for(root, make_store(tmp_path))
    locks = repository.folder / "locks"
    killed(lambda: take(driver, "t.1"), lambda: any(locks.iterdir()) and repository.bytes() > 1_000_000)
    for _ in range(600):
        if not any(locks.iterdir()):
            break
        time.sleep(0.1)
    assert list(locks.iterdir()) == []
    point = take(driver, "t.1")
    driver.expire(point)
    assert repository.snapshots() == []


def test_time_is_limited(root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    acting_restic(tmp_path / "bin", monkeypatch, 'if [ "$1" = backup ]; then echo "Stat(<config/>) returned error, '
                  'retrying after 5s: signature" >&2; sleep 300; fi')
    driver = driver_for(root, make_store(tmp_path), hours=0.0005)
    with pytest.raises(TemporaryError, match=r"restic backup took more than 1\.8 s .*it last said: Stat"):
        take(driver, "t.1")
    assert subprocess.run(["pgrep", "-f", str(tmp_path / "bin")], capture_output=True, check=False).stdout == b""


@pytest.mark.parametrize(("extra", "words"), [
    ({"repository": ""}, "lacks 'repository' in its extra"),
    ({"environment": {"RESTIC_PASSWORD_COMMAND": "cat /etc/passwd"}}, "may not set 'RESTIC_PASSWORD_COMMAND'"),
    ({"environment": {"A B": "x"}}, "may not set 'A B'"),
    ({"options": {"--password-file": "x"}}, "may not set '--password-file'"),
])  # fmt: skip
def test_a_connection_that_says_too_little_or_too_much_is_refused(
    extra: dict[str, Any], words: str, root: Path, tmp_path: Path, repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    connect(monkeypatch, "restic", repository, **extra)
    with pytest.raises(InvalidInput, match=words):
        driver_for(root, make_store(tmp_path)).inspect()


def test_neither_command_line_nor_log_holds_the_password(
    root: Path, tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    acting_restic(tmp_path / "bin", monkeypatch, f'echo "$0 $*" >> {tmp_path}/words')
    connect(monkeypatch, "restic", repository, environment={"AWS_SECRET_ACCESS_KEY": "quite a secret"},
            options={"s3.bucket-lookup": "path"})  # fmt: skip
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    assert prove(driver, point, place_in(tmp_path)).ok
    driver.expire(point)
    said = (tmp_path / "words").read_text()
    assert "-o s3.bucket-lookup=path" in said
    for secret in (PASSWORD, "quite a secret"):
        assert secret not in said + caplog.text + str(point)


# --- shares -----------------------------------------------------------------------------------------------------------


def many(root: Path) -> Path:
    for customer in range(40):
        (root / f"customer [{customer}]*?").mkdir(parents=True)
        for number in range(3):
            (root / f"customer [{customer}]*?" / f"{number}.bin").write_bytes(os.urandom(20_000))
    (root / "all in one").mkdir()
    for number in range(10):
        (root / "all in one" / f"day \\{number}").mkdir()
        (root / "all in one" / f"day \\{number}" / "x").write_bytes(os.urandom(30_000))
    return root


def test_a_share_is_restored_and_compared_and_the_proof_says_which(tmp_path: Path, repository: Repository) -> None:
    root, place = many(tmp_path / "uploads"), place_in(tmp_path)
    edge_names(root, odd_link=False)
    odd = fill(root / "odd")
    odd_attributes(odd)
    driver = driver_for(root, make_store(tmp_path), share=10)
    shown: list[list[str]] = []
    for token in ("t.1", "t.2"):
        point = take(driver, token)
        proof = prove(driver, point, place)
        assert proof.ok, proof.reason
        told = {check.name: check for check in proof.checks}
        assert told["percent of the bytes in the parts"].expected == {"least": 10}
        assert 10 <= told["percent of the bytes in the parts"].found < 100
        shown.append(told["parts"].found)
        restored = {str(one.relative_to(Path(place.folder) / "files")) for one in Path(place.folder).rglob("*")
                    if one.is_file() and not one.is_symlink() and one.parent != Path(place.folder)}  # fmt: skip
        assert restored == {name for name in restored if any(name == part or name.startswith(f"{part}/")
                                                             for part in shown[-1])}  # fmt: skip
        driver.discard(place)
    assert shown[0] != shown[1], "others have their turn"
    before = digest_of_folder(root)
    shutil.rmtree(odd)
    assert restore_origin(driver, point).ok
    assert digest_of_folder(root) == before, "the way back brings all of it"


def test_a_difference_in_a_share_is_found(tmp_path: Path, repository: Repository) -> None:
    root, place = many(tmp_path / "uploads"), place_in(tmp_path)
    driver = driver_for(root, make_store(tmp_path), share=10)
    point = take(driver, "t.1")
    driver.restore(point, place)
    one = next(path for path in (Path(place.folder) / "files").rglob("*") if path.is_file())
    one.write_bytes(one.read_bytes()[::-1])
    failed = [check for check in driver.prove(point, place) if not check.ok]
    assert [check.name for check in failed] == ["names, attributes, sizes and hashes of the parts"]
    one.unlink()
    assert any(check.name == "files of the parts" for check in driver.prove(point, place) if not check.ok)
    driver.discard(place)


def test_a_file_with_a_name_in_another_part_does_not_spoil_a_share(tmp_path: Path, repository: Repository) -> None:
    root = tmp_path / "uploads"
    for letter in "abcdefgh":
        (root / letter).mkdir(parents=True)
        (root / letter / "own").write_bytes(os.urandom(1000))
        if letter != "a":
            (root / letter / "shared").hardlink_to(root / "a" / "own")
            (root / letter / "again").hardlink_to(root / "a" / "own")
    driver = driver_for(root, make_store(tmp_path), share=20)
    for number in range(3):
        point = take(driver, f"t.{number}")
        proof = prove(driver, point, place_in(tmp_path))
        assert proof.ok, proof.reason
