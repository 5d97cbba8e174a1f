from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from airlock.backup.driver import Place
from airlock.backup.drivers.logs.log_files import LogFilesDriver
from airlock.backup.run import prove, restore_origin, take
from airlock.errors import InvalidInput, TemporaryError
from airlock.models import Kind, Resource
from tests.another_user import as_another_user
from tests.contracts.driver_contract import Case, DriverContract, Useless, digest, digest_of_folder, make_store
from tests.contracts.driver_forms import EDGE_NAMES, Damage, Form, taken_by_a_link


def logs(folder: Path) -> Path:
    (folder / "old").mkdir(parents=True)
    (folder / "shop.log").write_text("".join(f"line {n}\n" for n in range(1000)) + "half a li")
    (folder / "shop.log.1").write_bytes(b"rotated\n" * 300_000)
    (folder / "empty.log").touch()
    (folder / "other.txt").write_text("not a log\n")
    return folder


def driver_for(folder: Path, store, **options: object) -> LogFilesDriver:
    resource = Resource(name="shop_logs", kind=Kind.LOGS, driver="log_files", options={"path": str(folder), **options})
    return LogFilesDriver(resource, store)


class TestLogFiles(DriverContract):
    @pytest.fixture
    def case(self, store, tmp_path: Path) -> Case:
        folder = logs(tmp_path / "logs")

        def spoil(place: Place) -> None:
            restored = next(Path(place.folder).rglob("shop.log"))
            restored.write_text(restored.read_text().replace("line 7\n", "line 8\n"))

        def packed(*names: str, lines: int = 1000) -> Callable[[bytes], bytes]:
            def pack(_: bytes) -> bytes:
                with io.BytesIO() as stream, tarfile.open(fileobj=stream, mode="w") as whole:
                    for name in names:
                        content = (folder / name).read_bytes()
                        content = b"".join(content.splitlines(keepends=True)[:lines]) if name == "shop.log" else content
                        info = tarfile.TarInfo(name)
                        info.size = len(content)
                        whole.addfile(info, io.BytesIO(content))
                    whole.close()
                    return stream.getvalue()

            return pack

        def lines_kept() -> list[str]:
            """Return which of the recorded contents some file of the folder begins with."""
            contents = [path.read_bytes() for path in folder.iterdir() if path.is_file()]
            return [digest(one.hex()) for one in recorded if any(there.startswith(one) for there in contents)]

        def edge_names() -> None:
            for number, name in enumerate((*EDGE_NAMES, os.fsdecode(b"\xff"))):
                (folder / f"{name}.log").write_text(f"{number}\n")

        recorded = [path.read_bytes() for path in sorted(folder.glob("*.log*"))]
        every = ("empty.log", "shop.log", "shop.log.1")
        return Case(
            driver_for(folder, store),
            change=lambda: (folder / "shop.log.1").unlink(missing_ok=True),
            spoil=spoil,
            origin=lambda: digest_of_folder(folder),
            useless=(
                Useless("lines", "shop.log up to byte", "logs.tar", packed(*every, lines=999)),
                Useless("a file", "lacks shop.log.1", "logs.tar", packed(*every[:2])),
                Useless("nothing", "empty file", "logs.tar", lambda _: b""),
                Useless("no archive", "cannot be unpacked", "logs.tar", lambda _: b"x" * 2000),
            ),
            restored=lambda: digest_of_folder(folder, times=False),
            damages={
                "changed": Damage(lambda: (folder / "shop.log").write_text("other lines\n" * 2000), lines_kept),
                "emptied": Damage(lambda: (folder / "shop.log").write_text("")),
                "added": "lines and files that came later stay: a rollback must not lose them",
                "settings": Damage(lambda: rights(folder / "shop.log", 0o666)),
                "gone": Damage(lambda: shutil.rmtree(folder), lines_kept),
                "taken": Damage(lambda: [shutil.rmtree(folder), folder.write_text("x")], lines_kept),
                "linked": taken_by_a_link(folder, lines_kept),
            },
            forms={
                "text that is not UTF-8": Form(lambda: (folder / "latin.log").write_bytes(b"caf\xe9\n\0\xff")),
                "names at the edges": Form(edge_names),
                "modes and owners": Form(lambda: rights(folder / "shop.log.1", 0)),
                "disappears while it is read": Form(during=lambda: (folder / "shop.log.1").unlink(missing_ok=True)),
                "grows while it is read": Form(during=lambda: append(folder / "shop.log")),
                "empty": "a folder without a log file is refused, and an empty log file is in every case",
                "huge": Form(lambda: truncated(folder / "huge.log", 64 << 20)),
                "deeply nested": "a pattern says how deep; see test_files_in_folders",
            },
        )

    def test_lines_and_offsets_are_recorded(self, case: Case) -> None:
        files = {file["name"]: file for file in self.taken(case).facts["files"]}
        assert list(files) == ["empty.log", "shop.log", "shop.log.1"]
        assert (files["shop.log"]["lines"], files["shop.log.1"]["lines"], files["empty.log"]["lines"]) == (
            1000,
            300_000,
            0,
        )
        assert files["shop.log.1"]["offset"] == 2_400_000

    def test_a_rollback_never_touches_newer_lines(self, case: Case, tmp_path: Path) -> None:
        point = self.taken(case)
        live = tmp_path / "logs" / "shop.log"
        with live.open("a") as file:
            file.write("newer\n")
        (tmp_path / "logs" / "shop.log.1").unlink()
        case.driver.restore(point, Place(origin=True))
        assert live.read_text().endswith("half a linewer\n")
        assert (tmp_path / "logs" / "shop.log.1").stat().st_size == 2_400_000
        assert all(check.ok for check in case.driver.prove(point, Place(origin=True)))

    def test_an_extra_file_in_the_place_is_found(self, case: Case, place: Place) -> None:
        point = self.taken(case)
        case.driver.restore(point, place)
        (next(Path(place.folder).rglob("shop.log")).parent / "extra.log").touch()
        assert [check.name for check in case.driver.prove(point, place) if not check.ok] == ["names of files"]


def rights(path: Path, mode: int) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 33, 34)


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write("more\n" * 1000)


def truncated(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


class During:
    """A store's writer that lets something happen after the first chunk, as a busy host would."""

    def __init__(self, driver: LogFilesDriver, happen) -> None:
        self.driver, self.happen = driver, happen

    def take(self) -> dict:
        store = self.driver.store

        def write(name, chunks):
            def interrupted():
                for number, chunk in enumerate(chunks):
                    yield chunk
                    if number == 0:
                        self.happen()

            return store.write("during.1", name, interrupted())

        return self.driver.take(write)


def test_lines_appended_meanwhile_do_not_matter(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    driver = driver_for(folder, make_store(tmp_path))

    def append() -> None:
        with (folder / "shop.log").open("a") as file:
            file.write("more\n" * 1000)

    files = {file["name"]: file for file in During(driver, append).take()["files"]}
    assert files["shop.log"]["lines"] == 1000


def test_a_rotation_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")

    def rotate() -> None:
        (folder / "shop.log.1").rename(folder / "shop.log.2")
        (folder / "shop.log").rename(folder / "shop.log.1")
        (folder / "shop.log").write_text("fresh\n" * 5000)

    with pytest.raises(TemporaryError, match=r"logs\.shop_logs: .*rotated"):
        During(driver_for(folder, make_store(tmp_path)), rotate).take()


def test_a_file_cut_off_meanwhile_is_noticed(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    with pytest.raises(TemporaryError, match="cut off"):
        During(driver_for(folder, make_store(tmp_path)), lambda: os.truncate(folder / "shop.log", 3)).take()


def test_no_matching_file_is_said(tmp_path: Path) -> None:
    driver = driver_for(logs(tmp_path / "logs"), make_store(tmp_path), patterns=["*.gz"])
    assert not driver.inspect().present
    with pytest.raises(InvalidInput, match=r"\*\.gz"):
        take(driver, "t.1")


@pytest.mark.parametrize("pattern", ["../*.log", "/etc/*", ""])
def test_patterns_stay_inside(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="patterns"):
        driver_for(tmp_path, make_store(tmp_path), patterns=[pattern])


def test_files_in_folders(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    (folder / "old" / "shop.log.9").write_text("nine\n")
    driver = driver_for(folder, make_store(tmp_path), patterns=["**/*.log*"])
    point = take(driver, "t.1")
    assert "old/shop.log.9" in [file["name"] for file in point.facts["files"]]
    assert prove(driver, point, Place(name="logs1", folder=str(tmp_path / "logs1"))).ok


def test_a_rotation_that_copies_and_truncates_is_noticed_however_much_is_written_after_it(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")

    def copytruncate() -> None:
        shutil.copy(folder / "shop.log", folder / "kept elsewhere")
        (folder / "shop.log").write_text("after\n" * 5000)

    with pytest.raises(TemporaryError, match="rotated"):
        During(driver_for(folder, make_store(tmp_path)), copytruncate).take()


@pytest.mark.parametrize("name", ["shop.log.0", "shop.log-20260101", "shop.log.0.gz"])
def test_a_new_name_of_a_rotation_is_noticed(tmp_path: Path, name: str) -> None:
    folder = logs(tmp_path / "logs")
    with pytest.raises(TemporaryError, match="rotated"):
        During(driver_for(folder, make_store(tmp_path)), lambda: (folder / name).write_bytes(b"x")).take()


@pytest.mark.parametrize(
    ("to", "packed"),
    [
        ("shop.log.2", bytes), ("shop.log-20260101", bytes), ("shop-20260101.log", bytes),
        ("shop.log.1.gz", gzip.compress),
        ("shop.log.2.xz", lzma.compress), ("shop.log-20260101.bz2", bz2.compress),
    ],
)  # fmt: skip
def test_lines_that_a_rotation_moved_are_not_brought_back_twice(to: str, packed, tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    driver = driver_for(folder, make_store(tmp_path))
    point = take(driver, "t.1")
    content = (folder / "shop.log").read_bytes()
    (folder / to).write_bytes(packed(content + b"written before the rotation\n"))
    (folder / "shop.log").write_text("new lines\n")
    names = sorted(path.name for path in folder.iterdir())
    restore_origin(driver, point)
    assert sorted(path.name for path in folder.iterdir()) == names
    assert (folder / "shop.log").read_text() == "new lines\n"


def test_a_log_that_was_emptied_while_it_is_open_goes_on_in_the_same_file(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    driver = driver_for(folder, make_store(tmp_path))
    before = (folder / "shop.log").read_text()
    point = take(driver, "t.1")
    with (folder / "shop.log").open("a") as program:
        os.truncate(folder / "shop.log", 10)
        restore_origin(driver, point)
        program.write("newer\n")
    assert (folder / "shop.log").read_text() == before + "newer\n"


def test_names_of_full_length_have_room_beside_them(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    long = folder / ("n" * 251 + ".log")
    long.write_text("before\n")
    driver = driver_for(folder, make_store(tmp_path))
    point = take(driver, "t.1")
    long.write_text("other lines, and more of them\n")
    restore_origin(driver, point)
    assert long.read_text() == "other lines, and more of them\n"
    assert "before\n" in [one.read_text() for one in folder.iterdir() if one.name.endswith(".restored")]


def test_a_file_that_took_the_name_of_a_folder_stays(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    (folder / "sub").mkdir()
    (folder / "sub" / "shop.log").write_text("a line\n")
    driver = driver_for(folder, make_store(tmp_path), patterns=["**/*.log*"])
    point = take(driver, "t.1")
    shutil.rmtree(folder / "sub")
    (folder / "sub").write_text("somebody else's")
    restore_origin(driver, point)
    assert (folder / "sub").read_text() == "somebody else's"
    assert (folder / "sub.restored" / "shop.log").read_text() == "a line\n"


def test_a_folder_that_may_not_be_listed_is_not_passed_over(tmp_path: Path) -> None:
    folder = logs(tmp_path / "logs")
    (folder / "sub").mkdir()
    (folder / "sub" / "shop.log").write_text("a line\n")
    driver = driver_for(folder, make_store(tmp_path), patterns=["**/*.log*"])
    driver.inspect()  # a user without rights can import nothing more
    (folder / "sub").chmod(0)
    said = as_another_user(lambda: str(driver.inspect()), tmp_path)
    (folder / "sub").chmod(0o755)
    assert "PermanentError" in said and "Permission denied" in said
