from __future__ import annotations

import io
import os
import socket
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.storage.directory import DirectoryDriver
from airlock.backup.run import prove, take
from airlock.errors import InvalidInput, TemporaryError
from airlock.models import Kind, Resource
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest_of_folder, make_store
from tests.contracts.driver_forms import DAMAGES, FORMS


def fill(root: Path) -> Path:
    (root / "Größe 大小" / "leer").mkdir(parents=True)
    (root / "Größe 大小" / "naïve file.txt").write_text("hello")
    (root / "empty").touch()
    (root / "large.bin").write_bytes(os.urandom(3_000_001))
    (root / "script.sh").write_text("#!/bin/sh\n")
    (root / "script.sh").chmod(0o4750)
    (root / "link").symlink_to("large.bin")
    (root / "dangling").symlink_to("/no/such/place")
    (root / ("deep" * 40)).mkdir()
    (root / ("deep" * 40) / ("n" * 200)).write_text("a long name")
    Path(os.fsdecode(os.fsencode(root) + b"/not-utf8-\xff")).write_text("bytes")
    (root / "locked").mkdir()
    (root / "locked" / "inside").write_text("x")
    (root / "locked").chmod(0o555)
    os.utime(root / "empty", ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    return root


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
            restored=lambda: digest_of_folder(root, times=False),
            damages=dict.fromkeys(DAMAGES[1:], "not tried yet"),
            forms=dict.fromkeys(FORMS, "not tried yet"),
        )

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda root: (root / "script.sh").chmod(0o750), "'script.sh' differs in mode"),
            (lambda root: (root / "empty").unlink(), "'large.bin' found"),
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
        assert words in failed["names, modes, sizes and hashes"]

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
