from __future__ import annotations

import errno
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.storage.directory import DirectoryDriver
from airlock.backup.files import remove_tree
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import BackupDamaged, InvalidInput, PermanentError, TemporaryError
from airlock.models import Kind, Resource
from tests.another_user import as_another_user
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.filled_folder import ACCESS_LIST, damages, deep, fill, forms


def driver_for(root: Path, store) -> DirectoryDriver:
    resource = Resource(name="uploads", kind=Kind.STORAGE, driver="directory", options={"path": str(root)})
    return DirectoryDriver(resource, store)


class TestDirectory(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        root = fill(tmp_path / "uploads")

        def spoil(place: Place) -> None:
            (Path(place.folder) / "files" / "large.bin").write_bytes(os.urandom(3_000_001))

        def without(name: str) -> Callable[[bytes], bytes]:
            def packed(content: bytes) -> bytes:
                with io.BytesIO() as stream, tarfile.open(fileobj=stream, mode="w") as whole:
                    with tarfile.open(fileobj=io.BytesIO(content)) as given:
                        for info in given:
                            if info.name != name:
                                whole.addfile(info, given.extractfile(info) if info.isreg() else None)
                    whole.close()
                    return stream.getvalue()

            return packed

        return Case(
            driver_for(root, store),
            change=lambda: (root / "new").mkdir(exist_ok=True),
            spoil=spoil,
            origin=lambda: digest_of_folder(root),
            useless=(
                Useless("a file", "'script.sh'", "files.tar", without("script.sh")),
                Useless("an empty folder", "leer", "files.tar", without("Größe 大小/leer")),
                Useless("a link", "links: expected 2, found 1", "files.tar", without("dangling")),
                Useless("half of it", "cannot be unpacked", "files.tar", lambda content: content[: len(content) // 2]),
                Useless("another list", "'Empty'", "manifest.jsonl", lambda lines: lines.replace(b"empty", b"Empty")),
            ),
            damages=damages(root),
            forms=forms(root),
        )

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda root: (root / "script.sh").chmod(0o750), "'script.sh' differs in mode"),
            (lambda root: (root / "empty").unlink(), "'empty' is missing"),
            (lambda root: (root / "zz").touch(), "'zz' is not in the backup"),
            (
                lambda root: ((root / "link").unlink(), (root / "link").symlink_to("empty")),
                "'link' differs in hash or target",
            ),
            (lambda root: (root / "Größe 大小" / "leer").rmdir(), "leer"),
            (lambda root: (root / "empty").write_text("1"), "'empty' differs in size, hash or target"),
        ],
    )
    def test_what_differs_is_named(self, case: Case, place: Place, spoil, words: str) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        spoil(Path(place.folder) / "files")
        failed = {check.name: check.found for check in case.driver.prove(point, place) if not check.ok}
        assert words in failed["names, attributes, sizes and hashes"]

    def test_times_come_back_to_the_nanosecond(self, case: Case, place: Place) -> None:
        case.driver.restore(self.taken(case), place)
        assert (Path(place.folder) / "files" / "empty").stat().st_mtime_ns == 1_700_000_000_123_456_789

    def test_tar_alone_can_unpack_it(self, case: Case, tmp_path: Path) -> None:
        point = self.taken(case)
        (tmp_path / "a.tar").write_bytes(b"".join(case.driver.store.read(point.objects[0])))
        with tarfile.open(tmp_path / "a.tar") as archive:
            names = archive.getnames()
            assert "Größe 大小/naïve file.txt" in names
            extracted = archive.extractfile("large.bin")
            assert extracted is not None
            assert extracted.read() == (tmp_path / "uploads" / "large.bin").read_bytes()

    def test_a_failed_restore_leaves_the_origin_as_it_was(self, case: Case, tmp_path: Path) -> None:
        point = self.taken(case)
        path = Path(point.objects[0].path)
        path.write_bytes(path.read_bytes()[:-100] + bytes(100))
        before = case.driver.inspect()
        assert not prove(case.driver, point, Place(name="dir1", folder=str(tmp_path / "dir1"))).ok
        with pytest.raises(Exception, match="altered"):
            case.driver.restore(point, Place(origin=True))
        assert case.driver.inspect() == before
        assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_an_empty_folder_is_a_backup(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    driver = driver_for(tmp_path / "none", make_store(tmp_path))
    proof = prove(driver, take(driver, "t.1"), Place(name="e1", folder=str(tmp_path / "e1")))
    assert proof.ok, proof.reason


def test_a_socket_is_refused(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "up" / "s.sock"))
        with pytest.raises(InvalidInput, match=r"s\.sock is a socket"):
            take(driver_for(tmp_path / "up", make_store(tmp_path)), "t.1")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    driver = driver_for(tmp_path / "none", make_store(tmp_path))
    assert not driver.inspect().present
    with pytest.raises(InvalidInput, match=r"storage\.uploads"):
        take(driver, "t.1")


@pytest.mark.parametrize("act", [lambda path: path.write_bytes(b"2" * 5_000_000), lambda path: os.truncate(path, 10)])
def test_a_file_that_changes_while_it_is_read_is_noticed(act, tmp_path: Path) -> None:
    root = tmp_path / "up"
    root.mkdir()
    (root / "busy").write_bytes(b"1" * 5_000_000)
    driver = driver_for(root, make_store(tmp_path))

    def write(name, chunks):
        def interrupted():
            for number, chunk in enumerate(chunks):
                yield chunk
                if number == 1:
                    act(root / "busy")

        return driver.store.write("during.1", name, interrupted())

    with pytest.raises(TemporaryError, match="busy changed while it was read"):
        driver.take(write)
    assert driver.store.list_points() == ()


@pytest.mark.campaign
def test_memory_does_not_grow_with_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "up"
    root.mkdir()
    with (root / "huge").open("wb") as file:
        file.truncate(300 << 20)
    driver = driver_for(root, make_store(tmp_path))
    tracemalloc.start()
    point = take(driver, "t.1")
    proof = prove(driver, point, Place(name="h1", folder=str(tmp_path / "h1")))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert proof.ok, proof.reason
    assert peak < 60 << 20


@pytest.mark.campaign
def test_folders_may_lie_deeper_than_calls_of_python(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    deep(tmp_path / "up", 1300)
    driver, place = driver_for(tmp_path / "up", make_store(tmp_path)), Place(name="d1", folder=str(tmp_path / "d1"))
    point = take(driver, "t.1")
    proof = prove(driver, point, place)
    assert proof.ok, proof.reason
    restore_origin(driver, point)
    driver.discard(place)
    assert not Path(place.folder).exists()
    remove_tree(tmp_path / "up")


def test_a_folder_that_is_a_mount_point_or_open_stays_the_same_folder(tmp_path: Path) -> None:
    root = fill(tmp_path / "up")
    driver = driver_for(root, make_store(tmp_path))
    point, inode = take(driver, "t.1"), root.stat().st_ino
    (root / "empty").unlink()
    restore_origin(driver, point)
    assert root.stat().st_ino == inode
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


def test_names_outside_of_the_folder_are_said_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "a").write_text("x")
    (tmp_path / "elsewhere").hardlink_to(tmp_path / "up" / "a")
    (tmp_path / "up" / "b").hardlink_to(tmp_path / "up" / "a")
    driver = driver_for(tmp_path / "up", make_store(tmp_path))
    point = take(driver, "t.1")
    assert point.facts["left_out"] == ["1 file(s) have further names outside of the folder: those names are not kept"]
    assert prove(driver, point, Place(name="h1", folder=str(tmp_path / "h1"))).ok


def test_a_list_that_a_folder_gives_to_new_files_does_not_widen_what_comes_back(tmp_path: Path) -> None:
    root = fill(tmp_path / "up")
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    os.setxattr(root, "system.posix_acl_default", ACCESS_LIST)
    restore_origin(driver, point)
    assert not any(os.listxattr(one, follow_symlinks=False) for one in (root, *root.rglob("*")))


def test_who_is_not_root_is_told_that_owners_cannot_come_back(tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "a").write_text("x")

    def proved(owners: bool) -> str:
        options = {"path": str(tmp_path / "up"), "owners": owners}
        resource = Resource(name="uploads", kind=Kind.STORAGE, driver="directory", options=options)
        folder = tmp_path / f"d{os.getuid()}-{owners}"
        driver = DirectoryDriver(resource, make_store(tmp_path / f"of-{os.getuid()}-{owners}"))
        proof = prove(driver, take(driver, "t.1"), Place(name=folder.name, folder=str(folder)))
        return f"{proof.ok} {proof.reason}"

    assert proved(owners=True).startswith("True")  # root may; and a user without rights can import nothing more
    tmp_path.chmod(0o777)
    first, second = as_another_user(lambda: f"{proved(owners=True)}\n{proved(owners=False)}", tmp_path).splitlines()
    assert first.startswith("False")
    assert "only root may give a file to another owner: run as root, or set the option 'owners: false'" in first
    assert second.strip() == "True"


def test_what_cannot_be_moved_leaves_the_folder_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fill(tmp_path / "up")
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    (root / "later").write_text("came later")
    before, rename = digest_of_folder(root, times=False), Path.rename

    def stuck(path: Path, target: Path) -> Path:
        if path == root / "large.bin":
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # as for a file with the flag +i
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stuck)
    with pytest.raises(PermanentError, match="not permitted"):
        restore_origin(driver, point)
    assert digest_of_folder(root, times=False) == before
    monkeypatch.undo()
    restore_origin(driver, point)
    assert not (root / "later").exists()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount")
def test_another_file_system_inside_is_refused_and_never_emptied(tmp_path: Path) -> None:
    root = fill(tmp_path / "two words")
    driver = driver_for(root, make_store(tmp_path))
    point = take(driver, "t.1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept").write_text("of somebody else")
    inside = root / "locked" / "mounted"
    inside.mkdir()
    done = subprocess.run(["mount", "--bind", str(tmp_path / "other"), str(inside)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this machine does not let root mount")
    try:
        for act in (lambda: take(driver, "t.2"), lambda: restore_origin(driver, point)):
            with pytest.raises(InvalidInput, match="mounted at .*two words/locked/mounted"):
                act()
        assert (inside / "kept").read_text() == "of somebody else"
    finally:
        subprocess.run(["umount", str(inside)], check=True)


def test_a_file_that_took_the_name_of_the_folder_goes_when_the_folder_is_back(tmp_path: Path) -> None:
    root = tmp_path / "uploads"
    root.mkdir()
    (root / "logo.png").write_text("png")
    driver = driver_for(root, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    shutil.rmtree(root)
    root.write_text("not a folder")
    copies = [Path(where) for where in (point.objects[0].path, *point.objects[0].replicas)]
    kept = [copy.read_bytes() for copy in copies]
    for copy in copies:
        copy.write_bytes(b"damaged")
    with pytest.raises(BackupDamaged):
        restore_origin(driver, point)
    assert root.read_text() == "not a folder"
    for copy, content in zip(copies, kept, strict=True):
        copy.write_bytes(content)
    assert restore_origin(driver, point).ok
    assert (root / "logo.png").read_text() == "png"
    assert not list(tmp_path.glob(".uploads*"))


def test_a_link_that_took_the_name_of_the_folder_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    root, other = tmp_path / "uploads", tmp_path / "other"
    for folder in (root, other):
        folder.mkdir()
        (folder / "logo.png").write_text(folder.name)
    driver = driver_for(root, make_store(tmp_path / "store"))
    point = take(driver, "t.1")
    for leads_to in ("other", "other/logo.png", "uploads", "nowhere"):
        shutil.rmtree(root)
        root.symlink_to(leads_to)
        assert restore_origin(driver, point).ok
        assert (root.is_symlink(), (root / "logo.png").read_text()) == (False, "uploads")
        assert (other / "logo.png").read_text() == "other"
        assert not (tmp_path / "nowhere").exists()
        assert not list(tmp_path.glob(".uploads*"))
